"""Bounds tasks and memory of a process tree by control groups, counts its CPU time, where that is possible.

RLIMIT_NPROC does not bind root (setrlimit(2)), so that a fork bomb of root's could use up the machine's pids
before anybody looks; and memory is taken faster than anybody looks. What is in a group stays under the bound
on memory that the calling process itself is under: with version 1 the group is made below the own one; with
version 2, where a group with processes can have none below it (cgroups(7)), beside an own group without a
bound. What is not possible here is left out; a group of a dead process is removed by the next one that makes
a group, and by the reaper.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from tako.system.process.identity import start_time_of
from tako.values import value

_TOP = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_CONTROLLERS = ("pids", "memory", "cpuacct")
_PREFIX = "tako-"
_PID_NAMESPACE = "/proc/self/ns/pid"
_GONE_WITHIN_S = 1.0
_NS, _US = 1e-9, 1e-6


@value
class Groups:
    """The group that bounds each resource, and the one that counts CPU time; empty for none.

    They may be one and the same.
    """

    pids: str = ""
    memory: str = ""
    cpu: str = ""

    @property
    def directories(self) -> tuple[str, ...]:
        """All of them."""
        return tuple({group: None for group in (self.pids, self.memory, self.cpu) if group})


NO_GROUPS = Groups()


def make_groups(tasks: int | None, memory: int | None, *, cpu: bool = False) -> Groups:
    """Make groups that hold at most so many tasks and bytes; None is unbounded, and makes none.

    With `cpu` there is one that counts CPU time.
    """
    parents = _parents()
    _remove_stale(parents.values())
    bounds = {"pids": tasks, "memory": memory}
    made = {
        name: group
        for name, parent in parents.items()
        if (bound := bounds.get(name)) is not None and (group := _made(parent, name, bound))
    }
    if cpu:
        # With version 2 a process is in one group: to enter another would leave the bounds.
        counting = next(filter(_counts_cpu, made.values()), "")
        made["cpu"] = counting or ("cpuacct" in parents and _made(parents["cpuacct"], "cpuacct", 0)) or ""
    return Groups(**made)


def members(pid: int, started: int) -> list[int]:
    """The pids in the group that a process has made for its steps; none where there is no such group."""
    parent = _parent("pids")
    if parent is None:
        return []
    try:
        return [int(line) for line in (_group_of(parent, pid, started) / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def remove_stale() -> None:
    """Remove the empty groups of processes that have ended, where there can be any."""
    _remove_stale(_parents().values())


def enter(group: str) -> None:
    """Move the calling process, which has one thread, into a group; all it starts is born there.

    Raises `OSError`. By way of `cgroup.procs` it waits for all CPUs, 13 ms; `tasks` of version 1 moves one
    thread, in 0.1 ms.
    """
    names = ("tasks", "cgroup.procs")
    path = next(path for name in names if os.path.exists(path := os.path.join(group, name)))
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, b"0")
    finally:
        os.close(descriptor)


def most_tasks(groups: Groups) -> int:
    """The most tasks that there were at once (pids.peak); of an older kernel the bound, if that was met."""
    if not groups.pids:
        return 0
    peak = _number(groups.pids, "pids.peak")
    if peak is None and _counted(groups.pids, "pids.events", "max"):
        peak = _number(groups.pids, "pids.max")
    return peak or 0


def memory_kills(groups: Groups) -> int:
    """How many processes the kernel killed because of the bound on memory."""
    if not groups.memory:
        return 0
    return _counted(groups.memory, "memory.events", "oom_kill") or _counted(
        groups.memory, "memory.oom_control", "oom_kill"
    )


def cpu_s(groups: Groups) -> float | None:
    """CPU seconds of all processes that were ever in the group; None if nothing counts them."""
    if not groups.cpu:
        return None
    nanoseconds = _number(groups.cpu, "cpuacct.usage")
    if nanoseconds is not None:
        return nanoseconds * _NS
    return _counted(groups.cpu, "cpu.stat", "usage_usec") * _US


def _counts_cpu(group: str) -> bool:
    return _counted(group, "cpu.stat", "usage_usec", missing=-1) >= 0


def remove(groups: Groups) -> None:
    """Remove groups whose processes have ended; one that stays is removed by a later run."""
    deadline = time.monotonic() + _GONE_WITHIN_S
    for group in groups.directories:
        while not _removed(group) and time.monotonic() < deadline:
            time.sleep(0.001)


def _group_of(parent: Path, pid: int, started: int | None) -> Path:
    return parent / f"{_prefix()}{pid}-{started}"


def _prefix() -> str:
    """With the pid namespace: containers may see each other's groups, and no process of each other."""
    return f"{_PREFIX}{os.stat(_PID_NAMESPACE).st_ino}-"


