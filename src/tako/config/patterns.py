"""Regular expressions from a tako.yml, by RE2: linear in the text, whatever the pattern.

Python's own `re` backtracks without bound. Importing RE2 costs, so import this module where a
pattern is used.
"""

from __future__ import annotations

from typing import Protocol

import re2

PATTERN_MAX = 1000


class Match(Protocol):
    """A match of a pattern."""

    def group(self, number: int) -> str | None:
        """Return the text of a group, None if it took no part."""
        ...


class Pattern(Protocol):
    """A compiled pattern: of RE2's own class, which has no types."""

    groups: int

    def search(self, text: str) -> Match | None:
        """Find the first match anywhere in the text."""
        ...


def compiled(pattern: str) -> Pattern:
    """Compile a pattern.

    Raises `ValueError` with what is wrong with it (https://github.com/google/re2/wiki/Syntax).
    """
    options = re2.Options()
    options.log_errors = False
    if len(pattern) > PATTERN_MAX:
        message = f"the pattern is longer than {PATTERN_MAX} characters"
        raise ValueError(message)
    try:
        found: Pattern = re2.compile(pattern, options)
        return found
    except re2.error as error:
        detail = error.args[0] if error.args else error
        told = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
        message = f"not a regular expression of RE2: {told}"
        raise ValueError(message) from None


def pattern_problem(pattern: str) -> str:
    """Return what is wrong with a pattern; empty if nothing is."""
    try:
        compiled(pattern)
    except ValueError as error:
        return str(error)
    return ""


def found_in(pattern: str, text: str) -> bool:
    """Return whether the pattern is found somewhere in the text; anchor it (`^...$`) for all of it."""
    return compiled(pattern).search(text) is not None
