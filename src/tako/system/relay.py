"""Copies from one open file to another in a thread of its own, until there is nothing more to copy.

Blocking calls, so that whoever reads slowly slows down only his own direction.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from tako.system.files import write_all

_PIECE = 1 << 16


class Relay:
    """One direction; starts at once. `over` hangs up (poll(2)) when it has ended."""

    def __init__(self, source: int, target: int, *, close_target: bool = False) -> None:
        """`close_target`: at the end, which tells a program that reads it that nothing more comes."""
        self.over, self._open = os.pipe2(os.O_CLOEXEC)
        self._ends = (source, target)
        self._close_target = close_target
        threading.Thread(target=self._run, name="relay", daemon=True).start()

    def _run(self) -> None:
        source, target = self._ends
        # EIO is a terminal's end of file (pty(7)); nobody reading any more is an end as well.
        with suppress(OSError):
            while data := os.read(source, _PIECE):
                write_all(target, data)
        if self._close_target:
            os.close(target)
        os.close(self._open)
