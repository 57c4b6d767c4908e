"""`tako status [RUN]`."""

from __future__ import annotations

import sys

import click


@click.command("status")
@click.argument("run", required=False, default="")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(run: str, output: str) -> None:
    """Show what RUN did, as a tree; default: the newest run.

    RUN is the run id of a root run or a child, or its last four or more digits.
    """
    from tako.cli.options import open_home
    from tako.journal.statuses import CANCELLED, FAILED, TIMED_OUT
    from tako.report.failures import failure_lines, failures
    from tako.report.interruption import interruption, interruption_lines
    from tako.report.reading import find_run, read_run, way_on
    from tako.report.result import write_result
    from tako.report.text import Style
    from tako.report.tree_view import tree_lines

    home, _ = open_home()
    view = read_run(find_run(home, run))
    if output == "json":
        write_result(view, sys.stdout)
        return
    style = Style(sys.stdout)
    for line in tree_lines(view, style):
        sys.stdout.write(line + "\n")
    for error in failures(view):
        sys.stdout.write("\n")
        for line in failure_lines(error, style):
            sys.stdout.write(line + "\n")
    if view.status in (FAILED, TIMED_OUT, CANCELLED) and not view.owned:
        sys.stdout.write(f"\n{way_on(view, 'to continue after its successful steps')}\n")
    found = interruption(view)
    if found is not None:
        sys.stdout.write("\n")
        for line in interruption_lines(found, style):
            sys.stdout.write(line + "\n")
