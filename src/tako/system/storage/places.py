"""Mount points in directories that hostile programs could write.

In: that directory and a path below it. Out: the place, made if it is missing. A mount by a path, as of
bubblewrap, follows links: one in there could name any directory of the machine. So no link is followed
here, and none is on the way afterwards, until somebody writes there again. Raises `OSError`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tako.system.storage.descent import Descent

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def opened_place(top: Path, relative: str) -> Iterator[Path]:
    """Return a name for the directory that leads to it whatever its path becomes meanwhile."""
    with _below(top, relative.split("/")) as descent:
        yield Path(f"/proc/self/fd/{descent.fd}")


def make_place(top: Path, relative: str, *, directory: bool) -> None:
    """Make a directory, or an empty file, unless there is one."""
    *above, last = relative.split("/")
    with _below(top, [*above, last] if directory else above) as descent:
        if directory:
            return
        try:
            os.close(os.open(last, _NEW, 0o444, dir_fd=descent.fd))
        except FileExistsError:
            if not stat.S_ISREG(os.stat(last, dir_fd=descent.fd, follow_symlinks=False).st_mode):
                raise OSError(errno.EEXIST, "it is not a file", last) from None


@contextmanager
def _below(top: Path, names: list[str]) -> Iterator[Descent]:
    with Descent(os.open(top, _DIRECTORY)) as descent:
        for name in names:
            with suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=descent.fd)
            descent.enter(name)
        yield descent
