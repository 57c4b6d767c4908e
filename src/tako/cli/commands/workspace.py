"""`tako workspace clean`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from tako.system.terminal.text import shown

if TYPE_CHECKING:
    from tako.recovery.cleanup import Cleaned


@click.group("workspace")
def command() -> None:
    """Remove the workspaces of ended runs."""


@command.command("clean")
@click.option("--all", "everything", is_flag=True, help="Remove all workspaces of runs that have ended.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only print what would be removed.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def clean(context: click.Context, output: str, *, everything: bool, yes: bool, dry_run: bool) -> None:
    """Remove workspaces and runs that `keep_workspaces` and `keep_runs` of config.yml do not keep.

    First reaps runs whose tako process was killed. Ends with 1 if something could not be removed.
    """
    from tako.cli.cleanup_report import problems
    from tako.cli.options import open_home
    from tako.recovery.cleanup import clean as clean_up
    from tako.recovery.reaper import reap

    home, settings = open_home()
    if everything and not yes and not dry_run:
        _ask()
    results = list(reap(home, map(home.run, home.run_ids()), dry_run=dry_run))
    cleaned = clean_up(home, settings, everything=everything, dry_run=dry_run, reaped=results)
    _write(cleaned, output, dry_run=dry_run)
    errors = [f"{result.run_id}: {error}" for result in results for error in result.errors]
    errors += problems(cleaned)
    for error in errors:
        sys.stderr.write(f"tako: {shown(error)}\n")
    context.exit(1 if errors else 0)


def _write(cleaned: Cleaned, output: str, *, dry_run: bool) -> None:
    from tako.cli.cleanup_report import lines
    from tako.units import format_bytes
    from tako.values import asdict

    if output == "json":
        sys.stdout.write(json.dumps({"dry_run": dry_run} | asdict(cleaned)) + "\n")
        return
    for line in lines(cleaned):
        sys.stdout.write(shown(line) + "\n")
    size = sum(removed.size for removed in (*cleaned.workspaces, *cleaned.expired) if not removed.error)
    sys.stderr.write(f"tako: {format_bytes(size)} {'would be freed' if dry_run else 'freed'}\n")


def _ask() -> None:
    from tako.errors import UsageError

    if not sys.stdin.isatty():
        message = "--all removes all workspaces of runs that have ended, and there is no terminal to ask on"
        raise UsageError(message, hint="say --yes if you mean it")
    click.confirm("Remove all workspaces of runs that have ended?", abort=True, err=True)
