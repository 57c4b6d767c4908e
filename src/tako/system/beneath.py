"""Reads files below a directory that hostile programs could write, without being led out of it.

In flow a root directory and a relative name; out flow bytes, or a copy with its hash. Links are
followed only while they stay below the root. Only regular files are read: opening is non-blocking,
so that a FIFO cannot hang it, and nothing read is larger than the caller allows. Every refusal is a
`BeneathError` whose reason completes the sentence "NAME ...".
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tako.errors import TakoError
from tako.layout import path_problem
from tako.system.copying import Copier
from tako.system.descent import Descent
from tako.system.files import make_private
from tako.system.openat2_fallback import FLAGS, open_by_hand

_TRIES = 100
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILES_MAX = 10_000
_KINDS = {
    stat.S_IFDIR: "is a directory",
    stat.S_IFIFO: "is a FIFO",
    stat.S_IFSOCK: "is a socket",
    stat.S_IFCHR: "is a device",
    stat.S_IFBLK: "is a device",
    stat.S_IFLNK: "is a link",
}
_REASONS = {
    errno.ENOENT: "is missing",
    errno.ENOTDIR: "is missing (part of its path is not a directory)",
    errno.EXDEV: "leads outside",
    errno.ELOOP: "leads through a link that may not be followed",
    errno.EACCES: "cannot be read (permission denied)",
    errno.EPERM: "cannot be read (not permitted)",
    # open(2): a socket cannot be opened, nor a device without driver.
    errno.ENXIO: "is a socket or a device",
    errno.ENAMETOOLONG: "has too long a name",
}


class BeneathError(TakoError):
    """A file that may not or cannot be read; `reason` says why, `relative` which."""

    def __init__(self, relative: str, reason: str) -> None:
        super().__init__(f"{relative} {reason}")
        self.relative = relative
        self.reason = reason

    @property
    def missing(self) -> bool:
        """Whether there is simply no such file."""
        return self.reason == _REASONS[errno.ENOENT]


def _refusal(relative: str, error: OSError) -> BeneathError:
    code = error.errno or 0
    return BeneathError(relative, _REASONS.get(code, f"cannot be read ({error.strerror})"))


def _open_by_kernel(root: int, relative: str, *, links: bool) -> int:
    from tako.system.libc import open_beneath_by_kernel

    for _ in range(_TRIES):
        # openat2(2): EAGAIN when something was renamed at the same time; the answer is to try again.
        with suppress(BlockingIOError):
            return open_beneath_by_kernel(root, relative, FLAGS, links=links)
    raise OSError(errno.EAGAIN, "it keeps being moved")


@contextmanager
def _directory(root: Path | int) -> Iterator[int]:
    if isinstance(root, int):
        yield root
        return
    descriptor = os.open(root, _DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open_either(root: int, relative: str, *, links: bool) -> int:
    try:
        return _open_by_kernel(root, relative, links=links)
    except OSError as error:
        # Old kernels do not have it; seccomp filters of containers answer EPERM for what they do not know.
        if error.errno not in {errno.ENOSYS, errno.EPERM, errno.EINVAL}:
            raise
    return open_by_hand(root, relative, links=links)


def _checked(descriptor: int, relative: str, max_bytes: int | None) -> int:
    status = os.fstat(descriptor)
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None and max_bytes is not None and status.st_size > max_bytes:
        kind = f"is larger than {max_bytes} bytes ({status.st_size})"
    if kind is not None:
        os.close(descriptor)
        raise BeneathError(relative, kind)
    return descriptor


def open_beneath(root: Path | int, relative: str, *, max_bytes: int | None = None, links: bool = True) -> int:
    """Open a regular file below `root` for reading and give its descriptor, which the caller closes.

    With `links` false no link at all is followed. Raises `BeneathError` if it leads outside, is no
    regular file, is missing or larger than `max_bytes`. See openat2(2), RESOLVE_BENEATH.
    """
    problem = path_problem(relative)
    if problem:
        raise BeneathError(relative, f"may not be read: {problem}")
    try:
        with _directory(root) as directory:
            descriptor = _open_either(directory, relative, links=links)
    except OSError as error:
        raise _refusal(relative, error) from error
    return _checked(descriptor, relative, max_bytes)


def read_beneath(root: Path | int, relative: str, max_bytes: int, *, links: bool = True) -> bytes:
    """Give the bytes of a regular file below `root`, at most `max_bytes`; raises `BeneathError`."""
    descriptor = open_beneath(root, relative, max_bytes=max_bytes, links=links)
    with os.fdopen(descriptor, "rb") as file:
        # One more than allowed shows a file that grew since its size was read, or lies about it (/proc).
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise BeneathError(relative, f"is larger than {max_bytes} bytes")
    return data


def copy_beneath(
    root: Path | int, relative: str, target: Path, *, max_bytes: int | None = None
) -> tuple[str, int]:
    """Copy a regular file below `root` to the new file `target`; give its SHA-256 (hex) and size in bytes.

    Missing directories above `target` are made. Shares blocks where the file system can (FICLONE). The copy
    is on the disk when this returns, its name once its directory is synced.
    Raises `BeneathError` for the source and `OSError` for the target.
    """
    source = open_beneath(root, relative, max_bytes=max_bytes)
    try:
        make_private(target.parent)
        # What could be executed before can be executed after; nothing else of the mode is kept.
        mode = 0o600 | (os.fstat(source).st_mode & stat.S_IXUSR)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        made = os.open(target, flags, mode)
        try:
            copied = Copier().copy_and_hash(source, made)
            os.fdatasync(made)
            return copied
        finally:
            os.close(made)
    finally:
        os.close(source)


def _component(part: str) -> re.Pattern[str] | None:
    """The expression for one component of a pattern; None stands for `**`."""
    if part == "**":
        return None
    expression = fnmatch.translate(part)
    return re.compile(expression if part.startswith(".") else rf"(?!\.){expression}")


def _components(pattern: str) -> list[re.Pattern[str] | None]:
    parts = [part for part in pattern.split("/") if part not in {"", "."}]
    if pattern.endswith("/"):
        parts.append("**")
    if not parts or parts[-1] == "**":
        parts.append("*")
    return [_component(part) for part in parts]


class _Glob:
    """One search. A state is the index of the component that the next name must match."""

    def __init__(self, pattern: str, max_files: int) -> None:
        self.pattern = pattern
        self.components = _components(pattern)
        self.max_files = max_files
        self.files: list[str] = []

    def _closed(self, states: Iterable[int]) -> frozenset[int]:
        """`**` may also stand for no directory at all."""
        found = set()
        for state in states:
            following = state
            found.add(following)
            while self.components[following] is None:
                following += 1
                found.add(following)
        return frozenset(found)

    def _below(self, states: frozenset[int], name: str) -> frozenset[int]:
        found = []
        for state in states:
            component = self.components[state]
            if component is None and not name.startswith("."):
                found.append(state)
            elif component is not None and state + 1 < len(self.components) and component.match(name):
                found.append(state + 1)
        return self._closed(found)

    def _is_match(self, states: frozenset[int], name: str) -> bool:
        last = self.components[-1]
        return len(self.components) - 1 in states and last is not None and last.match(name) is not None

    def _look(
        self, descent: Descent, prefix: str, states: frozenset[int]
    ) -> list[tuple[str, frozenset[int]]]:
        directories = []
        with os.scandir(descent.fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below = self._below(states, entry.name)
                    directories += [(entry.name, below)] if below else []
                elif entry.is_file(follow_symlinks=False) and self._is_match(states, entry.name):
                    self.files.append(prefix + entry.name)
        if len(self.files) > self.max_files:
            raise BeneathError(self.pattern, f"matches more than {self.max_files} files")
        return directories

    def run(self, descent: Descent) -> list[str]:
        start = self._closed([0])
        levels = [("", self._look(descent, "", start))]
        while levels:
            prefix, waiting = levels[-1]
            if waiting:
                name, states = waiting.pop()
                descent.enter(name)
                levels.append((f"{prefix}{name}/", self._look(descent, f"{prefix}{name}/", states)))
                continue
            levels.pop()
            if levels:
                os.close(descent.leave())
        return sorted(self.files)


def glob_beneath(root: Path | int, pattern: str, *, max_files: int = _FILES_MAX) -> list[str]:
    """Give the regular files below `root` that a pattern matches, relative and sorted.

    `*`, `?` and `[...]` match within one component and, like a shell, no leading dot; `**` matches any
    number of directories; a trailing slash means everything below. Links are neither followed nor given.
    Raises `BeneathError` if the pattern leads outside or matches more than `max_files`.
    """
    problem = path_problem(pattern)
    if problem:
        raise BeneathError(pattern, f"may not be read: {problem}")
    try:
        with _directory(root) as directory, Descent(os.open(".", _DIRECTORY, dir_fd=directory)) as descent:
            return _Glob(pattern, max_files).run(descent)
    except OSError as error:
        raise _refusal(pattern, error) from error
