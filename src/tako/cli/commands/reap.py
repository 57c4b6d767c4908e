"""`tako reap`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from tako.system.terminal.text import shown

if TYPE_CHECKING:
    from tako.recovery.cleanup import Cleaned
    from tako.recovery.reaper import Reaped


@click.command("reap")
@click.option("--dry-run", is_flag=True, help="Only print what would be done, and why.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def command(context: click.Context, output: str, *, dry_run: bool) -> None:
    """Clean up after runs whose tako process was killed.

    Kills their processes, completes their journals and removes their private directories. Also removes
    workspaces and runs that are no longer kept. Does not touch a run while some tako executes it. Ends with 1
    if something could not be done.
    """
    from tako.cli.cleanup_report import problems
    from tako.cli.options import open_home
    from tako.recovery.cleanup import clean
    from tako.recovery.reaper import SETTLED, reap

    home, settings = open_home()
    runs = map(home.run, sorted(home.run_ids()))
    results = [result for result in reap(home, runs, dry_run=dry_run) if result.outcome != SETTLED]
    cleaned = clean(home, settings, dry_run=dry_run, reaped=results)
    _write(results, cleaned, output, dry_run=dry_run)
    errors = [f"{result.run_id}: {error}" for result in results for error in result.errors]
    errors += problems(cleaned)
    for error in errors:
        sys.stderr.write(f"tako: {shown(error)}\n")
    context.exit(1 if errors else 0)


def _write(results: list[Reaped], cleaned: Cleaned, output: str, *, dry_run: bool) -> None:
    if output == "json":
        from tako.report.reading import moment
        from tako.values import asdict

        told = [
            asdict(result)
            | {"interrupted_at": moment(result.interrupted_at) if result.interrupted_at else None}
            for result in results
        ]
        sys.stdout.write(json.dumps({"dry_run": dry_run, "runs": told} | asdict(cleaned)) + "\n")
        return
    from tako.cli.cleanup_report import lines

    for line in [*(_line(result, dry_run=dry_run) for result in results), *lines(cleaned)]:
        sys.stdout.write(shown(line) + "\n")
    if not results:
        sys.stderr.write("tako: there is nothing to reap\n")


def _line(result: Reaped, *, dry_run: bool) -> str:
    from tako.recovery.reaper import ALIVE, ELSEWHERE, REAPED

    if result.outcome == REAPED:
        did = "would be reaped" if dry_run else "reaped"
        return f"{result.run_id}  {did}: {_done(result)}"
    said = {ALIVE: "runs", ELSEWHERE: "not touched"}.get(result.outcome, "not reaped")
    return f"{result.run_id}  {said}: {result.reason}"


def _done(result: Reaped) -> str:
    from tako.report.reading import moment

    context = ["nobody holds its lock"]
    if result.interrupted_at:
        context.append(f"interrupted {moment(result.interrupted_at)}")
    context.append(f"{result.records} records for {result.completed} runs")
    if result.ended:
        context.append(f"ends {', '.join(result.ended)}")
    if result.emptied:
        context.append(f"removes the workspaces of {', '.join(result.emptied)}, which had succeeded")
    if result.removed:
        context.append(f"removes {', '.join(result.removed)}")
    return "; ".join(context)
