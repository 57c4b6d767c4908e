"""Copies from one open file to another in a thread of its own, until there is nothing more to copy.

Its calls block, so a slow reader slows down only its own direction.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from tako.system.process.pipes import waiting
from tako.system.storage.writing import write_all

_PIECE = 1 << 16


class Relay:
    """One direction; starts at once. `over` hangs up (poll(2)) when it has ended."""

    def __init__(self, source: int, target: int, *, close_target: bool = False) -> None:
        """`close_target` closes the target at the end, so that its reader sees the end of file."""
        self.over, self._open = os.pipe2(os.O_CLOEXEC)
        self._ends = (source, target)
        self._close_target = close_target
        self._passing_on = False
        threading.Thread(target=self._run, name="relay", daemon=True).start()

    @property
    def is_idle(self) -> bool:
        """Whether all that was written so far has been passed on.

        May be true for a moment after something was read.
        """
        return not self._passing_on and not waiting(self._ends[0])

    def _run(self) -> None:
        source, target = self._ends
        # EIO is a terminal's end of file (pty(7)); nobody reading any more is an end as well.
        with suppress(OSError):
            while data := os.read(source, _PIECE):
                self._passing_on = True
                write_all(target, data)
                self._passing_on = False
        if self._close_target:
            os.close(target)
        os.close(self._open)
