"""openat2(2) with RESOLVE_BENEATH, in user space, for kernels and containers that do not have it."""

from __future__ import annotations

import errno
import os

FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_LINKS_MAX = 40


class _ByHand:
    """One descriptor for each directory on the way down, so that `..` never asks the file system."""

    def __init__(self, root: int, relative: str, *, links: bool) -> None:
        self.directories = [os.dup(root)]
        self.left = relative.split("/")[::-1]
        self.links = links
        self.followed = 0

    def open(self) -> int:
        while True:
            name = self.left.pop()
            if name in {"", "."} and self.left:
                continue
            if name == ".." and len(self.directories) == 1:
                raise OSError(errno.EXDEV, "outside")
            if name == ".." and self.left:
                os.close(self.directories.pop())
            elif not self._follow(name):
                found = self._enter(name)
                if found is not None:
                    return found

    def _enter(self, name: str) -> int | None:
        if not self.left:
            return os.open(name or ".", FLAGS | os.O_NOFOLLOW, dir_fd=self.directories[-1])
        flags = FLAGS | os.O_NOFOLLOW | os.O_DIRECTORY
        self.directories.append(os.open(name, flags, dir_fd=self.directories[-1]))
        return None

    def _follow(self, name: str) -> bool:
        try:
            target = os.readlink(name, dir_fd=self.directories[-1])
        except OSError:
            return False
        self.followed += 1
        if not self.links or self.followed > _LINKS_MAX:
            raise OSError(errno.ELOOP, "links")
        if target.startswith("/"):
            raise OSError(errno.EXDEV, "outside")
        self.left += target.split("/")[::-1]
        return True

    def close(self) -> None:
        for directory in self.directories:
            os.close(directory)


def open_by_hand(root: int, relative: str, *, links: bool) -> int:
    """Open a path that may not lead out of an open directory; raises `OSError` as openat2(2) does."""
    way = _ByHand(root, relative, links=links)
    try:
        return way.open()
    finally:
        way.close()
