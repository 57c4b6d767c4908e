"""The system calls that no step may make, as a program for the kernel's filter (seccomp(2)).

Out: the bytes of an array of `struct sock_filter` (linux/filter.h). Denied are those that reach a terminal's
input (TIOCSTI, TIOCLINUX), kernel keyrings, io_uring, leases on files of others, and new user namespaces,
which open parts of the kernel that an ordinary user does not reach otherwise. clone3(2) hides its flags from
a filter: it does not exist here, and the C libraries fall back to clone(2). Numbers are those of the kernel's
tables.

A step that shares its pid namespace with others may also not change limits, priority, scheduling and CPUs of
a process that it names by number, nor the flags of a file, which it may be allowed to read only. A filter
sees numbers and no paths, and cannot know which numbers are the step's own: these are refused too.
"""

from __future__ import annotations

import errno
import os
import struct
from functools import cache

from tako.sandbox.started import SandboxFailedError
from tako.values import value

_LOAD, _JUMP, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND, _THIRD, _THIRD_HIGH = 0, 4, 16, 24, 32, 36
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
#: fcntl(2): F_SETLEASE keeps others from opening a file for writing, F_NOTIFY watches a directory, F_SETDELEG
#: keeps others from changing one (Linux 6.19).
_ON_FILES_OF_OTHERS = (1024, 1026, 1040)
#: FS_IOC_SETFLAGS, FS_IOC_SETVERSION, each with a long and an int, and FS_IOC_FSSETXATTR (linux/fs.h).
_SET_FLAGS = (0x40086602, 0x40046602, 0x40087602, 0x40047602, 0x401C5820)
#: The first `which` that is neither one process nor a group: setpriority(2), ioprio_set(2).
_PRIO_USER, _IOPRIO_WHO_USER = 2, 3
_CLONE_NEWUSER = 0x10000000
_X32 = 0x40000000
#: What does not leave the machine: local, netlink. With a network of one's own, IPv4 and IPv6 do not either.
_LOCAL, _LOCAL_IN_OWN_NETWORK = (1, 16), (1, 16, 2, 10)
_IO_URING = (425, 426, 427)
_CLONE3 = 435
#: It sets by a path what FS_IOC_FSSETXATTR sets (Linux 6.17).
_FILE_SETATTR = 469

Instruction = tuple[int, int, int, int]


@value
class Abi:
    """One calling convention: its AUDIT_ARCH (linux/audit.h) and numbers of system calls."""

    audit: int
    ioctl: int
    clone: int
    unshare: int
    keys: tuple[int, int, int]
    socket: int
    fcntl: tuple[int, ...]
    prlimit: int
    setpriority: int
    ioprio_set: int
    #: sched_setscheduler, sched_setparam, sched_setattr, sched_setaffinity: each names a process first.
    scheduling: tuple[int, int, int, int]
    socketcall: int | None = None
    x32: bool = False


_I386 = Abi(
    0x40000003, 54, 120, 310, (286, 287, 288), 359, (55, 221), 340, 97, 289, (156, 154, 351, 241),
    socketcall=102,
)  # fmt: skip
_ARM = Abi(
    0x40000028, 54, 120, 337, (309, 310, 311), 281, (55, 221), 369, 97, 314, (156, 154, 380, 241)
)  # fmt: skip
_X86_64 = Abi(
    0xC000003E, 16, 56, 272, (248, 249, 250), 41, (72,), 302, 141, 251, (144, 142, 314, 203), x32=True
)  # fmt: skip
_AARCH64 = Abi(
    0xC00000B7, 29, 220, 97, (217, 218, 219), 198, (25,), 261, 140, 30, (119, 118, 274, 122)
)  # fmt: skip
#: The ABIs that a machine runs, by what uname(2) calls it.
ABIS = {"x86_64": (_X86_64, _I386), "aarch64": (_AARCH64, _ARM)}


def program(
    *,
    network: str = "default",
    own_network: bool = False,
    among_others: bool = False,
    pinned: bool = False,
) -> bytes:
    """The filter for this machine; `network` none leaves only sockets that do not leave it.

    `own_network`: the step has a network namespace, of which a socket to the host of a virtual machine
    (vsock(7)) and others of rare families know nothing.
    `among_others`: the step can name processes and files that are not its own. `pinned`: it declared how many
    CPUs it needs, and may not give itself others.
    Raises `SandboxFailedError` on an architecture whose numbers are not known here.
    """
    families = (_LOCAL_IN_OWN_NETWORK if own_network else _LOCAL) if network == "none" else ()
    return _program(os.uname().machine, families, among_others=among_others, pinned=pinned)


