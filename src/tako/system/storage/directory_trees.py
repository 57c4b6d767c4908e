"""Copies, fingerprints and removes directory trees that anybody may have filled.

In: directories. Out: copies and hashes. Trees may be deep, hold links to anywhere, FIFOs,
sockets, devices and what changes meanwhile: nothing is followed or opened that is no regular
file. What cannot be read, written or removed is a `MachineError` that names it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from tako.errors import MachineError
from tako.system.storage.copying import Copier
from tako.system.storage.descent import Descent
from tako.system.storage.removal import remove_tree
from tako.system.storage.writing import disk_full, is_full
from tako.values import value

__all__ = [
    "TreeChangedError",
    "TreeSignature",
    "copy_tree",
    "copy_tree_hashed",
    "remove_tree",
    "tree_signature",
]

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PERMISSIONS = 0o777
_KINDS = {
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}
# What open(2) and stat(2) answer when a name was removed or became something else meanwhile.
_CHANGED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.ENXIO}


class TreeChangedError(MachineError):
    """A tree that changed while it was read."""


@value
class TreeSignature:
    """Shows whether a tree changed, without reading any file.

    `newest_ns` is the latest change (ctime, ns since the epoch) of any entry: a change within the same
    tick of the file system's clock as the signature may leave no trace in `hex`.
    """

    hex: str
    newest_ns: int
    entries: int


def _failure(error: OSError, root: Path, relative: str, what: str) -> MachineError:
    path = root / relative
    if is_full(error):
        return disk_full(error, path)
    if error.errno in _CHANGED:
        return TreeChangedError(f"{path} changed while it was {what}")
    return MachineError(f"{path} cannot be {what}: {error.strerror}")


class _Copy:
    """One copy under way; with a `digest` names come in order and everything copied goes into it."""

    def __init__(
        self,
        on_skipped: Callable[[str, str], None],
        digest: hashlib._Hash | None,
        linked: dict[tuple[int, int], str] | None,
        left_out: frozenset[str],
        check: Callable[[], None],
    ) -> None:
        self.on_skipped = on_skipped
        self.check = check
        self.digest = digest
        #: The first copy of each file that has several names, if they are to be one file again.
        self.linked = linked
        self.left_out = left_out
        self.top = -1
        self.copier = Copier()
        # Where the copy stands, for the message if it fails.
        self.at = ""

    def run(self, source: Descent, target: Descent, top: int) -> None:
        self.top = top
        levels = [("", self._entries(source, target, ""))]
        while levels:
            prefix, waiting = levels[-1]
            if waiting:
                name = waiting.pop()
                self.at = prefix + name
                source.enter(name)
                os.mkdir(name, 0o700, dir_fd=target.fd)
                target.enter(name)
                levels.append((f"{self.at}/", self._entries(source, target, f"{self.at}/")))
                continue
            levels.pop()
            if levels:
                self.at = prefix
                # The modes are given on the way up: a directory may not be writable for its owner.
                left = source.leave()
                _finish_directory(left, target.leave())

    def _entries(self, source: Descent, target: Descent, prefix: str) -> list[str]:
        """Copy all but directories, whose names are given, the next one last."""
        self.at = prefix
        directories = []
        self._note("d", prefix, os.fstat(source.fd).st_mode, "")
        with os.scandir(source.fd) as scan:
            entries = sorted(scan, key=lambda entry: entry.name) if self.digest else scan
            for entry in entries:
                self.check()
                self.at = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    directories += [entry.name] if self.at not in self.left_out else []
                elif entry.is_symlink():
                    self._link(source.fd, target.fd, entry)
                elif entry.is_file(follow_symlinks=False):
                    self._file(source.fd, target.fd, entry.name)
                else:
                    kind = stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
                    self.on_skipped(self.at, _KINDS.get(kind, "special file"))
        return directories[::-1]

    def _note(self, kind: str, relative: str, mode: int, content: str) -> None:
        if self.digest:
            fields = (kind, relative, f"{mode & _PERMISSIONS:o}", content)
            self.digest.update(b"".join(os.fsencode(field) + b"\0" for field in fields))

    def _link(self, source: int, target: int, entry: os.DirEntry[str]) -> None:
        pointed = os.readlink(entry.name, dir_fd=source)
        os.symlink(pointed, entry.name, dir_fd=target)
        status = entry.stat(follow_symlinks=False)
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(entry.name, ns=times, dir_fd=target, follow_symlinks=False)
        self._note("l", self.at, 0, pointed)

    def _file(self, source: int, target: int, name: str) -> None:
        read = os.open(name, _READ, dir_fd=source)
        try:
            status = os.fstat(read)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.ESTALE, "no longer a regular file")
            if self._is_linked(target, name, status):
                return
            written = os.open(name, _WRITE, 0o600, dir_fd=target)
            try:
                self._content(read, written, status)
                os.fchmod(written, status.st_mode & _PERMISSIONS)
                os.utime(written, ns=(status.st_atime_ns, status.st_mtime_ns))
            finally:
                os.close(written)
        finally:
            os.close(read)

    def _is_linked(self, target: int, name: str, status: os.stat_result) -> bool:
        """Return a file that was copied already under another name this one too."""
        if self.linked is None or status.st_nlink == 1:
            return False
        first = self.linked.setdefault((status.st_dev, status.st_ino), self.at)
        if first == self.at:
            return False
        try:
            os.link(first, name, src_dir_fd=self.top, dst_dir_fd=target, follow_symlinks=False)
        except OSError as error:
            # A path that is too long for one call, or a file with as many names as it can have.
            if error.errno not in (errno.ENAMETOOLONG, errno.EMLINK):
                raise
            return False
        return True

    def _content(self, read: int, written: int, status: os.stat_result) -> None:
        if self.digest:
            content, size = self.copier.copy_and_hash(read, written)
            self._note("f", self.at, status.st_mode, f"{size} {content}")
        else:
            self.copier.copy(read, written, status.st_size)


def _finish_directory(source: int, target: int) -> None:
    try:
        status = os.fstat(source)
        os.fchmod(target, status.st_mode & _PERMISSIONS)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(source)
        os.close(target)


def _go_on() -> None:
    """Nothing ends the copy early."""


def _copy(
    source: Path,
    target: Path,
    on_skipped: Callable[[str, str], None],
    digest: hashlib._Hash | None = None,
    *,
    linked: dict[tuple[int, int], str] | None = None,
    left_out: frozenset[str] = frozenset(),
    check: Callable[[], None] = _go_on,
) -> None:
    copy = _Copy(on_skipped, digest, linked, left_out, check)
    try:
        with Descent(os.open(source, _DIRECTORY)) as below:
            os.makedirs(target, 0o700, exist_ok=True)
            top = os.open(target, _DIRECTORY)
            try:
                with Descent(os.dup(top)) as into:
                    copy.run(below, into, top)
                    _finish_directory(os.dup(below.fd), os.dup(into.fd))
            finally:
                os.close(top)
    except OSError as error:
        raise _failure(error, source, copy.at, "copied") from error


def _not_told(_relative: str, _kind: str) -> None:
    """Ignore a path that is left out."""


def copy_tree(
    source: Path,
    target: Path,
    *,
    on_skipped: Callable[[str, str], None] = _not_told,
    hard_links: bool = False,
) -> None:
    """Copy a directory to `target`, which is made or empty: files, modes (rwx bits), mtimes, links as links.

    Holes stay holes. Hard links become copies, unless they are asked for. FIFOs, sockets and devices are left
    out: `on_skipped(relative, kind)`.
    Raises `MachineError` naming what cannot be read, `DiskFullError`, and `TreeChangedError` when
    something vanished meanwhile; then `target` is incomplete.
    """
    _copy(source, target, on_skipped, linked={} if hard_links else None)


def copy_tree_hashed(
    source: Path,
    target: Path,
    *,
    on_skipped: Callable[[str, str], None],
    left_out: frozenset[str] = frozenset(),
    check: Callable[[], None] = _go_on,
) -> str:
    """Copy like `copy_tree` and return the SHA-256 (hex) of the copy's names, modes and contents.

    Times do not count, so that the same content always has the same hash. Directories whose paths are in
    `left_out` are not copied. `check` is called before each file, and ends the copy by raising.
    """
    digest = hashlib.sha256()
    _copy(source, target, on_skipped, digest, left_out=left_out, check=check)
    return digest.hexdigest()


def _signature_lines(descent: Descent, digest: hashlib._Hash) -> tuple[list[str], int, int]:
    directories = []
    newest = count = 0
    with os.scandir(descent.fd) as scan:
        for entry in sorted(scan, key=lambda entry: entry.name):
            status = entry.stat(follow_symlinks=False)
            count += 1
            newest = max(newest, status.st_ctime_ns)
            if stat.S_ISDIR(status.st_mode):
                directories.append(entry.name)
                line = f"{entry.name}\0{status.st_mode:o} {status.st_ino}\0"
            else:
                pointed = os.readlink(entry.name, dir_fd=descent.fd) if entry.is_symlink() else ""
                line = (
                    f"{entry.name}\0{status.st_mode:o} {status.st_ino} {status.st_size}"
                    f" {status.st_mtime_ns} {status.st_ctime_ns} {pointed}\0"
                )
            digest.update(os.fsencode(line))
    return directories[::-1], newest, count


def tree_signature(path: Path) -> TreeSignature:
    """Fingerprint a tree by name, type, mode, size, times, inode and link targets, reading no file.

    Raises `MachineError` naming what cannot be read, `TreeChangedError` if something vanished meanwhile.
    """
    digest = hashlib.sha256()
    at = ""
    try:
        with Descent(os.open(path, _DIRECTORY)) as descent:
            waiting, newest, entries = _signature_lines(descent, digest)
            levels = [waiting]
            while levels:
                if levels[-1]:
                    at = levels[-1].pop()
                    descent.enter(at)
                    # The digest says where a directory begins and ends, so that trees are not ambiguous.
                    digest.update(b"(" + os.fsencode(at) + b"\0")
                    waiting, later, count = _signature_lines(descent, digest)
                    levels.append(waiting)
                    newest, entries = max(newest, later), entries + count
                    continue
                levels.pop()
                digest.update(b")\0")
                if levels:
                    os.close(descent.leave())
    except OSError as error:
        raise _failure(error, path, at, "read") from error
    return TreeSignature(digest.hexdigest(), newest, entries)
