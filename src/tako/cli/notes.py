"""What is worth saying once, on stderr."""

from __future__ import annotations

import sys
from contextlib import suppress


class Notes:
    """Says single lines, or with `quiet` nothing."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._said: set[str] = set()

    def say(self, message: str) -> None:
        """Write one line, unless it was said already; a stderr that nobody reads any more is no error."""
        if not self._quiet and message not in self._said:
            self._said.add(message)
            with suppress(BrokenPipeError):
                sys.stderr.write(f"tako: {message}\n")
                sys.stderr.flush()
