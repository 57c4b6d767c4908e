"""Copies the bytes of one open file into another, the cheapest way the file system offers."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

# linux/fs.h: FICLONE is _IOW(0x94, 9, int).
_FICLONE = 0x40049409
_CHUNK = 1 << 20
#: The unit of st_blocks: stat(2).
_BLOCK = 512
_NO_COPY_RANGE = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
_NEVER_CLONES = {errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS}


class Copier:
    """Copies files between two file systems and remembers what these cannot do."""

    def __init__(self, on_chunk: Callable[[], None] = lambda: None) -> None:
        """`on_chunk` is called every MiB, and may stop a copy that is hashed by raising."""
        self._clones = True
        self._on_chunk = on_chunk

    def _clone(self, source: int, target: int) -> bool:
        if not self._clones:
            return False
        try:
            fcntl.ioctl(target, _FICLONE, source)
        except OSError as error:
            self._clones = error.errno not in _NEVER_CLONES
            return False
        return True

    def copy(self, source: int, target: int, size: int) -> None:
        """Copy an open file, `size` bytes long when it was looked at, into an empty one; raises `OSError`.

        Shares blocks if the file system can (ioctl_ficlone(2)), else lets the kernel copy
        (copy_file_range(2)), else reads and writes; a file that grew meanwhile is copied to its end. Holes
        stay holes.
        """
        if (size > _CHUNK or self._clones) and self._clone(source, target):
            return
        if _has_holes(source):
            _copy_data(source, target)
        elif size > _CHUNK:
            _copy_range(source, target, size)
        self._by_hand(source, target, None)

    def copy_and_hash(self, source: int, target: int) -> tuple[str, int]:
        """Copy an open file into an empty one; return SHA-256 (hex) and size of the copy in bytes.

        The hash is that of the copy: of a clone, and of a file with holes, which stay holes, it is read from
        there. Raises `OSError`.
        """
        digest = hashlib.sha256()
        if self._clone(source, target):
            pass
        elif _has_holes(source):
            _copy_data(source, target)
        else:
            size = self._by_hand(source, target, digest)
            return digest.hexdigest(), size
        size = 0
        os.lseek(target, 0, os.SEEK_SET)
        while chunk := os.read(target, _CHUNK):
            self._on_chunk()
            digest.update(chunk)
            size += len(chunk)
        return digest.hexdigest(), size

    def _by_hand(self, source: int, target: int, digest: hashlib._Hash | None) -> int:
        size = 0
        while chunk := os.read(source, _CHUNK):
            self._on_chunk()
            if digest:
                digest.update(chunk)
            size += len(chunk)
            view = memoryview(chunk)
            while view:
                view = view[os.write(target, view) :]
        return size


def can_share_blocks(source: Path, directory: Path) -> bool:
    """Return whether copies from `source` into `directory` can share blocks (ioctl_ficlone(2))."""
    if os.stat(source).st_dev != os.stat(directory).st_dev:
        return False
    import tempfile

    with tempfile.TemporaryFile(dir=directory) as one, tempfile.TemporaryFile(dir=directory) as other:
        one.write(b"x")
        one.flush()
        try:
            fcntl.ioctl(other.fileno(), _FICLONE, one.fileno())
        except OSError:
            return False
    return True


def _has_holes(source: int) -> bool:
    status = os.fstat(source)
    return status.st_blocks * _BLOCK < status.st_size


def _copy_data(source: int, target: int) -> None:
    """Copy the next data after a hole; both files are then at its end (lseek(2), SEEK_DATA)."""
    size = os.fstat(source).st_size
    at = 0
    while at < size:
        try:
            start = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break
        at = os.lseek(source, start, os.SEEK_HOLE)
        os.lseek(target, start, os.SEEK_SET)
        _copy_range(source, target, at - os.lseek(source, start, os.SEEK_SET))
        # Where the kernel does not copy, or not all.
        while (left := at - os.lseek(source, 0, os.SEEK_CUR)) > 0:
            chunk = memoryview(os.read(source, min(left, _CHUNK)))
            if not chunk:
                break
            while chunk:
                chunk = chunk[os.write(target, chunk) :]
    os.ftruncate(target, size)
    os.lseek(source, size, os.SEEK_SET)
    os.lseek(target, size, os.SEEK_SET)


def _copy_range(source: int, target: int, size: int) -> None:
    copied = 0
    try:
        while copied < size:
            step = os.copy_file_range(source, target, size - copied)
            if not step:
                return
            copied += step
    except OSError as error:
        if error.errno not in _NO_COPY_RANGE:
            raise
