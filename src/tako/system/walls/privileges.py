"""Gives up privileges of the calling process, for good: each raises `OSError`.

Meant for a forked process that is about to execute something; constants from linux/prctl.h and
linux/capability.h.
"""

from __future__ import annotations

import ctypes
import errno

from tako.system.libc import check

_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAPABILITIES_MAX = 64
_INSTRUCTION_SIZE = 8

_libc = ctypes.CDLL(None, use_errno=True)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def _prctl(*arguments: int) -> None:
    check(_libc.prctl(*(ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:5])))


def forbid_new_privileges() -> None:
    """Let no set-user-id program or file capability raise privileges again: PR_SET_NO_NEW_PRIVS."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Return up all capabilities, also those that executing a program as root would bring back.

    Where the bounding set may not be lowered, `forbid_new_privileges` keeps them from coming back
    (capabilities(7)).
    """
    for capability in range(_CAPABILITIES_MAX):
        try:
            _prctl(_PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EPERM):
                break
            raise
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    none = (ctypes.c_uint32 * 6)()
    check(_libc.capset(ctypes.byref(_CapabilityHeader(_CAPABILITY_VERSION_3, 0)), none))


def filter_calls(program: bytes) -> None:
    """Have the kernel ask `program`, an array of `struct sock_filter`, for every system call (seccomp(2))."""
    filters = _Program(len(program) // _INSTRUCTION_SIZE, program)
    check(_libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(filters), 0, 0))
