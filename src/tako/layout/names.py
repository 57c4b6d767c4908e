"""Names that come from outside, checked before they become paths, and names that tako gives itself.

In: texts. Out: the same texts, or parts of paths. Raises `ReferenceInvalidError` and `NotFoundError`.
Together with the other modules of this package it owns every path of tako.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from tako.errors import ReferenceInvalidError

CONFIG_NAME = "tako.yml"
SUBMODULES_NAME = ".gitmodules"
GIT_NAME = ".git"
HEAD, INDEX, OBJECTS = "HEAD", "index", "objects"
PACKS = "objects/pack"
#: Where a repository says whose objects it also reads (gitrepository-layout(5)).
ALTERNATES = "objects/info/alternates"
GIT_CONFIGS = frozenset(("config", "config.worktree"))
#: What a repository knows of worktrees elsewhere.
LINKED_WORKTREES = ".git/worktrees"
TEMPORARY_PREFIX = ".tmp-"
NOTHING = Path(os.devnull)
RUN_ID = re.compile(r"exec-[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")
#: The private directory of one `tako exec`, in which each segment has TMPDIR under a number.
_PRIVATE = re.compile(r"tako-[0-9a-f]{12}")
_PART = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.+@%-]*")
_STEP_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_NAME_MAX = 100


def checked_name(value: str, what: str, pattern: re.Pattern[str] = _STEP_ID) -> str:
    """Return `value` back if it is a plain name (steps, workflows, artifacts, outputs).

    Raises `ReferenceInvalidError` naming `what` otherwise.
    """
    if not pattern.fullmatch(value) or len(value) > _NAME_MAX:
        message = (
            f"{what} {value!r} is not a valid name: letters, digits, '_' and '-',"
            f" starting with a letter or '_', at most {_NAME_MAX} characters"
        )
        raise ReferenceInvalidError(message)
    return value


def checked_run_id(value: str) -> str:
    """Return `value` back if it is a run id, else raise `ReferenceInvalidError`."""
    if not RUN_ID.fullmatch(value):
        message = f"{value!r} is not a run id: expected exec-YYYYMMDD-HHMMSS-<8 hex digits>"
        raise ReferenceInvalidError(message)
    return value


def private_directory(temporary: str) -> Path | None:
    """The private directory of a `tako exec`, from that itself or a TMPDIR in it; None for other paths."""
    path = Path(temporary)
    place = path.parent if path.name.isdecimal() else path
    plain = path.is_absolute() and ".." not in path.parts
    return place if plain and _PRIVATE.fullmatch(place.name) else None


def hidden_script(temporary: str, step: str) -> Path:
    """Where a script that holds a secret is run from: beside a segment's TMPDIR, removed with it."""
    place = Path(temporary)
    return place.with_name(f"{place.name}-{checked_name(step, 'step')}.sh")


def path_problem(path: str) -> str:
    """Return why `path` may not be used as a relative path inside a workspace, or an empty text if it may."""
    if not path:
        return "it is empty"
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        return "it holds a control character"
    if path.startswith("/"):
        return "it is absolute"
    if path.startswith(("~", "-")):
        return f"it starts with {path[0]!r}"
    parts = path.split("/")
    if ".." in parts:
        return "it leads out with '..'"
    if "" in parts[:-1]:
        return "it has an empty part"
    return ""


def encoded(part: str) -> str:
    """Percent-encode one part of a name so that it is one directory name (`feature%2Fx`)."""
    # Imported here: it costs a tenth of a start, and the user's own checkout needs no cache.
    from urllib.parse import quote

    text = quote(part, safe="+@", errors="surrogateescape")
    return "%2E" + text[1:] if text.startswith(".") else text


def decoded(part: str) -> str:
    """Undo `encoded`."""
    from urllib.parse import unquote

    return unquote(part)


def has_config(checkout: Path) -> bool:
    """Return whether a directory holds a tako.yml, of whatever kind of file."""
    return os.path.lexists(checkout / CONFIG_NAME)


def is_top(directory: Path) -> bool:
    """Return whether a directory is the top of a git checkout."""
    return os.path.lexists(directory / ".git")


FROM_BELOW, MOVED = "from-below", "moved"


def objects_from(snapshot: Path, mirror: Path) -> str:
    """The path to a mirror's objects as a snapshot's repository counts it: from its own objects."""
    return os.path.relpath(mirror / OBJECTS, snapshot / GIT_NAME / OBJECTS)


def is_objects_of(path: str, mirror: Path) -> bool:
    """Return whether a path, wherever the cache was when it was written, was that to the mirror's objects."""
    return Path(path).parts[-4:] == (mirror / OBJECTS).parts[-4:]
