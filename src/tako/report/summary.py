"""The output at the end of `tako exec`: the tree and the failures, or the result as JSON.

Each form loads only its own modules; a quiet success prints nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from tako.engine.root.tree_result import TreeResult
from tako.errors import MachineError
from tako.layout.run import RunDirectory
from tako.system.terminal.streams import discard, say

if TYPE_CHECKING:
    from tako.report.reading import RunView

_FAILURES_SHOWN = 50


def report(paths: RunDirectory, result: TreeResult, *, output: str, quiet: bool) -> None:
    """Write the result to stdout and, as text, the failures to stderr.

    Text without a reader is dropped: the journal has it, and the exit code is the run's. Raises
    `MachineError` for a JSON result that cannot be written, `BrokenPipeError` if its reader has left.
    """
    how = ""
    if output == "json":
        _write_json(paths, result)
    elif not quiet or result.exit_code:
        from tako.report.reading import read_run, way_on

        run = read_run(paths)
        how = way_on(run, "to continue after its successful steps")
        if not quiet:
            _drop_if_it_fails(_print_tree, run, sys.stdout)
        if result.exit_code:
            _drop_if_it_fails(_print_failures, run, sys.stderr)
    if result.message:
        say(sys.stderr, f"tako: {result.message}\n")
    if result.exit_code and how and not quiet:
        say(sys.stderr, f"tako: {how}\n")


def _write_json(paths: RunDirectory, result: TreeResult) -> None:
    from tako.report.reading import read_run
    from tako.report.result import write_result

    try:
        write_result(read_run(paths), sys.stdout, exit_code=result.exit_code)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard(sys.stdout)
        message = f"the result cannot be written to stdout: {error.strerror}"
        again = f"`tako status {paths.run_id} --output json` gives it again"
        raise MachineError(message, hint=again) from error


def _drop_if_it_fails(show: Callable[[RunView], None], run: RunView, stream: TextIO) -> None:
    try:
        show(run)
        stream.flush()
    except OSError:
        discard(stream)


def _print_tree(run: RunView) -> None:
    from tako.report.text import Style
    from tako.report.tree_view import tree_lines

    style = Style(sys.stdout)
    for line in tree_lines(run, style):
        sys.stdout.write(line + "\n")


def _print_failures(run: RunView) -> None:
    """Write each failure to stderr: where, why, and the last lines of output."""
    from tako.report.failures import failure_lines, failures
    from tako.report.text import Style

    style = Style(sys.stderr)
    for number, error in enumerate(failures(run)):
        if number == _FAILURES_SHOWN:
            sys.stderr.write(f"... and more: tako status {run.paths.run_id}\n")
            return
        sys.stderr.write("\n")
        for line in failure_lines(error, style):
            sys.stderr.write(line + "\n")
