"""Messages for refusals of the machine: where, why, and the command that mends it.

In: an unexpected error. Out: the `MachineError` to raise instead; None for an error that only a mistake
of tako explains (a bad descriptor, a wrong argument).
"""

from __future__ import annotations

import errno
import os
import resource
import shlex
import stat
from pathlib import Path

from tako.errors import MachineError, TakoError, WriteFailedError
from tako.system.storage.writing import disk_full, is_full

_REFUSED = (errno.EACCES, errno.EPERM)
_TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)
#: What is no file or directory where one has to be.
_WRONG_KIND = (
    errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EEXIST, errno.ENXIO, errno.ENODEV,
    errno.ENOTEMPTY,
)  # fmt: skip
#: A file system that fails, or cannot do what it has to.
_FAILING = (
    errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOLCK, errno.ETIMEDOUT, errno.EREMOTEIO, errno.EOPNOTSUPP,
    errno.ENOSYS, errno.EXDEV, errno.EUCLEAN, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENOTUNIQ, errno.EBUSY,
)  # fmt: skip
_TOO_LITTLE = {errno.ENOMEM: "memory", errno.EAGAIN: "processes"}
_MORE_FILES = 4096


def fault_of(error: BaseException | None) -> MachineError | None:
    """The failure to raise instead of an error of the machine's; None if it is none."""
    if isinstance(error, MemoryError):
        return MachineError(
            "there is not enough memory for this", hint="`ulimit -v` and `free` show how much there is"
        )
    return _refused(error) if isinstance(error, OSError) else None


def _refused(error: OSError) -> MachineError | None:
    code, path = error.errno, _path_of(error)
    if code in _TOO_MANY_FILES:
        return too_many_files(error)
    if is_full(error):
        return disk_full(error, path or "a file")
    if code in _TOO_LITTLE:
        message = f"there are not enough {_TOO_LITTLE[code]} left: {error.strerror}"
        return MachineError(message, hint="`ulimit -a` shows what you may use; end something, or raise it")
    message = f"{path or 'a file'} cannot be used: {error.strerror}"
    if code in _FAILING:
        hint = "see what is wrong with that file system (`mount`, `dmesg`), then run it again"
        return WriteFailedError(message, hint=hint)
    if path and code in _REFUSED:
        return MachineError(message, hint=mending(path))
    if path and (code in _WRONG_KIND or (code == errno.ENOENT and os.path.islink(path))):
        hint = f"{_blocking(Path(path))} is in the way: move it away, or use another directory"
        return MachineError(message, hint=hint)
    return None


def too_many_files(error: OSError) -> MachineError:
    """The failure to raise where no more files can be opened, naming the limit."""
    if error.errno == errno.ENFILE:
        message = f"the machine has no more open files: {error.strerror}"
        return MachineError(message, hint="`cat /proc/sys/fs/file-nr` shows how many there are, and may be")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    message = f"this process may open no more than {soft} files (`ulimit -n`): {error.strerror}"
    how = "as root, or where that limit is set: " if hard < _MORE_FILES else ""
    return MachineError(message, hint=f"raise it, {how}ulimit -n {_MORE_FILES}")


def hint_of(error: TakoError) -> str:
    """Return the advice for a failure: its own hint, or that of the machine's error behind it."""
    behind = error.__cause__
    if isinstance(behind, OSError) and behind.errno in _TOO_MANY_FILES:
        return f"{too_many_files(behind).message}: {too_many_files(behind).hint}"
    fault = None if error.hint else fault_of(behind)
    return fault.hint if fault else error.hint


def words_of(error: Exception) -> str:
    """A failure in one line: what happened, and what to do about it."""
    told = error if isinstance(error, TakoError) else fault_of(error)
    if told is None:
        return str(error)
    hint = hint_of(told)
    return f"{told.message}; {hint}" if hint else told.message


def _blocking(path: Path) -> Path:
    """The first part of a path that is there and no directory, else the path."""
    parts = (*reversed(path.parents), path)
    return next((part for part in parts if os.path.lexists(part) and not os.path.isdir(part)), path)


def _path_of(error: OSError) -> str:
    # Of two names the second is where something was to be put.
    names = (error.filename2, error.filename)
    return next((os.fsdecode(name) for name in names if isinstance(name, (str, bytes, os.PathLike))), "")


def mending(path: str | Path) -> str:
    """The command that makes a path usable: of the path itself, or of what is in the way to it."""
    where = _in_the_way(Path(path))
    name = shlex.quote(str(where))
    try:
        status = os.stat(where)
    except OSError:
        return f"`ls -ld {name}` shows who may use it"
    if status.st_uid != os.geteuid() != 0:
        return f"it belongs to user {status.st_uid}, not to you: sudo chown -R {os.geteuid()} {name}"
    return f"make it usable for yourself: chmod u+{'rwx' if stat.S_ISDIR(status.st_mode) else 'rw'} {name}"


def _in_the_way(path: Path) -> Path:
    for part in (*reversed(path.parents), path):
        # From above: what is below one that cannot be passed cannot even be looked at.
        if os.path.isdir(part) and not _may(part, os.X_OK):
            return part
    if os.path.lexists(path) and not _may(path, os.R_OK | os.W_OK):
        return path
    # To make, move or remove something the directory has to be writable.
    return path.parent if os.path.isdir(path.parent) else path


def _may(path: Path, what: int) -> bool:
    return os.access(path, what, effective_ids=True)
