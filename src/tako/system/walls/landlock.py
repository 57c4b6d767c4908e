"""Landlock: a process restricts itself and all it starts, without privilege (landlock(7)).

In: rights for paths. Out: a domain that can only get narrower. What the kernel's ABI version does
not know is left out, best effort, as the kernel's documentation asks. Constants: linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from contextlib import suppress

from tako.system.libc import check
from tako.values import value

_SYS_CREATE_RULESET, _SYS_ADD_RULE, _SYS_RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
#: All rights of ABI 1: up to the making of symbolic links.
_FIRST = (1 << 13) - 1
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
READ = _EXECUTE | _READ_FILE | _READ_DIR
WRITE = (_FIRST | _REFER | _TRUNCATE) & ~_MAKE_CHAR & ~_MAKE_BLOCK
DEVICE = _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV
_TCP = 0b11
_SCOPES = 0b11
#: The ABI versions that brought these.
ABI_REFER, ABI_TRUNCATE, ABI_TCP, ABI_IOCTL_DEV, ABI_SCOPES = 2, 3, 4, 5, 6

_libc = ctypes.CDLL(None, use_errno=True)


@value
class Allowed:
    """Rights for a path and, if it is a directory, all beneath it."""

    path: str
    rights: int


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("rights", ctypes.c_uint64), ("parent", ctypes.c_int32))


def abi() -> int:
    """The kernel's version of Landlock; 0 where it is absent or switched off."""
    return max(0, int(_call(_SYS_CREATE_RULESET, None, 0, _VERSION)))


def restrict(allowed: Iterable[Allowed], *, network: str = "default") -> None:
    """Forbid the calling process every file that is not allowed; needs `forbid_new_privileges` before.

    Where the kernel can, signals and abstract sockets reach only processes of the same domain, and `network`
    none forbids TCP. Paths that do not exist are passed over. Raises `OSError`.
    """
    version = abi()
    files = _known(version)
    network_rights = _TCP if network == "none" and version >= ABI_TCP else 0
    ruleset = _Ruleset(files, network_rights, _SCOPES if version >= ABI_SCOPES else 0)
    # Older kernels take a longer structure as long as what they do not know is 0.
    descriptor = _call(_SYS_CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0)
    if descriptor < 0:
        check(-1)
    try:
        for one in allowed:
            with suppress(FileNotFoundError, NotADirectoryError):
                _allow(descriptor, one, files)
        check(_call(_SYS_RESTRICT_SELF, descriptor, 0))
    finally:
        os.close(descriptor)


def keep_inside() -> None:
    """Let signals and abstract sockets of this process reach only what it starts, where the kernel can.

    Forbids no files, so that mounts stay possible. Needs `forbid_new_privileges` before. Raises `OSError`.
    """
    if abi() < ABI_SCOPES:
        return
    ruleset = _Ruleset(0, 0, _SCOPES)
    descriptor = _call(_SYS_CREATE_RULESET, ctypes.byref(ruleset), ctypes.sizeof(ruleset), 0)
    if descriptor < 0:
        check(-1)
    try:
        check(_call(_SYS_RESTRICT_SELF, descriptor, 0))
    finally:
        os.close(descriptor)


def _allow(ruleset: int, one: Allowed, known: int) -> None:
    target = os.open(one.path, os.O_PATH | os.O_CLOEXEC)
    try:
        rights = one.rights & known
        if not stat.S_ISDIR(os.fstat(target).st_mode):
            rights &= _OF_FILES
        rule = _PathBeneath(rights, target)
        check(_call(_SYS_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(target)


def _known(version: int) -> int:
    newer = {ABI_REFER: _REFER, ABI_TRUNCATE: _TRUNCATE, ABI_IOCTL_DEV: _IOCTL_DEV}
    return _FIRST | sum(right for since, right in newer.items() if version >= since)


def _call(number: int, *arguments: object) -> int:
    plain = [ctypes.c_long(held) if isinstance(held, int) else held for held in arguments]
    return int(_libc.syscall(ctypes.c_long(number), *plain))
