"""Words and signs that all text views share."""

from __future__ import annotations

from typing import TextIO

from tako.journal.statuses import CANCELLED, FAILED, INTERRUPTED, SKIPPED, SUCCEEDED, TIMED_OUT
from tako.system.terminal.text import plain

#: One sign for each status, and its colour (SGR parameter).
_SIGNS = {
    SUCCEEDED: ("✓", "32"),
    FAILED: ("✗", "31"),
    TIMED_OUT: ("⏱", "31"),
    CANCELLED: ("⊘", "33"),
    INTERRUPTED: ("⚡", "33"),
    SKIPPED: ("-", "2"),
    "running": ("▶", "36"),
    "pending": ("·", "2"),
}


class Style:
    """Signs and colours for one stream: none of them where they would do harm."""

    def __init__(self, stream: TextIO, *, no_colour: bool = False) -> None:
        """Colour only on a terminal; ASCII signs where the encoding has no others."""
        self.colour = stream.isatty() and not no_colour
        try:
            "✓▶└".encode(stream.encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            self.ascii = True
        else:
            self.ascii = False

    def sign(self, status: str) -> str:
        """The sign of a status, coloured."""
        sign, colour = _SIGNS.get(status, ("?", "0"))
        if self.ascii:
            sign = {"✓": "+", "✗": "x", "▶": ">", "·": ".", "-": "-"}.get(sign, "!")
        return self.paint(sign, colour)

    def paint(self, text: str, colour: str) -> str:
        """`text` in a colour, where there are colours."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colour else text

    def branch(self, *, last: bool) -> tuple[str, str]:
        """The tree's lines: before an entry, and before what hangs below it."""
        if self.ascii:
            return ("`- ", "   ") if last else ("|- ", "|  ")
        return ("└─ ", "   ") if last else ("├─ ", "│  ")


def first_line(text: str) -> str:
    """The first line of a text of others, fit for a terminal."""
    return plain(text.splitlines()[0]) if text else ""


def told(text: str) -> str:
    """A message that may quote others: only its first line stands where tako's own lines begin."""
    return plain(text).replace("\n", "\n    ")
