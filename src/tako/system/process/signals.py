"""Signals as bytes on a pipe, so that a selector loop reads them like any other event."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

#: What ends tako, politely the first time: docs/internals.md, "What is killed when".
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
#: What a terminal sends: `nohup` and a shell's background jobs are started with these ignored, and stay so.
_OF_A_TERMINAL = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class SignalPipe:
    """Turns chosen signals into bytes; `descriptor` is readable when one has come.

    Those of a terminal that this process was started with ignored are left so.
    Only the main thread of a process may make one (signal.set_wakeup_fd).
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self.descriptor, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in filter(_is_heard, numbers):
            signal.signal(number, _noted)
            # A system call that is under way goes on instead of failing with EINTR (PEP 475 aside, C code).
            signal.siginterrupt(number, False)  # noqa: FBT003 - it takes no keyword

    def wake(self) -> None:
        """Make the descriptor readable without a signal; may be called from any thread."""
        try:
            os.write(self._write, b"\0")
        except BlockingIOError:
            return

    def read(self) -> list[int]:
        """Return the numbers of all signals that came since the last call, in order."""
        try:
            return [number for number in os.read(self.descriptor, 4096) if number]
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Forget the pipe; the signals keep their harmless handler."""
        signal.set_wakeup_fd(-1)
        os.close(self.descriptor)
        os.close(self._write)


def _is_heard(number: int) -> bool:
    return number not in _OF_A_TERMINAL or signal.getsignal(number) is not signal.SIG_IGN


def _noted(_number: int, _frame: object) -> None:
    """Do nothing: the byte on the wakeup descriptor is the message."""


def ignore_interrupts() -> None:
    """Leave ^C of the terminal to the root process, which ends everything in order."""
    # Handled, not ignored: what is ignored stays so in the steps (execve(2)).
    if _is_heard(signal.SIGINT):
        signal.signal(signal.SIGINT, _noted)


def raise_signal(number: int) -> None:
    """Send a signal to the calling process: raise(3)."""
    signal.raise_signal(number)


def name_of(number: int) -> str:
    """`SIGKILL` for 9; the number itself for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextmanager
def hangup_blocked() -> Iterator[None]:
    """Start helpers that a hang-up does not end: they inherit the calling thread's mask (pthread_sigmask(3)).

    The kernel sends SIGHUP to a process group that is orphaned while a member is stopped: setpgid(2).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
