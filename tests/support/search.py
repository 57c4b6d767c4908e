"""Looks for a secret's value in everything that a run left and said, in the forms that programs give it."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

# What steps wrote for themselves is theirs.
_OF_STEPS = ("work", "view")


def forms(value: str) -> set[bytes]:
    """Give the value, its longer lines, in base64 at each alignment, for URLs and in JSON."""
    found = {value, quote(value, safe=""), quote(value), quote_plus(value), json.dumps(value)[1:-1]}
    found |= {line.strip() for line in value.splitlines() if len(line.strip()) >= 6}
    coded = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3) if len(value) > 3 else ():
            whole = encode(b"\0" * before + value.encode()).rstrip(b"=")
            # Without the first and the last characters, which depend on what stands around.
            coded.add(whole[-(-8 * before // 6) : -1])
            coded |= {whole[4:][at : at + 60] for at in range(0, max(0, len(whole) - 64), 76)}
    return {text.encode() for text in found} | coded


def files_below(directory: Path) -> Iterator[Path]:
    """Give every regular file of a run and its children, but for their workspaces."""
    for parent, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if name not in _OF_STEPS]
        yield from (Path(parent) / name for name in names)


def occurrences(value: str, run: Path, *said: str) -> list[str]:
    """Name the files of a run directory, and the texts, that hold a form of the value; names count too."""
    found = []
    looked_for = forms(value)
    for file in files_below(run):
        data = bytes(file) + b"\n" + file.read_bytes()
        found += [f"{file}: {form!r}" for form in looked_for if form in data]
    for number, text in enumerate(said):
        found += [f"text {number}: {form!r}" for form in looked_for if form in text.encode()]
    return found
