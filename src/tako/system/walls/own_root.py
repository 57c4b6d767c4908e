"""A root directory of a step's own, which holds chosen paths and nothing else.

    paths of the machine ──open_tree(2)──▶ detached copies ──move_mount(2)──▶ a tmpfs ──pivot_root(2)──▶ /

What is not to be written lies on read-only mounts: the kernel refuses every change there with EROFS, mode,
owner, times and attributes included, however a file is named (mount_setattr(2)); devices, sockets and FIFOs
stay usable. For a process that has all capabilities over its user namespace; what it does here only it sees,
and what it starts. Every function raises `OSError`.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from tako.system.libc import check
from tako.values import value

_CLONE_NEWNS = 0x00020000
#: The same numbers on every architecture.
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD, _AT_RECURSIVE, _AT_EMPTY_PATH = -100, 0x8000, 0x1000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_RDONLY = 1
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MNT_DETACH = 2
_PROC = "/proc"
#: Where the new root is built: a directory that every machine has.
_PLACE = _PROC
#: For directories and empty files on the way to what is shown.
_SKELETON = b"mode=755,size=4m,nr_inodes=65536"

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """`struct mount_attr` of linux/mount.h."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    )


@value
class Shown:
    """A path of the machine, with what is mounted below it, and where it is in the new root."""

    source: str
    target: str
    writable: bool = False


def enter_root(
    shown: Sequence[Shown], links: Iterable[tuple[str, str]], directory: str, *, own_processes: bool
) -> None:
    """Leave the calling process nothing but what is `shown`, in order, and `links` as (path, what it names).

    It stands in `directory` then, a path in the new root. `/proc` is there too: with `own_processes` that of
    its own pid namespace, else the machine's. What is to be shown and does not exist is passed over.
    """
    check(_libc.unshare(_CLONE_NEWNS))
    whole = (Shown(_PROC, _PROC), *shown) if not own_processes else shown
    # Copied before the new root lies over one of them.
    trees = list(_trees(whole))
    _mount(b"tmpfs", _PLACE, b"tmpfs", _MS_NOSUID | _MS_NODEV, _SKELETON)
    if own_processes:
        # While another one is to be seen: else the kernel allows none (mount_too_revealing, fs/namespace.c).
        os.mkdir(_PLACE + _PROC)
        _mount(b"proc", _PLACE + _PROC, b"proc", _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    for target, tree in trees:
        _place(tree, _PLACE + target)
    for path, named in links:
        _link(_PLACE + path, named)
    _make_read_only(_AT_FDCWD, os.fsencode(_PLACE), 0)
    _pivot()
    os.chdir(directory)


def _trees(shown: Iterable[Shown]) -> Iterator[tuple[str, int]]:
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    for one in shown:
        with suppress(FileNotFoundError, NotADirectoryError):
            tree = _call(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(one.source), flags)
            if not one.writable:
                _make_read_only(tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE)
            yield one.target, tree


def _make_read_only(directory: int, path: bytes, flags: int) -> None:
    attributes = _Attributes(set=_MOUNT_ATTR_RDONLY)
    size = ctypes.sizeof(attributes)
    _call(_SYS_MOUNT_SETATTR, directory, path, flags, ctypes.byref(attributes), size)


def _place(tree: int, path: str) -> None:
    """Attach a copy, on a directory or a file that is made for it unless something shown has it."""
    if not os.path.lexists(path):
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        if stat.S_ISDIR(os.fstat(tree).st_mode):
            os.mkdir(path, 0o755)
        else:
            Path(path).touch()
    _call(_SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(path), _MOVE_MOUNT_F_EMPTY_PATH)
    os.close(tree)


def _link(path: str, named: str) -> None:
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    with suppress(FileExistsError):
        os.symlink(named, path)


def _pivot() -> None:
    """Exchange the roots, and take the old one away from where it comes to lie: over the new one."""
    os.chdir(_PLACE)
    check(_libc.pivot_root(b".", b"."))
    check(_libc.umount2(b".", _MNT_DETACH))


def _mount(source: bytes, target: str, kind: bytes, flags: int, options: bytes | None = None) -> None:
    check(_libc.mount(source, os.fsencode(target), kind, ctypes.c_ulong(flags), options))


def _call(number: int, *arguments: object) -> int:
    plain = [ctypes.c_long(held) if isinstance(held, int) else held for held in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *plain))
    if result < 0:
        check(result)
    return result
