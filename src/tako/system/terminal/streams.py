"""The standard streams: always there, and no reason for a run to fail.

The reader of tako's output may leave, fill its disk, or never have been there (`2>&-`). Output that cannot
be written is then dropped: a stream that failed once is connected to nothing, so that what is left in
its buffer does not fail again in every later flush, multiprocessing's before it starts a worker among them.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO


def ensure_open() -> None:
    """Connect standard streams that are closed to nothing: else the next file opened takes their place."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is the missing one: open(2).
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)  # noqa: FBT003 - that is its signature
        if getattr(sys, name) is None:
            stream = open(descriptor, mode, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def say(stream: TextIO, text: str) -> bool:
    """Write and flush; False, and connected to nothing from now on, if that fails."""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        discard(stream)
        return False
    return True


def flush_or_discard(stream: TextIO) -> bool:
    """Flush what was written before; as `say`."""
    return say(stream, "")


def discard(stream: TextIO) -> None:
    """Let everything that is still written to a stream go nowhere; one without a descriptor stays as it is.

    https://docs.python.org/3/library/signal.html#note-on-sigpipe
    """
    with suppress(OSError, ValueError):
        descriptor = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
