"""A person at a terminal: starts a command on a pseudo-terminal, reads its screen, types, resizes, hangs up.

The command leads the terminal's session, as under a terminal emulator that runs it instead of a shell.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

TIMEOUT_S = 60.0
"""Bounds a hang; no test expects to get near it."""


class Person:
    """Somebody at the terminal of one running command."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self._screen = ""

    def type(self, text: str) -> None:
        """Type what a keyboard sends: Ctrl-C is a byte like others."""
        os.write(self._master, text.encode())

    def sees(self, pattern: str) -> re.Match[str]:
        """Wait until the screen shows a match behind what was seen last; fails the test if it never does."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (match := re.search(pattern, self._screen)):
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{pattern!r} is not on the screen: {self._screen!r}"
            shown = self._read()
            assert shown, f"{pattern!r} was never on the screen: {self._screen!r}"
            self._screen += shown
        self._screen = self._screen[match.end() :]
        return match

    def _read(self) -> str:
        # EIO: nobody has the other end open any more.
        with contextlib.suppress(OSError):
            return os.read(self._master, 65536).decode(errors="replace")
        return ""

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the window."""
        termios.tcsetwinsize(self._master, (rows, columns))

    def echoes(self) -> bool:
        """Whether the terminal itself shows what is typed, as it does unless a program wants every key."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def leaves(self) -> None:
        """Close the window."""
        os.close(self._master)
        self._master = -1

    def waits(self) -> int:
        """Wait for the command's end, and give its exit code; what it still writes is read."""
        pidfd = os.pidfd_open(self.process.pid)
        deadline = time.monotonic() + TIMEOUT_S
        watched = [end for end in (pidfd, self._master) if end >= 0]
        while pidfd not in (
            ready := select.select(watched, [], [], max(0.0, deadline - time.monotonic()))[0]
        ):
            assert ready, f"the command does not end: {self._screen!r}"
            shown = self._read()
            self._screen += shown
            if not shown:
                watched.remove(self._master)
        os.close(pidfd)
        return self.process.wait()

    def close(self) -> None:
        """Give back the terminal."""
        if self._master >= 0:
            os.close(self._master)


@contextlib.contextmanager
def at_a_terminal(command: Sequence[str], env: Mapping[str, str], cwd: Path) -> Iterator[Person]:
    """Give somebody who started `command` on a terminal of 24 rows and 80 columns; killed at the end."""
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one ioctl, no lock
    )
    os.close(slave)
    person = Person(process, master)
    try:
        yield person
    finally:
        process.kill()
        process.wait()
        person.close()
