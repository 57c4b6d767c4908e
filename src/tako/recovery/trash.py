"""Removal that may be interrupted anywhere: moved into the trash in one step, emptied at leisure.

What is in the trash belongs to nobody any more; whoever comes next goes on emptying it.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from tako.errors import MachineError
from tako.layout.home import Home
from tako.layout.names import TEMPORARY_PREFIX
from tako.system.storage.removal import open_up, remove_tree
from tako.system.storage.writing import make_private


def throw(home: Home, path: Path, run_id: str) -> None:
    """Move a directory of a run (or whatever stands there by now) into the trash; missing is success.

    Raises `MachineError` naming what cannot be moved.
    """
    try:
        make_private(home.trash)
        _move(path, home.trash / f"{run_id}.{os.urandom(4).hex()}")
    except FileNotFoundError:
        return
    except OSError as error:
        message = f"{path} cannot be removed: {error.strerror}"
        raise MachineError(message) from error


def _move(path: Path, place: Path) -> None:
    try:
        os.rename(path, place)  # noqa: PTH104 - Path.rename would do the same
    except PermissionError:
        # A directory whose `..` changes must be writable itself (rename(2)), which a step may have undone.
        open_up(path, None)
        os.rename(path, place)  # noqa: PTH104
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # A file system of its own, without that trash. Out of its place in one move all the same: a removal
        # that breaks off must not leave half a workspace where a whole one is looked for.
        aside = path.with_name(f"{TEMPORARY_PREFIX}{place.name}")
        os.rename(path, aside)  # noqa: PTH104
        remove_tree(aside)


def is_empty(home: Home) -> bool:
    """Whether nothing waits for its removal."""
    with suppress(FileNotFoundError):
        return not os.listdir(home.trash)
    return True


def empty(home: Home, run_id: str = "") -> list[str]:
    """Remove what is in the trash, or what is of one run; gives what went wrong. Many may do so at once."""
    errors = []
    with suppress(FileNotFoundError):
        for name in os.listdir(home.trash):
            if not name.startswith(run_id):
                continue
            try:
                remove_tree(home.trash / name)
            except MachineError as error:
                errors.append(error.message)
    return errors
