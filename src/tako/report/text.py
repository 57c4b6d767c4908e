"""Words and signs that all text views share."""

from __future__ import annotations

import re
from typing import TextIO

from tako.journal.records import CANCELLED, FAILED, INTERRUPTED, SKIPPED, SUCCEEDED, TIMED_OUT

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
# Everything that moves the cursor, rings or renames windows; newline, tab and colour (SGR) stay.
_CONTROL = re.compile(
    r"\x1b\[[0-9;:]*m"
    r"|(\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f])"
)
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


def plain(text: str, *, colour: bool = False) -> str:
    """Text as it may go to a terminal: without control characters, colours only if wanted."""
    cleaned = _CONTROL.sub(lambda match: "" if match[1] is not None else match[0], text)
    if not colour:
        return _COLOUR.sub("", cleaned)
    return cleaned + "\x1b[0m" if "\x1b[" in cleaned else cleaned


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
