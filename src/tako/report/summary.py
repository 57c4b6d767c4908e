"""What is said at the end of `tako exec`: the tree and what failed, or the result as JSON."""

from __future__ import annotations

import sys

from tako.engine.driver import TreeResult
from tako.layout import RunDirectory
from tako.report.reading import read_run
from tako.report.result import write_result
from tako.report.text import Style
from tako.report.tree import failure_lines, failures, tree_lines

_FAILURES_SHOWN = 50


def report(paths: RunDirectory, result: TreeResult, *, output: str, quiet: bool) -> None:
    """Write the result to stdout and, as text, what failed to stderr."""
    view = read_run(paths)
    if output == "json":
        write_result(view, sys.stdout, exit_code=result.exit_code)
    elif not quiet:
        _print_tree(paths)
    if result.exit_code and output != "json":
        print_failures(paths)
    if result.message:
        sys.stderr.write(f"tako: {result.message}\n")
    sys.stdout.flush()


def _print_tree(paths: RunDirectory) -> None:
    style = Style(sys.stdout)
    for line in tree_lines(read_run(paths), style):
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def print_failures(paths: RunDirectory) -> None:
    """What failed, where and why, with the last lines of output, to stderr."""
    style = Style(sys.stderr)
    for number, error in enumerate(failures(read_run(paths))):
        if number == _FAILURES_SHOWN:
            sys.stderr.write(f"... and more: tako status {paths.run_id}\n")
            return
        sys.stderr.write("\n")
        for line in failure_lines(error, style):
            sys.stderr.write(line + "\n")
