"""Memory that the kernel holds for processes and that none of their sizes shows, as far as it can be asked.

In: pids. Out: bytes. Page tables are in /proc; files in memory (memfd) report their blocks; a pipe that is
opened by way of /proc reports its capacity; for sockets the kernel answers by sock_diag(7), for the network
namespace of the calling process. A socket of another one counts with what it may hold at first.
"""

from __future__ import annotations

import array
import fcntl
import os
import random
import socket
import stat
import struct
import termios
from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import cache

_KIB, _BLOCK = 1024, 512
#: Fewer pipes and sockets together hold little; then nobody is asked.
_FEW = 64
#: Descriptors looked at in one go; of more, others each time.
_MOST = 20_000
_WMEM_DEFAULT = "/proc/sys/net/core/wmem_default"
_WMEM_USUAL = 212_992

# linux/netlink.h, linux/sock_diag.h, linux/unix_diag.h, linux/inet_diag.h.
_NETLINK_SOCK_DIAG, _BY_FAMILY, _DUMP, _DONE, _ERROR = 4, 20, 0x301, 3, 2
_HEADER = struct.Struct("=IHHII")
_UNIX_SHOW_MEMINFO, _UNIX_MEMINFO = 0x20, 5
_INET_SHOW_SKMEMINFO, _INET_SKMEMINFO = 1 << 6, 7
_UNIX_SIZE, _INET_SIZE, _INET_INODE = 16, 72, 68
#: Of SK_MEMINFO_*: received, being sent, set aside, queued to be sent.
_RECEIVED, _SENT, _SET_ASIDE, _QUEUED = 0, 2, 4, 5
_WITHIN_S = 1.0


def page_tables(pids: Collection[int]) -> int:
    """Bytes of page tables (VmPTE of proc_pid_status(5))."""
    whole = 0
    for pid in pids:
        with suppress(OSError), open(f"/proc/{pid}/status", "rb") as file:
            _, _, found = file.read().partition(b"\nVmPTE:")
            whole += int(found.split(None, 1)[0]) * _KIB if found else 0
    return whole


def buffers(pids: Collection[int]) -> tuple[int, int]:
    """Bytes in pipes and sockets that the processes have open, and in files in memory (memfd_create(2))."""
    files: dict[int, int] = {}
    pipes: dict[tuple[int, int], str] = {}
    sockets: set[int] = set()
    for path in _descriptors(pids):
        with suppress(OSError):
            held = os.stat(path)
            if stat.S_ISREG(held.st_mode) and held.st_dev == _memory_device():
                files[held.st_ino] = held.st_blocks * _BLOCK
            elif stat.S_ISFIFO(held.st_mode):
                pipes[held.st_dev, held.st_ino] = path
            elif stat.S_ISSOCK(held.st_mode):
                sockets.add(held.st_ino)
    if len(pipes) + len(sockets) <= _FEW:
        return 0, sum(files.values())
    known = in_sockets()
    unknown = _first_buffer()
    whole = sum(map(_in_pipe, pipes.values())) + sum(known.get(inode, unknown) for inode in sockets)
    return whole, sum(files.values())


def _descriptors(pids: Collection[int]) -> Iterator[str]:
    left = _MOST
    for pid in random.sample(list(pids), len(pids)):
        with suppress(OSError):
            names = os.listdir(f"/proc/{pid}/fd")
            names = random.sample(names, left) if len(names) > left else names
            left -= len(names)
            yield from (f"/proc/{pid}/fd/{name}" for name in names)


@cache
def _memory_device() -> int:
    descriptor = os.memfd_create("device")
    try:
        return os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)


def _in_pipe(path: str) -> int:
    """The capacity of a pipe that is not empty: each of its pages may hold one byte (pipe(7))."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        there = array.array("i", [0])
        fcntl.ioctl(descriptor, termios.FIONREAD, there)
        return fcntl.fcntl(descriptor, fcntl.F_GETPIPE_SZ) if there[0] else 0
    except OSError:
        return 0
    finally:
        os.close(descriptor)


@cache
def _first_buffer() -> int:
    with suppress(OSError, ValueError), open(_WMEM_DEFAULT) as file:
        return int(file.read())
    return _WMEM_USUAL


def in_sockets() -> dict[int, int]:
    """Bytes that each socket of this network namespace holds, by inode; empty where nobody may ask."""
    found: dict[int, int] = {}
    with suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asked:
        asked.settimeout(_WITHIN_S)
        request = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, _UNIX_SHOW_MEMINFO, 0, 0)
        for body in _answers(asked, request):
            (inode,) = struct.unpack_from("=I", body, 4)
            found[inode] = _held(body[_UNIX_SIZE:], _UNIX_MEMINFO)
        for family in (socket.AF_INET, socket.AF_INET6):
            for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
                head = struct.pack("=BBBBI", family, protocol, _INET_SHOW_SKMEMINFO, 0, 0xFFFFFFFF)
                for body in _answers(asked, head + bytes(48)):
                    (inode,) = struct.unpack_from("=I", body, _INET_INODE)
                    found[inode] = _held(body[_INET_SIZE:], _INET_SKMEMINFO)
    return found


def _answers(asked: socket.socket, request: bytes) -> Iterator[bytes]:
    asked.send(_HEADER.pack(_HEADER.size + len(request), _BY_FAMILY, _DUMP, 0, 0) + request)
    while True:
        data = asked.recv(1 << 16)
        while len(data) >= _HEADER.size:
            length, kind, *_ = _HEADER.unpack_from(data)
            if kind in (_DONE, _ERROR):
                return
            yield data[_HEADER.size : length]
            data = data[(length + 3) & ~3 :]


def _held(attributes: bytes, wanted: int) -> int:
    while len(attributes) >= 4:
        length, kind = struct.unpack_from("=HH", attributes)
        if kind == wanted:
            numbers = struct.unpack(f"={(length - 4) // 4}I", attributes[4:length])
            sent = max(numbers[_SENT], numbers[_QUEUED])
            return int(numbers[_RECEIVED] + sent + numbers[_SET_ASIDE])
        attributes = attributes[max(4, (length + 3) & ~3) :]
    return 0