def _parents() -> dict[str, Path]:
    return {name: parent for name in _CONTROLLERS if (parent := _parent(name)) is not None}


def _parent(controller: str, top: Path = _TOP, own: Path = _OWN) -> Path | None:
    """Where groups with a bound on this can be made; None for nowhere."""
    for line in own.read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller == "pids" and controller in names.split(","):
            # Where the reaper finds it, whatever group that is started in; the wall itself is a bound.
            parent: Path | None = top / controller
        elif controller in names.split(","):
            # Only a part of the hierarchy may be mounted, as in a container: then what is seen is its own.
            below = top / controller / path.lstrip("/")
            parent = below if below.is_dir() else top / controller
        elif not names and controller == "cpuacct":
            # Version 2 counts it for each group, whatever controllers are on.
            parent = top / path.lstrip("/")
        elif not names:
            parent = _beside(controller, top, path.lstrip("/"))
        else:
            continue
        if parent is not None and os.access(parent / "cgroup.procs", os.W_OK):
            return parent
    return None


def _beside(controller: str, top: Path, path: str) -> Path | None:
    """Version 2: the directory of the own group, if its controller is on and the own group has no bound."""
    with suppress(OSError):
        if path and (top / path / f"{controller}.max").read_text().strip() != "max":
            return None
        parent = (top / path).parent if path else top
        if controller in (parent / "cgroup.subtree_control").read_text().split():
            return parent
    return None


def _made(parent: Path, controller: str, bound: int) -> str:
    group = _group_of(parent, os.getpid(), start_time_of("self"))
    try:
        group.mkdir(exist_ok=True)
        for name, value, needed in _bounds(group, controller, bound):
            with suppress(*(() if needed else (OSError,))):
                (group / name).write_text(str(value))
        _check_kind(group)
    except OSError:
        _removed(str(group))
        return ""
    return str(group)


def _check_kind(group: Path) -> None:
    """Raise `OSError` for a group of version 2 that processes cannot enter (cgroups(7), thread mode)."""
    with suppress(FileNotFoundError):
        if (group / "cgroup.type").read_text().strip() != "domain":
            raise OSError(errno.EOPNOTSUPP, "not a domain")


def _bounds(group: Path, controller: str, bound: int) -> Iterator[tuple[str, int, bool]]:
    """Yield the text for each file, in order, and whether writing must succeed; swap may not be counted."""
    if controller == "pids":
        yield "pids.max", bound, True
    elif controller == "cpuacct":
        return
    elif (group / "memory.limit_in_bytes").exists():
        yield "memory.limit_in_bytes", bound, True
        yield "memory.memsw.limit_in_bytes", bound, False
    else:
        yield "memory.max", bound, True
        yield "memory.swap.max", 0, False
        yield "memory.oom.group", 1, False


def _number(group: str, name: str) -> int | None:
    with suppress(OSError, ValueError), open(os.path.join(group, name)) as file:
        return int(file.read())
    return None


def _counted(group: str, name: str, word: str, *, missing: int = 0) -> int:
    """The number behind a word in a file of such lines."""
    with suppress(OSError), open(os.path.join(group, name)) as file:
        for line in file:
            found, _, value = line.partition(" ")
            if found == word:
                return int(value)
    return missing


def _removed(group: str) -> bool:
    """Try to remove a group with those below it, which a tako that was killed in it has left."""
    for directory, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            os.rmdir(directory)
    return not os.path.exists(group)


def _remove_stale(parents: Iterable[Path]) -> None:
    prefix = _prefix()
    for parent in set(parents):
        for name in os.listdir(parent):
            pid, _, started = name.removeprefix(prefix).partition("-")
            if name.startswith(prefix) and pid.isdigit() and str(start_time_of(pid)) != started:
                _removed(str(parent / name))
