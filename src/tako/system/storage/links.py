"""Where the links on a path lie."""

from __future__ import annotations

import os
from collections.abc import Sequence

#: As many as the kernel follows (path_resolution(7)).
_LINKS_MAX = 40


def led_out_of(path: str, tops: Sequence[str]) -> str:
    """The directory out of which a link leads that lies in there and on the way of `path`; empty if none.

    `path` and `tops` are absolute.
    """
    if not tops:
        return ""
    final = os.path.realpath(path)
    real = {os.path.realpath(top): top for top in tops}
    for place in _places_of_links(path):
        for top, named in real.items():
            if place.startswith(f"{top}/") and not f"{final}/".startswith(f"{top}/"):
                return named
    return ""


def _places_of_links(path: str) -> list[str]:
    """Each link that is followed, by where it really lies; no more of them than the kernel follows."""
    found: list[str] = []
    at, waiting = "/", path.split("/")[::-1]
    while waiting and len(found) < _LINKS_MAX:
        name = waiting.pop()
        if name in {"", "."}:
            continue
        here = os.path.dirname(at) if name == ".." else os.path.join(at, name)
        if not os.path.islink(here):
            at = here
            continue
        found.append(here)
        pointed = os.readlink(here)
        at = "/" if pointed.startswith("/") else at
        waiting += pointed.split("/")[::-1]
    return found
