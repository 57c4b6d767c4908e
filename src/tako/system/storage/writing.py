"""Small promises about files that several packages rely on."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import stat
import time
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from tako.errors import DiskFullError, WriteFailedError
from tako.system import crash_points

# EFBIG: beyond the user's own limit of file size (`ulimit -f`).
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: How long a lock may be shared by those who only look (`is_locked`) before it counts as another's.
_LOOKED_AT_S = 1.0
_POLL_S = 0.001


def is_full(error: OSError) -> bool:
    """Return whether an error means that the disk or quota is used up."""
    return error.errno in _NO_ROOM


def disk_full(error: OSError, path: Path | str) -> DiskFullError:
    """The failure to raise for such an error, naming what could not be written."""
    return DiskFullError(
        f"no space left while writing {path}: {error.strerror}",
        hint="free some space (`df` shows where), then run it again",
    )


def write_failed(error: OSError, path: Path | str) -> WriteFailedError:
    """The failure to raise for any error of writing, naming what could not be written."""
    if is_full(error):
        return disk_full(error, path)
    return WriteFailedError(
        f"{path} cannot be written: {error.strerror}",
        hint="see what is wrong with that file system (`mount`, `dmesg`), then run it again",
    )


def try_lock(descriptor: int) -> bool:
    """Lock an open file for this open file description: flock(2), exclusive, without waiting.

    Unlike fcntl(2) record locks it is not dropped when another descriptor of the same file is
    closed in the same process. It ends with the last holder of the description.
    """
    deadline = time.monotonic() + _LOOKED_AT_S
    while not _take(descriptor, fcntl.LOCK_EX):
        # `is_locked` shares the lock for a moment: that must not look like an owner.
        if not _take(descriptor, fcntl.LOCK_SH):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def try_share(descriptor: int) -> bool:
    """Lock an open file as `try_lock` does, but together with others that share it: it keeps out `try_lock`.

    `is_locked` does not see it.
    """
    return _take(descriptor, fcntl.LOCK_SH)


def _take(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holder_of(descriptor: int) -> str:
    """Describe the holder of `try_lock` on an open file, as far as the kernel shows it (proc_locks(5))."""
    status = os.fstat(descriptor)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with open("/proc/locks") as locks:
        fields = [line.split() for line in locks]
    pids = [found[4] for found in fields if (found[1], found[5]) == ("FLOCK", place)]
    if not pids or pids[0] == "0":
        return "another process"
    try:
        with open(f"/proc/{pids[0]}/cmdline", "rb") as file:
            title = file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return f"process {pids[0]}"
    return f"process {pids[0]} ({title})"


def write_whole(path: Path, data: bytes, *, sync: bool = False, mode: int = 0o600) -> None:
    """Put `data` at `path` in one move: what is in place is whole (rename(2))."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fdatasync(file.fileno())
        move(temporary, path)
    except OSError as error:
        os.unlink(temporary)
        if is_full(error):
            raise disk_full(error, path) from error
        raise


def move(source: Path, target: Path) -> None:
    """Put a file or directory in place in one move, over a file that is there: rename(2)."""
    crash_points.before("replace", target.name)
    os.replace(source, target)
    crash_points.after("replace", target.name)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data` (write(2) may take less at a time)."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def write_all_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset` and leave the file's own position alone (pwrite(2))."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def memory_file(name: str, data: bytes) -> int:
    """Return an open file in memory that holds `data`, to be read from its start (memfd_create(2))."""
    descriptor = os.memfd_create(name)
    write_all(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def make_private(path: Path) -> None:
    """Make a directory and all missing ones above it, each for the owner alone (0700).

    `Path.mkdir(parents=True)` sets its mode on the last one only.
    """
    missing = list(takewhile(lambda directory: not directory.exists(), (path, *path.parents)))
    for directory in reversed(missing):
        directory.mkdir(mode=0o700, exist_ok=True)


def sync_directory(path: Path) -> None:
    """Return when the names in a directory will survive a power cut (fsync(2))."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_plain(path: Path | str, mode: int = os.O_RDONLY) -> io.FileIO:
    """Open a file, unbuffered, that has to be a regular one: a FIFO would block, a device may have no end.

    Raises `OSError`: ENXIO for what is none.
    """
    descriptor = os.open(path, mode | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
    if kind != stat.S_IFREG:
        os.close(descriptor)
        code = errno.EISDIR if kind == stat.S_IFDIR else errno.ENXIO
        raise OSError(code, "it is not a regular file", os.fspath(path))
    return io.FileIO(descriptor, "rb" if mode == os.O_RDONLY else "r+b")


def read_plain(path: Path | str) -> bytes:
    """All bytes of a file, opened as `open_plain` does."""
    with open_plain(path) as file:
        return file.read()


def size_of(path: Path) -> int:
    """Bytes in a file; 0 if there is none."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def cut_file(path: Path, size: int, end: bytes) -> None:
    """Keep the first bytes of a file, with another end; a file that is gone is no error."""
    with suppress(FileNotFoundError), open(path, "r+b") as file:
        file.truncate(size)
        file.seek(size)
        file.write(end)


def is_gone(path: Path) -> bool:
    """Return whether there is nothing at a path; one that cannot be looked at may be there."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def is_locked(path: Path) -> bool:
    """Return whether another open file description holds `try_lock` on the file.

    A missing file is not locked.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _take(descriptor, fcntl.LOCK_SH)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        os.close(descriptor)
