"""The root's work on files whose number a run chooses: in threads, so that the loop stays awake.

In: what is to be done. Out: a letter to the loop when it is done. A million small files take many seconds to
be counted or removed, in which no other run could start or end, and no signal be answered.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tako.engine.scheduler import stimuli as h
from tako.errors import MachineError
from tako.system.storage.removal import remove_tree

PostToLoop = Callable[[Callable[[], h.Stimulus | None]], None]
T = TypeVar("T")


class Chores:
    """Does each in a thread of its own; for the loop's thread only."""

    def __init__(self, post: PostToLoop) -> None:
        self._post = post
        self._threads: list[threading.Thread] = []

    def do(self, work: Callable[[], T], then: Callable[[T], h.Stimulus | None]) -> None:
        """Do `work`, which must not raise, and have the loop call `then` with what it gave."""

        def run() -> None:
            done = work()
            self._post(lambda: then(done))

        thread = threading.Thread(target=run, name="chore", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The machine has no thread left: late is better than never.
            run()
        else:
            self._threads = [*(one for one in self._threads if one.is_alive()), thread]

    def remove(self, *paths: Path) -> None:
        """Remove trees that nobody needs any more; what cannot be removed is left to the clean-up."""
        there = [path for path in paths if os.path.lexists(path)]
        if there:
            self.do(lambda: _remove(there), lambda _: None)

    def close(self, *, at_once: bool) -> None:
        """Wait for what is under way unless it is to end `at_once`."""
        for thread in self._threads if not at_once else ():
            thread.join()


def _remove(paths: list[Path]) -> None:
    for path in paths:
        # A mistake of one run, as a file of another user's, is none of the tree's.
        with suppress(MachineError):
            remove_tree(path)
