"""Notes on stderr, each printed once."""

from __future__ import annotations

import sys

from tako.system.terminal.streams import say
from tako.system.terminal.text import told


class Notes:
    """Prints single lines, or with `quiet` nothing."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._said: set[str] = set()

    def say(self, message: str) -> None:
        """Write one line, unless it was written before; a closed stderr is no error."""
        if not self._quiet and message not in self._said:
            self._said.add(message)
            say(sys.stderr, f"tako: {told(message)}\n")