@cache
def _program(machine: str, families: tuple[int, ...], *, among_others: bool, pinned: bool) -> bytes:
    if machine not in ABIS:
        message = f"no filter of system calls is known for {machine}"
        raise SandboxFailedError(message, hint="`--isolation process` does without")
    instructions = []
    for abi in ABIS[machine]:
        rules = _rules(abi, families) + (_rules_among_others(abi) if among_others else [])
        rules += [_denied(abi.scheduling[-1], errno.EPERM)] if pinned else []
        instructions += _block(abi, rules)
    # A call of any other ABI.
    instructions.append(_fail(errno.ENOSYS))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _block(abi: Abi, rules: list[list[Instruction]]) -> list[Instruction]:
    """Skipped as a whole unless the call comes by this ABI."""
    body = [instruction for rule in rules for instruction in rule]
    if abi.x32:
        body = [(_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, _X32), _fail(errno.ENOSYS), *body]
    body.append((_RETURN, 0, 0, _ALLOW))
    # A conditional jump reaches 255 instructions far, an unconditional one all.
    skip = [(_EQUAL, 1, 0, abi.audit), (_JUMP, 0, 0, len(body))]
    return [(_LOAD, 0, 0, _ARCHITECTURE), *skip, *body]


def _rules(abi: Abi, families: tuple[int, ...]) -> list[list[Instruction]]:
    rules = [
        _denied(abi.ioctl, errno.EPERM, (_LOAD, 0, 0, _SECOND), (_EQUAL, 0, 1, _TIOCSTI)),
        _denied(abi.ioctl, errno.EPERM, (_LOAD, 0, 0, _SECOND), (_EQUAL, 0, 1, _TIOCLINUX)),
        _denied(abi.clone, errno.EPERM, (_LOAD, 0, 0, _FIRST), (_ANY_BIT, 0, 1, _CLONE_NEWUSER)),
        _denied(abi.unshare, errno.EPERM, (_LOAD, 0, 0, _FIRST), (_ANY_BIT, 0, 1, _CLONE_NEWUSER)),
        _denied(_CLONE3, errno.ENOSYS),
        *(_denied(number, errno.EPERM) for number in abi.keys),
        *(_denied(number, errno.ENOSYS) for number in _IO_URING),
        *(_denied(number, errno.EPERM, *_second_is(_ON_FILES_OF_OTHERS)) for number in abi.fcntl),
    ]
    if families:
        local = [(_EQUAL, len(families) - place, 0, family) for place, family in enumerate(families)]
        rules.append(_denied(abi.socket, errno.EACCES, (_LOAD, 0, 0, _FIRST), *local))
        if abi.socketcall is not None:
            # Its arguments lie in memory, where a filter cannot look.
            rules.append(_denied(abi.socketcall, errno.EACCES))
    return rules


def _rules_among_others(abi: Abi) -> list[list[Instruction]]:
    own = (_EQUAL, 1, 0, 0)
    # Who only asks for limits gives no new ones; a pointer has two halves.
    reads = ((_LOAD, 0, 0, _THIRD), (_EQUAL, 0, 2, 0), (_LOAD, 0, 0, _THIRD_HIGH), own)
    return [
        _denied(abi.ioctl, errno.EPERM, *_second_is(_SET_FLAGS)),
        _denied(_FILE_SETATTR, errno.ENOSYS),
        _denied(abi.prlimit, errno.EPERM, (_LOAD, 0, 0, _FIRST), (_EQUAL, len(reads) + 1, 0, 0), *reads),
        *(_denied(number, errno.EPERM, (_LOAD, 0, 0, _FIRST), own) for number in abi.scheduling),
        _denied(abi.setpriority, errno.EPERM, *_unless_own(_PRIO_USER)),
        _denied(abi.ioprio_set, errno.EPERM, *_unless_own(_IOPRIO_WHO_USER)),
    ]


def _unless_own(user: int) -> list[Instruction]:
    """The condition of calls with `which` and `who`, where 0 is the calling process or its group."""
    return [(_LOAD, 0, 0, _FIRST), (_AT_LEAST, 2, 0, user), (_LOAD, 0, 0, _SECOND), (_EQUAL, 1, 0, 0)]


def _second_is(values: tuple[int, ...]) -> list[Instruction]:
    """The condition that the second argument is one of these."""
    last = len(values) - 1
    matches = [(_EQUAL, last - place, int(place == last), value) for place, value in enumerate(values)]
    return [(_LOAD, 0, 0, _SECOND), *matches]


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
