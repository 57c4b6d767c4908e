"""Chosen paths of one directory as a directory of their own, so that one mount shows them all.

In: paths, where each is to be seen, and an empty directory. Out: files in there as copies, directories as
mounts. A mount for each file would cost each step a tenth of a millisecond: bubblewrap reads the table of
mounts after every one. What changes on the machine later is not seen in the copies.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tako.system.walls.namespaces import bind

#: A file larger than this, or more of them, are no settings: the caller shows them in another way.
_FILE_MAX = 1 << 22
_READABLE = 0o444


def gather(top: str, paths: Sequence[str], seen_at: Callable[[str], str], place: Path) -> None:
    """Put what the `paths` below `top` are into `place`; `seen_at` says where an overlay shows a real path.

    Raises `OSError`, and `ValueError` for a directory that no overlay shows.
    """
    place.mkdir(mode=0o755)
    for path in paths:
        real = os.path.realpath(path)
        source, target = seen_at(real), place / path.removeprefix(f"{top}/")
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if os.path.isdir(source):
            if source == real:
                raise ValueError(path)
            target.mkdir(mode=0o755)
            bind(source, target)
        else:
            _copy(source, target)


def _copy(source: str, target: Path) -> None:
    """Copy a file with its rights; one that may not be read is an empty one that nobody may read."""
    mode, data = 0, b""
    with suppress(PermissionError), open(_opened(source), "rb") as file:
        held = os.fstat(file.fileno())
        if not stat.S_ISREG(held.st_mode) or held.st_size > _FILE_MAX:
            raise ValueError(source)
        mode, data = stat.S_IMODE(held.st_mode) & _READABLE, file.read(_FILE_MAX)
    target.touch(mode=0o600)
    target.write_bytes(data)
    target.chmod(mode)


def _opened(path: str) -> int:
    # A FIFO would wait for somebody who writes.
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
