"""Removes directory trees with any content.

Already gone is success, also when another process removes the same tree at the same time. No link
is followed. Raises a `MachineError` that names a path that cannot be removed.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from tako.errors import MachineError
from tako.system.storage.descent import Descent

_PASSES = 20
_OWNER = 0o700
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOVED = {errno.ENOENT, errno.ESTALE, errno.ENOTDIR, errno.ELOOP}
_BUSY_OR_FULL = {errno.ENOTEMPTY, errno.EEXIST}


def open_up(name: str | Path, directory: int | None) -> None:
    """Let the owner into a directory of any mode, without following a link swapped in meanwhile.

    An O_PATH descriptor needs no permission; fchmod(2) refuses it, its name in /proc does not (open(2)).
    """
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        mode = os.fstat(handle).st_mode
        if mode & _OWNER != _OWNER:
            os.chmod(f"/proc/self/fd/{handle}", stat.S_IMODE(mode) | _OWNER)
    finally:
        os.close(handle)


class _Removal:
    def __init__(self) -> None:
        self.at = ""

    def _empty(self, descent: Descent) -> list[str]:
        """Unlink all but directories, whose names are given."""
        directories = []
        with os.scandir(descent.fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.name)
                    continue
                self.at = entry.name
                with suppress(FileNotFoundError):
                    os.unlink(entry.name, dir_fd=descent.fd)
        return directories

    def _enter(self, descent: Descent, name: str) -> bool:
        self.at = name
        with suppress(OSError):
            # Most are empty.
            os.rmdir(name, dir_fd=descent.fd)
            return False
        try:
            open_up(name, descent.fd)
            descent.enter(name)
        except OSError as error:
            if error.errno in _MOVED:
                return False
            raise
        return True

    def run(self, descent: Descent) -> None:
        levels = [self._empty(descent)]
        names: list[str] = []
        while levels:
            if levels[-1]:
                name = levels[-1].pop()
                if self._enter(descent, name):
                    names.append(name)
                    levels.append(self._empty(descent))
                continue
            levels.pop()
            if names:
                os.close(descent.leave())
                self.at = names.pop()
                with suppress(FileNotFoundError):
                    os.rmdir(self.at, dir_fd=descent.fd)


def _remove_once(path: Path, removal: _Removal) -> bool:
    """One pass; True when nothing is left of it."""
    with suppress(OSError):
        # Most are empty.
        os.rmdir(path)
        return True
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return True
        open_up(path, None)
        with Descent(os.open(path, _DIRECTORY)) as descent:
            removal.run(descent)
        os.rmdir(path)
    except FileNotFoundError:
        return not os.path.lexists(path)
    except OSError as error:
        if error.errno in _MOVED | _BUSY_OR_FULL:
            return False
        raise
    return True


def remove_tree(path: Path) -> None:
    """Remove a directory with all it holds (or a file or link); missing is success.

    Directories without permissions, deep trees and others removing at the same time are handled.
    Raises `MachineError` naming what could not be removed.
    """
    removal = _Removal()
    try:
        for _ in range(_PASSES):
            if _remove_once(path, removal):
                return
    except OSError as error:
        message = f"{path} cannot be removed: {removal.at or path.name}: {error.strerror}"
        raise MachineError(message) from error
    message = f"{path} cannot be removed: something is still being written into it"
    raise MachineError(message, hint="end the process that writes there, then try again")
