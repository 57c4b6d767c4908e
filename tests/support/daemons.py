"""What a program leaves in the background with its pipes, as ssh and credential helpers do."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_WITHIN_S = 60.0


class Daemon:
    """It has a session and all open files of the program that starts it, until it is let go."""

    def __init__(self, directory: Path, does: str = ":") -> None:
        self._alive, self._go = directory / "alive", directory / "go"
        os.mkfifo(self._alive)
        os.mkfifo(self._go)
        self._reader = os.open(self._alive, os.O_RDONLY | os.O_NONBLOCK)
        self._writer = os.open(self._go, os.O_RDWR)
        #: Shell: starts it. When that is over, it is there.
        self.script = (
            f"exec 3> {self._alive}; setsid sh -c '{does}; read line < {self._go}; echo last >&2' &\n"
            "echo up >&3; exec 3>&-"
        )

    @property
    def is_there(self) -> bool:
        """Whether it was started and has not ended: its FIFO has no end of file."""
        if os.read(self._reader, 100) != b"up\n":
            return False
        try:
            return os.read(self._reader, 100) != b""
        except BlockingIOError:
            return True

    def let_go(self) -> None:
        """Return when it has ended."""
        os.write(self._writer, b"go\n")
        os.set_blocking(self._reader, True)
        while os.read(self._reader, 100):
            pass
        os.close(self._reader)
        os.close(self._writer)


@contextlib.contextmanager
def daemon(directory: Path, does: str = ":") -> Iterator[Daemon]:
    """Give a daemon that has ended when this is over."""
    made = Daemon(directory, does)
    try:
        yield made
    finally:
        made.let_go()


def in_time(act: Callable[[], T]) -> T:
    """Give what `act` gives in another thread; fails the test if that waits for what the test holds."""
    given: list[T] = []
    thread = threading.Thread(target=lambda: given.append(act()), daemon=True)
    thread.start()
    thread.join(_WITHIN_S)
    assert given, "it waits, or has failed"
    return given[0]
