"""The user's terminal, and the pseudo-terminal that tako puts between it and a program.

    user's terminal, raw ◀─▶ tako ◀─▶ master │ slave ◀─▶ the program's session

Whatever the user types goes through unchanged, so that the slave's own line discipline turns Ctrl-C into a
signal for the program in front (termios(3), pty(7)). The program never has the user's terminal itself:
there it could type for the user (TIOCSTI). Fails with `OSError` or `termios.error`.
"""

from __future__ import annotations

import fcntl
import os
import signal
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_STDIN = 0


def is_interactive() -> bool:
    """Return whether a person types to this process and sees what it writes."""
    return os.isatty(0) and os.isatty(1)


@contextmanager
def kept() -> Iterator[Callable[[], None]]:
    """Restore the user's terminal at the end; yield a function that does so at once.

    No error without a terminal.
    """
    try:
        before = termios.tcgetattr(_STDIN)
    except termios.error:
        yield lambda: None
        return

    def restore() -> None:
        # The terminal may be gone by now.
        with suppress(termios.error):
            termios.tcsetattr(_STDIN, termios.TCSANOW, before)

    try:
        yield restore
    finally:
        restore()


def make_raw() -> None:
    """Let the user's terminal pass on everything as it is typed; one that is gone is no error."""
    with suppress(termios.error):
        tty.setraw(_STDIN, termios.TCSANOW)


def make_own() -> None:
    """Make stdin, a terminal, that of the calling process's session, which it leads (tty_ioctl(4))."""
    fcntl.ioctl(_STDIN, termios.TIOCSCTTY, 0)


class PseudoTerminal:
    """A terminal of our own, which behaves like the user's and has its size."""

    def __init__(self) -> None:
        #: What the program writes comes out here, what is typed goes in.
        self.master, self._slave = os.openpty()
        #: The other end, for the program to open.
        self.path = os.ttyname(self._slave)
        termios.tcsetattr(self._slave, termios.TCSANOW, termios.tcgetattr(_STDIN))
        self._hung_up: set[int] = set()
        self.resize()

    def resize(self) -> None:
        """Take over the size of the user's terminal; the program in front gets SIGWINCH."""
        with suppress(termios.error):
            termios.tcsetwinsize(self.master, termios.tcgetwinsize(_STDIN))

    def leave_to_program(self) -> None:
        """Close our copy of the program's end: else reading would not end with the program."""
        os.close(self._slave)

    def hang_up(self) -> None:
        """Send SIGHUP to the process group in front, once to each group that comes to the front."""
        with suppress(OSError):
            group = os.tcgetpgrp(self.master)
            if group > 0 and group not in self._hung_up:
                self._hung_up.add(group)
                os.killpg(group, signal.SIGHUP)
                os.killpg(group, signal.SIGCONT)
