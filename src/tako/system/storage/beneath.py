"""Reads files below a directory that hostile programs could write, without being led out of it.

In: a root directory and a relative name. Out: bytes, or a copy with its hash. Links are
followed only while they stay below the root. Only regular files are read: opening is non-blocking,
so that a FIFO cannot hang it, and nothing read is larger than the caller allows. Every refusal is a
`BeneathError` whose reason completes the sentence "NAME ...".
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tako.errors import TakoError
from tako.layout.names import TEMPORARY_PREFIX, path_problem
from tako.system.storage.copying import Copier
from tako.system.storage.descent import Descent
from tako.system.storage.openat2_fallback import FLAGS, open_by_hand
from tako.system.storage.writing import make_private, write_all
from tako.system.terminal.text import named

_TRIES = 100
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: What is said of each kind that is no regular file.
KINDS = {
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
    """The file `relative` may not or cannot be read, for the given `reason`."""

    def __init__(self, relative: str, reason: str) -> None:
        super().__init__(f"{named(relative)} {reason}")
        self.relative = relative
        self.reason = reason

    @property
    def missing(self) -> bool:
        """Whether there is simply no such file."""
        return self.reason == _REASONS[errno.ENOENT]


def refusal(relative: str, error: OSError) -> BeneathError:
    """Return the exception for an error of the kernel."""
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
def opened_directory(root: Path | int) -> Iterator[int]:
    """Return a descriptor of the directory; closed at the end if it was opened here."""
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
    kind = KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None and max_bytes is not None and status.st_size > max_bytes:
        kind = f"is larger than {max_bytes} bytes ({status.st_size})"
    if kind is not None:
        os.close(descriptor)
        raise BeneathError(relative, kind)
    return descriptor


def open_beneath(root: Path | int, relative: str, *, max_bytes: int | None = None, links: bool = True) -> int:
    """Open a regular file below `root` for reading and return its descriptor; the caller closes it.

    With `links` false no link at all is followed. Raises `BeneathError` if it leads outside, is no
    regular file, is missing or larger than `max_bytes`. See openat2(2), RESOLVE_BENEATH.
    """
    problem = path_problem(relative)
    if problem:
        raise BeneathError(relative, f"may not be read: {problem}")
    try:
        with opened_directory(root) as directory:
            descriptor = _open_either(directory, relative, links=links)
    except OSError as error:
        raise refusal(relative, error) from error
    return _checked(descriptor, relative, max_bytes)


def read_beneath(root: Path | int, relative: str, max_bytes: int, *, links: bool = True) -> bytes:
    """Return the bytes of a regular file below `root`, at most `max_bytes`; raises `BeneathError`."""
    descriptor = open_beneath(root, relative, max_bytes=max_bytes, links=links)
    with os.fdopen(descriptor, "rb") as file:
        # One more than allowed shows a file that grew since its size was read, or lies about it (/proc).
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise BeneathError(relative, f"is larger than {max_bytes} bytes")
    return data


def copy_beneath(
    root: Path | int,
    relative: str,
    target: Path,
    *,
    max_bytes: int | None = None,
    on_source: Callable[[os.stat_result], None] = lambda _status: None,
    on_chunk: Callable[[], None] = lambda: None,
) -> tuple[str, int]:
    """Copy a regular file below `root` to the new file `target`; return its SHA-256 (hex) and size in bytes.

    Missing directories above `target` are made. Shares blocks where the file system can (FICLONE), and keeps
    holes. The copy is on the disk when this returns, its name once its directory is synced. `on_source` and,
    every so many bytes, `on_chunk` may stop it by raising.
    Raises `BeneathError` for the source and `OSError` for the target.
    """
    source = open_beneath(root, relative, max_bytes=max_bytes)
    try:
        status = os.fstat(source)
        on_source(status)
        make_private(target.parent)
        # What could be executed before can be executed after; nothing else of the mode is kept.
        mode = 0o600 | (status.st_mode & stat.S_IXUSR)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        made = os.open(target, flags, mode)
        try:
            copied = Copier(on_chunk).copy_and_hash(source, made)
            os.fdatasync(made)
            return copied
        finally:
            os.close(made)
    finally:
        os.close(source)


def replace_beneath(root: Path, relative: str, data: bytes) -> None:
    """Put another file in the place of a regular one below `root`, in one move; no link is followed.

    Raises `BeneathError` if its directory is missing or reached by a link.
    """
    *directories, name = relative.split("/")
    temporary = f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}"
    try:
        with Descent(os.open(root, _DIRECTORY)) as descent:
            for directory in directories:
                descent.enter(directory)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            made = os.open(temporary, flags, 0o644, dir_fd=descent.fd)
            try:
                write_all(made, data)
                os.replace(temporary, name, src_dir_fd=descent.fd, dst_dir_fd=descent.fd)
            except BaseException:
                os.unlink(temporary, dir_fd=descent.fd)
                raise
            finally:
                os.close(made)
    except OSError as error:
        raise refusal(relative, error) from error
