"""Measures the processes below the calling one (memory, tasks), and the bytes below directories.

Everything is read from /proc and the file system at one moment, so that a process that ends meanwhile counts
as nothing. Sizes are bytes. Whoever calls this is the subreaper of what it measures (prctl(2)).
"""

from __future__ import annotations

import os
import resource
from collections.abc import Collection, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from tako.values import value

_TICKS = os.sysconf("SC_CLK_TCK")
#: utime, stime, cutime, cstime behind the command name (proc_pid_stat(5)).
_CPU_FIELDS = slice(11, 15)
_PAGE = resource.getpagesize()
_BLOCK = 512
#: What a file takes besides its blocks: 256 bytes on ext4, 512 on XFS.
_INODE = 512
_KIB = 1024
#: One directory for each size of huge pages.
_HUGE = Path("/sys/kernel/mm/hugepages")
_POOLS = ("nr_hugepages", "nr_overcommit_hugepages")
#: What PSS leaves out: shared ones count for each that has them.
_HUGETLB = (b"Private_Hugetlb", b"Shared_Hugetlb")


@value
class Processes:
    """All descendants: pids, tasks (threads count), resident memory with shared pages counted for each."""

    pids: tuple[int, ...]
    tasks: int
    resident: int


def descendants(*, of: int | None = None, most: int = 1 << 20, but_not: Collection[int] = ()) -> list[int]:
    """The pids of all processes below this one, or that with pid `of`, stopping soon after `most`.

    See proc_pid_task(5).

    Those in `but_not` are left out, and what is below them is not.
    """
    found: list[int] = []
    waiting = [os.getpid() if of is None else of]
    while waiting and len(found) <= most:
        below = _children(waiting.pop())
        found += [pid for pid in below if pid not in but_not]
        waiting += below
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def processes(*, most: int = 1 << 20, but_not: Collection[int] = ()) -> Processes:
    """Return the processes below this one, except those in `but_not`."""
    pids = descendants(most=most, but_not=but_not)
    tasks = resident = 0
    for pid in pids:
        with suppress(OSError, IndexError):
            with open(f"/proc/{pid}/statm", "rb") as file:
                resident += int(file.read().split()[1]) * _PAGE
            if _has_huge_pages():
                resident += huge(Path(f"/proc/{pid}/status").read_bytes())
            tasks += os.stat(f"/proc/{pid}/task").st_nlink - 2
    return Processes(tuple(pids), tasks, resident)


@cache
def _has_huge_pages() -> bool:
    """Return whether the machine has reserved huge pages, which no other count sees (hugetlbpage)."""
    with suppress(OSError, ValueError):
        return any(_number(f"{_HUGE}/{size}/{name}") for size in os.listdir(_HUGE) for name in _POOLS)
    return False


def _number(path: str) -> int:
    with open(path, "rb", buffering=0) as file:
        return int(file.read())


def huge(status: bytes) -> int:
    """Bytes of huge pages, from a process's status; resident sizes leave them out (proc_pid_status(5))."""
    _, _, found = status.partition(b"\nHugetlbPages:")
    return int(found.split()[0]) * _KIB if found else 0


def proportional(pids: Iterable[int]) -> tuple[int, int]:
    """Memory of processes with shared pages divided among them, and how much of it is shared memory.

    PSS of smaps_rollup (proc_pid_smaps(5)); a process that may not be read counts with its resident size.
    """
    whole = shared = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
                lines = dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)
            whole += int(lines[b"Pss"].split()[0]) * _KIB
            shared += int(lines.get(b"Pss_Shmem", b"0").split()[0]) * _KIB
            whole += sum(int(lines.get(name, b"0").split()[0]) for name in _HUGETLB) * _KIB
        except (OSError, KeyError, ValueError):
            with suppress(OSError, IndexError), open(f"/proc/{pid}/statm", "rb") as file:
                whole += int(file.read().split()[1]) * _PAGE
    return whole, shared


def used_on(mount: Path) -> int:
    """How much of a file system is used: statvfs(3)."""
    held = os.statvfs(mount)
    return (held.f_blocks - held.f_bfree) * held.f_frsize


def filled(mount: Path) -> int:
    """How much of a file system is used, never less than what lies there by `disk_use`."""
    held = os.statvfs(mount)
    return (held.f_blocks - held.f_bfree) * held.f_frsize + (held.f_files - held.f_ffree) * _INODE


def disk_size(place: Path) -> int:
    """The size of a file system: statvfs(3)."""
    found = os.statvfs(place)
    return found.f_blocks * found.f_frsize


def free_on_disk(place: Path) -> int:
    """Return the bytes that an ordinary user may still write to a file system: statvfs(3)."""
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def size_on_disk(status: os.stat_result) -> int:
    """Return the size of a file: its blocks, and a minimum for the file itself (stat(2))."""
    return status.st_blocks * _BLOCK + _INODE


def disk_use(directories: Iterable[Path]) -> int:
    """Blocks below directories: hard links once, no link followed, other file systems left out.

    An empty file counts too: a file system has so many inodes and no more. A directory that may not be read
    counts as empty: its owner, who closed it, cannot fill it either.
    """
    total = 0
    seen: set[int] = set()
    for top in directories:
        with suppress(OSError):
            device = os.lstat(top).st_dev
            total += _below(str(top), device, seen)
    return total


def _below(top: str, device: int, seen: set[int]) -> int:
    total = 0
    waiting = [top]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    held = entry.stat(follow_symlinks=False)
                    if held.st_dev != device or (held.st_nlink > 1 and held.st_ino in seen):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif held.st_nlink > 1:
                        seen.add(held.st_ino)
                    total += size_on_disk(held)
    return total


def total_memory() -> int:
    """The machine's memory (proc_meminfo(5))."""
    return os.sysconf("SC_PHYS_PAGES") * _PAGE


def oom_kills() -> int:
    """How many processes of the whole machine the kernel has killed for memory since its start."""
    with suppress(OSError), open("/proc/vmstat", "rb", buffering=0) as file:
        _, _, found = file.read().partition(b"\noom_kill ")
        return int(found.split(None, 1)[0]) if found else 0
    return 0


def children_cpu_s() -> float:
    """CPU seconds of all collected descendants (getrusage(2))."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
