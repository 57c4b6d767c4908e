"""The few Linux calls that Python does not offer, each raising `OSError` with its errno.

Constants come from linux/prctl.h, linux/falloc.h and asm-generic/fcntl.h; they are the same on
every architecture that CPython supports on Linux.
"""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_FALLOC_FL_KEEP_SIZE = 1

_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = getattr(_libc, "fallocate64", _libc.fallocate)
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def check(result: int) -> None:
    """Raise the `OSError` of a call that did not return 0."""
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def become_subreaper() -> None:
    """Make orphaned descendants children of this process: prctl(2), PR_SET_CHILD_SUBREAPER."""
    check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def forbid_dumps() -> None:
    """Keep other processes of the same user from reading this one's memory: prctl(2), PR_SET_DUMPABLE."""
    check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))


def allow_dumps() -> None:
    """Undo `forbid_dumps`."""
    check(_libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0))


def die_with_parent() -> None:
    """Be killed when the thread that started this process ends: prctl(2), PR_SET_PDEATHSIG."""
    check(_libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0))


def reserve(descriptor: int, offset: int, length: int) -> None:
    """Allocate blocks beyond the end of a file without changing its size: fallocate(2), KEEP_SIZE.

    Raises `OSError` ENOSPC or EDQUOT when there is no room, EOPNOTSUPP where the file system cannot.
    """
    check(_fallocate(descriptor, _FALLOC_FL_KEEP_SIZE, offset, length))


# openat2(2) and its flags, linux/openat2.h; the number is the same on every architecture since 5.6.
_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath_by_kernel(directory: int, relative: str, flags: int, *, links: bool) -> int:
    """Open a path that may not lead out of an open directory, through links or not: openat2(2)."""
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS | (0 if links else _RESOLVE_NO_SYMLINKS)
    how = _OpenHow(flags, 0, resolve)
    descriptor = _libc.syscall(
        ctypes.c_long(_SYS_OPENAT2),
        ctypes.c_int(directory),
        ctypes.c_char_p(os.fsencode(relative)),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if descriptor < 0:
        check(-1)
    return int(descriptor)


def sync_file_system(descriptor: int) -> None:
    """Write everything of the file system that holds an open file to its disk: syncfs(2)."""
    check(_libc.syncfs(descriptor))
