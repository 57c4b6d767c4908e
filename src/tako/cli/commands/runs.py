"""`tako runs`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tako.report.text import Style


@click.command("runs")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option(
    "-n", "--most", type=click.IntRange(1), default=50, show_default=True, help="List at most this many."
)
def command(output: str, most: int) -> None:
    """List the root runs, newest first."""
    from tako.cli.options import open_home
    from tako.report.reading import root_runs, summary_of
    from tako.report.text import Style

    home, _ = open_home()
    rows = [summary_of(paths) for paths in root_runs(home)[:most]]
    if output == "json":
        sys.stdout.write(json.dumps(rows) + "\n")
        return
    style = Style(sys.stdout)
    for row in rows:
        sys.stdout.write(_line(row, style) + "\n")
    if not rows:
        sys.stderr.write(f"tako: there are no runs in {home.path}\n")


def _line(row: dict[str, Any], style: Style) -> str:
    status, started = row["status"], row["started"] or "-"
    what = row["problem"] or (
        f"{row['repository']}  {row['workflow']}" if row["repository"] else _without(row)
    )
    return f"{style.sign(status)} {row['run_id']}  {status:<11}  {started:<20}  {what}"


def _without(row: dict[str, Any]) -> str:
    """Describe a run that has no first record."""
    return "(has not begun yet)" if row["status"] == "running" else "(ended before it began)"
