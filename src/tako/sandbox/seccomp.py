"""The system calls that no step may make, as a program for the kernel's filter (seccomp(2)).

Out: the bytes of an array of `struct sock_filter` (linux/filter.h). Denied are those that reach a terminal's
input (TIOCSTI, TIOCLINUX), kernel keyrings, io_uring, and new user namespaces, which open parts of the
kernel that an ordinary user does not reach otherwise. clone3(2) hides its flags from a filter: it does
not exist here, and the C libraries fall back to clone(2). Numbers are those of the kernel's tables.
"""

from __future__ import annotations

import errno
import platform
import struct

from attrs import frozen

from tako.sandbox.started import SandboxFailedError
from tako.values import FrozenValue

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_CLONE_NEWUSER = 0x10000000
_X32 = 0x40000000
_AF_UNIX, _AF_NETLINK = 1, 16
_IO_URING = (425, 426, 427)
_CLONE3 = 435

Instruction = tuple[int, int, int, int]


@frozen(eq=False, repr=False)
class Abi(FrozenValue):
    """One calling convention: its AUDIT_ARCH (linux/audit.h) and numbers of system calls."""

    audit: int
    ioctl: int
    clone: int
    unshare: int
    keys: tuple[int, int, int]
    socket: int
    socketcall: int | None = None
    x32: bool = False


_I386 = Abi(0x40000003, 54, 120, 310, (286, 287, 288), 359, socketcall=102)
_ARM = Abi(0x40000028, 54, 120, 337, (309, 310, 311), 281)
#: The ABIs that a machine runs, by what uname(2) calls it.
ABIS = {
    "x86_64": (Abi(0xC000003E, 16, 56, 272, (248, 249, 250), 41, x32=True), _I386),
    "aarch64": (Abi(0xC00000B7, 29, 220, 97, (217, 218, 219), 198), _ARM),
}


def program(*, network: str = "default") -> bytes:
    """The filter for this machine; `network` none leaves only sockets that do not leave it.

    Raises `SandboxFailedError` on an architecture whose numbers are not known here.
    """
    machine = platform.machine()
    if machine not in ABIS:
        message = f"no filter of system calls is known for {machine}"
        raise SandboxFailedError(message, hint="`--isolation process` does without")
    instructions = [instruction for abi in ABIS[machine] for instruction in _block(abi, network)]
    # A call of any other ABI.
    instructions.append(_fail(errno.ENOSYS))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _block(abi: Abi, network: str) -> list[Instruction]:
    """Skipped as a whole unless the call comes by this ABI."""
    rules = [instruction for rule in _rules(abi, network) for instruction in rule]
    if abi.x32:
        rules = [(_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, _X32), _fail(errno.ENOSYS), *rules]
    body = [*rules, (_RETURN, 0, 0, _ALLOW)]
    return [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 0, len(body), abi.audit), *body]


def _rules(abi: Abi, network: str) -> list[list[Instruction]]:
    rules = [
        _denied(abi.ioctl, errno.EPERM, (_LOAD, 0, 0, _SECOND), (_EQUAL, 0, 1, _TIOCSTI)),
        _denied(abi.ioctl, errno.EPERM, (_LOAD, 0, 0, _SECOND), (_EQUAL, 0, 1, _TIOCLINUX)),
        _denied(abi.clone, errno.EPERM, (_LOAD, 0, 0, _FIRST), (_ANY_BIT, 0, 1, _CLONE_NEWUSER)),
        _denied(abi.unshare, errno.EPERM, (_LOAD, 0, 0, _FIRST), (_ANY_BIT, 0, 1, _CLONE_NEWUSER)),
        _denied(_CLONE3, errno.ENOSYS),
        *(_denied(number, errno.EPERM) for number in abi.keys),
        *(_denied(number, errno.ENOSYS) for number in _IO_URING),
    ]
    if network == "none":
        local = [(_LOAD, 0, 0, _FIRST), (_EQUAL, 2, 0, _AF_UNIX), (_EQUAL, 1, 0, _AF_NETLINK)]
        rules.append(_denied(abi.socket, errno.EACCES, *local))
        if abi.socketcall is not None:
            # Its arguments lie in memory, where a filter cannot look.
            rules.append(_denied(abi.socketcall, errno.EACCES))
    return rules


def _denied(number: int, error: int, *unless: Instruction) -> list[Instruction]:
    """Fail the call `number` with `error`; the last of `unless` jumps over that where it is allowed."""
    condition = list(unless)
    return [
        (_LOAD, 0, 0, _NUMBER),
        (_EQUAL, 0, len(condition) + 1, number),
        *condition,
        _fail(error),
    ]


def _fail(error: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | error)
