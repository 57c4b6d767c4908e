"""The pipes between tako and a program that it runs to its end: written and read until the program has ended.

Not until the end of the pipes: what the program leaves in the background (a master connection of ssh's, a
cache of credentials) inherits them, and may hold them open for hours.
"""

from __future__ import annotations

import fcntl
import math
import os
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

_PIECE = 1 << 16
_INT_SIZE = 4
#: How long a program runs until `meanwhile` is called again.
_MEANWHILE_S = 0.1
#: Bytes of stderr that are kept, its end.
_ERRORS_MAX = 1 << 22


def waiting(descriptor: int) -> int:
    """How many bytes can be read at once from a pipe, socket or terminal (FIONREAD of pipe(7))."""
    answer = fcntl.ioctl(descriptor, termios.FIONREAD, bytes(_INT_SIZE))
    return int.from_bytes(answer, sys.byteorder)


class Pipes:
    """The pipes of one program; every function returns in time, even if others hold the other ends."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes) -> None:
        self._poll = select.poll()
        self._read: dict[int, bytearray] = {}
        self._outputs = (_number(process.stdout), _number(process.stderr))
        self._stdin = process.stdin
        self._left = memoryview(stdin)
        for descriptor in self._outputs:
            self._read[descriptor] = bytearray()
            os.set_blocking(descriptor, False)
            self._poll.register(descriptor, select.POLLIN)
        self._open = set(self._outputs)
        if self._stdin is not None:
            os.set_blocking(self._stdin.fileno(), False)
            self._poll.register(self._stdin.fileno(), select.POLLOUT)

    @property
    def said(self) -> tuple[bytes, bytes]:
        """The output of the program so far, of stdout and stderr."""
        out, errors = self._outputs
        return bytes(self._read[out]), bytes(self._read[errors])

    def attend(
        self, pidfd: int, timeout_s: float | None, meanwhile: Callable[[], None] | None = None
    ) -> bool:
        """Write and read until the process of a pidfd has ended; False if it still runs after `timeout_s`.

        `meanwhile` is called several times a second.
        """
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        longest_s = _MEANWHILE_S if meanwhile else math.inf
        with self._registered(pidfd):
            while pidfd not in self._turn(min(deadline, time.monotonic() + longest_s)):
                if time.monotonic() >= deadline:
                    return False
                if meanwhile:
                    meanwhile()
        return True

    def drain(self, grace_s: float) -> None:
        """Read what was written so far, and for `grace_s` what others still write."""
        for descriptor in sorted(self._open):
            left = waiting(descriptor)
            while left > 0 and (count := self._take(descriptor)):
                left -= count
        deadline = time.monotonic() + grace_s
        while self._open and time.monotonic() < deadline:
            self._turn(deadline)

    @contextmanager
    def _registered(self, pidfd: int) -> Iterator[None]:
        self._poll.register(pidfd, select.POLLIN)
        yield
        self._poll.unregister(pidfd)

    def _turn(self, deadline: float) -> set[int]:
        """Wait for something to do, and do it; returns what was ready."""
        wait_ms = None if deadline == math.inf else max(0.0, deadline - time.monotonic()) * 1000
        ready = {descriptor for descriptor, _ in self._poll.poll(wait_ms)}
        for descriptor in ready & self._open:
            self._take(descriptor)
        if self._stdin is not None and self._stdin.fileno() in ready:
            self._give(self._stdin)
        return ready

    def _take(self, descriptor: int) -> int:
        """Read once; returns the number of bytes."""
        try:
            data = os.read(descriptor, _PIECE)
        except BlockingIOError:
            return 0
        read = self._read[descriptor]
        read += data
        if descriptor == self._outputs[1] and len(read) > 2 * _ERRORS_MAX:
            # A remote repository may have git say anything, without end.
            del read[:-_ERRORS_MAX]
        if not data:
            self._open.discard(descriptor)
            self._poll.unregister(descriptor)
        return len(data)

    def _give(self, stdin: IO[bytes]) -> None:
        try:
            self._left = self._left[os.write(stdin.fileno(), self._left[:_PIECE]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            # It does not want to read all of it.
            self._left = memoryview(b"")
        if not self._left:
            self._poll.unregister(stdin.fileno())
            self._stdin = None
            stdin.close()


def _number(pipe: IO[bytes] | None) -> int:
    assert pipe is not None
    return pipe.fileno()
