"""A view of the file system in which nothing can be changed but what lies below chosen paths.

The kernel refuses every change of a file on a read-only mount with EROFS, mode, owner, times and attributes
included, however the file is named (mount_setattr(2)); devices, sockets and FIFOs stay usable. For a process
that has all capabilities over its user namespace, which keeps it to that process and what it starts.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from contextlib import suppress

from tako.system.libc import check

_CLONE_NEWNS = 0x00020000
#: The same numbers on every architecture.
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_RDONLY = 1
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_BIND = 4096

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """`struct mount_attr` of linux/mount.h."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    )


def hold_read_only(writable: Iterable[str]) -> None:
    """Give the calling process mounts of its own, read-only but for these paths with what is mounted there.

    Paths that do not exist are passed over; the working directory is entered anew. Raises `OSError`.
    """
    directory = os.getcwd()
    check(_libc.unshare(_CLONE_NEWNS))
    # What is copied before stays writable, and is laid over itself after.
    trees = list(_trees(writable))
    attributes = _Attributes(set=_MOUNT_ATTR_RDONLY)
    size = ctypes.sizeof(attributes)
    _call(_SYS_MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, ctypes.byref(attributes), size)
    for path, tree in trees:
        _call(_SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, path, _MOVE_MOUNT_F_EMPTY_PATH)
        os.close(tree)
    os.chdir(directory)


def show_own_processes(proc: str, nothing: str, covered: Iterable[str]) -> None:
    """Mount the files of the calling process's own pid namespace over those of others (proc(5)).

    The device `nothing` is laid over each of the files in `covered`. Raises `OSError`.
    """
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    _mount(b"proc", proc, b"proc", flags)
    for path in covered:
        _mount(os.fsencode(nothing), path, None, _MS_BIND)


def _mount(source: bytes, target: str, kind: bytes | None, flags: int) -> None:
    check(_libc.mount(source, os.fsencode(target), kind, ctypes.c_ulong(flags), None))


def _trees(paths: Iterable[str]) -> Iterable[tuple[bytes, int]]:
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    for path in paths:
        name = os.fsencode(path)
        with suppress(FileNotFoundError, NotADirectoryError):
            yield name, _call(_SYS_OPEN_TREE, _AT_FDCWD, name, flags)


def _call(number: int, *arguments: object) -> int:
    plain = [ctypes.c_long(held) if isinstance(held, int) else held for held in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *plain))
    if result < 0:
        check(result)
    return result
