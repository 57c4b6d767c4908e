"""Whether a program can be given the variables of a policy at all; a step that asks for more fails by itself.

In: an environment. Out: nothing, or a `UsageError` that names the variable, never its value.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from tako.errors import UsageError
from tako.units import format_bytes

#: execve(2): one text of the environment has at most so many pages, with name, `=` and the NUL at its end.
_PAGES_MAX = 32
_AROUND = 2
#: What the kernel counts for the pointer to each text.
_POINTER = 8


def check_environment(environment: Mapping[str, str], *, most: int | None = None) -> None:
    """Raise `UsageError` if no program can be started with it; `most` variables at most."""
    if most is not None and len(environment) > most:
        message = f"it would get {len(environment)} variables, and this isolation level takes {most}"
        raise UsageError(message)
    total = 0
    for name, value in environment.items():
        size = _size(name, value)
        if size > (one := _PAGES_MAX * os.sysconf("SC_PAGE_SIZE")):
            raise _too_large(name, f"{format_bytes(size)}, and a program takes {format_bytes(one)} of one")
        total += size + _POINTER
    if total > (whole := os.sysconf("SC_ARG_MAX")):
        largest = max(environment, key=lambda name: len(environment[name]))
        raise _too_large(largest, f"most of {format_bytes(total)}, and a program takes {format_bytes(whole)}")


def _size(name: str, value: str) -> int:
    try:
        size = len(os.fsencode(name)) + len(os.fsencode(value)) + _AROUND
    except UnicodeEncodeError as error:
        message = f"its variable {name} holds a character that no program can be given"
        raise UsageError(message) from error
    # Behind NUL the rest would be lost, or be read as something else.
    if "\0" in name or "\0" in value:
        message = f"its variable {name!r} holds a NUL character, which no program can be given"
        raise UsageError(message)
    return size


def _too_large(name: str, why: str) -> UsageError:
    return UsageError(f"its variable {name} has {why}: put it into a file that the step reads")
