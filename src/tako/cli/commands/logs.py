"""`tako logs RUN [STEP]`."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator

import click

_PIECE = 1 << 16


@click.command("logs")
@click.argument("run", required=False, default="")
@click.argument("step", required=False, default="")
def command(run: str, step: str) -> None:
    """Print the output of a run's steps, with all attempts, unchanged.

    RUN is the run id of a root run or a child, or its last four or more digits; default: the newest run.
    """
    from tako.cli.options import open_home
    from tako.errors import NotFoundError
    from tako.report.reading import find_run, read_run

    home, _ = open_home()
    paths = find_run(home, run)
    view = read_run(paths)
    steps = list(view.state.steps)
    if step and step not in steps:
        message = f"run {paths.run_id} has no step {step!r} (it has: {', '.join(steps)})"
        raise NotFoundError(message)
    if not view.has_begun:
        sys.stderr.write(f"tako: nothing of run {paths.run_id} has run\n")
    safe = sys.stdout.isatty()
    for name in [step] if step else steps:
        for piece in _pieces(os.fspath(paths.log(name)), lines=safe):
            sys.stdout.buffer.write(_safe(piece) if safe else piece)
    sys.stdout.buffer.flush()


def _pieces(path: str, *, lines: bool) -> Iterator[bytes]:
    from tako.system.storage.writing import open_plain

    try:
        with io.BufferedReader(open_plain(path)) as file:
            read = file.readline if lines else file.read
            while piece := read(_PIECE):
                yield piece
    except FileNotFoundError:
        return


def _safe(piece: bytes) -> bytes:
    from tako.system.terminal.text import plain

    return plain(piece.decode("utf-8", "replace"), colour=True).encode()
