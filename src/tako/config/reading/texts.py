"""Which characters a text may hold that tako takes from anywhere: those of a tako.yml."""

from __future__ import annotations

import re

# What YAML calls printable: https://yaml.org/spec/1.2.2/#51-character-set
UNPRINTABLE = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ufeff\ue000-\ufffd\U00010000-\U0010ffff]"
# Compiling that one takes longer than reading most texts: plain ASCII is told without it.
_BLANKS = str.maketrans("", "", "\t\n\r")


def unprintable(text: str) -> re.Match[str] | None:
    """Find the first character that no tako.yml may hold."""
    if text.isascii() and text.translate(_BLANKS).isprintable():
        return None
    return re.search(UNPRINTABLE, text)


def text_problem(text: str) -> str:
    """Return what a text holds that CEL, a journal or a process could not be given whole.

    Empty if nothing.
    """
    found = unprintable(text)
    if found is None:
        return ""
    if "\ud800" <= found.group() <= "\udfff":
        return "it is not Unicode text (UTF-8)"
    return f"it holds the control character U+{ord(found.group()):04X}"
