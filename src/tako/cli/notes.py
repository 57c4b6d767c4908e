"""What is worth saying once, on stderr."""

from __future__ import annotations

import sys
from contextlib import suppress


class Notes:
    """Says single lines, or with `quiet` nothing."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def say(self, message: str) -> None:
        """Write one line; a stderr that nobody reads any more is no error."""
        if not self._quiet:
            with suppress(BrokenPipeError):
                sys.stderr.write(f"tako: {message}\n")
                sys.stderr.flush()
