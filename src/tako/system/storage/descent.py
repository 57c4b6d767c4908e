"""Walks down a directory tree and up again with one open directory, however deep the tree is.

Every name is opened relative to the directory above it and never through a link, so that a link
swapped in meanwhile cannot lead out. The way up is `..`, checked to be the very directory that
was left, so that a directory moved meanwhile is found out.
"""

from __future__ import annotations

import errno
import os
from types import TracebackType
from typing import Self

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Descent:
    """A position in a tree: `fd` is the current directory; owned, and closed at the end."""

    def __init__(self, root: int) -> None:
        self.fd = root
        self._above: list[tuple[int, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)

    @property
    def depth(self) -> int:
        """The number of directories between the root and this position."""
        return len(self._above)

    def enter(self, name: str) -> None:
        """Go down into a directory; raises `OSError`, ELOOP or ENOTDIR if it is none (any more)."""
        below = os.open(name, _FLAGS, dir_fd=self.fd)
        status = os.fstat(self.fd)
        self._above.append((status.st_dev, status.st_ino))
        os.close(self.fd)
        self.fd = below

    def leave(self) -> int:
        """Go up and return the descriptor of the directory left; the caller closes it.

        Raises `OSError` ESTALE if the directory was moved since it was entered.
        """
        above = os.open("..", _FLAGS, dir_fd=self.fd)
        status = os.fstat(above)
        if (status.st_dev, status.st_ino) != self._above[-1]:
            os.close(above)
            raise OSError(errno.ESTALE, "the directory was moved meanwhile")
        self._above.pop()
        left, self.fd = self.fd, above
        return left
