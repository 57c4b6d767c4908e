"""Texts of others on their way to a terminal: nothing in them moves the cursor, rings or renames windows."""

from __future__ import annotations

import re
from functools import cache

# Also what changes the direction of writing: it would show a text in another order than it has.
_DIRECTION = "\u202a-\u202e\u2066-\u2069"


@cache
def _control() -> re.Pattern[str]:
    # Everything of the kind; newline, tab and colour (SGR) stay.
    return re.compile(
        r"\x1b\[[0-9;:]*m"
        r"|(\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.?"
        rf"|[\x00-\x08\x0b-\x1f\x7f-\x9f{_DIRECTION}])"
    )


@cache
def _single() -> re.Pattern[str]:
    return re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f{_DIRECTION}]")


@cache
def _colour() -> re.Pattern[str]:
    return re.compile(r"\x1b\[[0-9;:]*m")


def plain(text: str, *, colour: bool = False) -> str:
    """Output as it may go to a terminal: without control characters, colours only if wanted."""
    if text.isprintable() and text.isascii():
        return text
    cleaned = _control().sub(lambda match: "" if match[1] is not None else match[0], text)
    if not colour:
        return _colour().sub("", cleaned)
    return cleaned + "\x1b[0m" if "\x1b[" in cleaned else cleaned


def shown(text: str) -> str:
    r"""A message, which may quote anything: each control character but newline and tab as in `\x1b`."""
    if text.isprintable() and text.isascii():
        return text
    return _single().sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def told(text: str) -> str:
    """A message as `shown`: only its first line stands where lines of tako's own begin."""
    return shown(text).replace("\n", "\n      ")


def named(name: str) -> str:
    """A file's name in a message: as it is, or quoted with escapes if a line break or the like is in it."""
    return name if name.isprintable() else repr(name)
