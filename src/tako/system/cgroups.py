"""Bounds the tasks of a process tree by a control group, where the calling user may make one.

RLIMIT_NPROC does not bind root (setrlimit(2)), so that a fork bomb of root's could use up the machine's pids
before anybody looks. The group is a last wall: whoever watches the tree acts at a lower number. What is not
possible here is left out; a group of a dead process is removed by the next one that makes a group.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from tako.system.identity import start_time_of

_TOP = Path("/sys/fs/cgroup")
_V1 = _TOP / "pids"
_PREFIX = "tako-"
_GONE_WITHIN_S = 1.0


def _parent() -> Path | None:
    """Where groups with a bound on tasks can be made: version 1, else the top of version 2 (cgroups(7))."""
    if (_V1 / "cgroup.procs").exists():
        return _V1
    with suppress(OSError):
        if "pids" in (_TOP / "cgroup.subtree_control").read_text().split():
            return _TOP
    return None


def _group_of(parent: Path, pid: int | str, started: int | str | None) -> Path:
    return parent / f"{_PREFIX}{pid}-{started}"


def members(pid: int, started: int) -> list[int]:
    """The pids in the group that a process has made for its steps; none where there is no such group."""
    parent = _parent()
    if parent is None:
        return []
    try:
        return [int(line) for line in (_group_of(parent, pid, started) / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def remove_stale() -> None:
    """Remove the empty groups of processes that have ended, where there can be any."""
    parent = _parent()
    if parent is not None:
        _remove_stale(parent)


def make_bound(tasks: int) -> Path | None:
    """Make a group that holds at most `tasks`; None where that is not possible."""
    parent = _parent()
    if parent is None or not os.access(parent, os.W_OK):
        return None
    _remove_stale(parent)
    group = _group_of(parent, os.getpid(), start_time_of("self"))
    try:
        group.mkdir(exist_ok=True)
        (group / "pids.max").write_text(str(tasks))
    except OSError:
        return None
    return group


def enter(group: str) -> None:
    """Move the calling process into a group; all it starts is born there. Raises `OSError`."""
    descriptor = os.open(os.path.join(group, "cgroup.procs"), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, b"0")
    finally:
        os.close(descriptor)


def most_tasks(group: Path) -> int:
    """The most tasks that a group held at once (pids.peak); of an older kernel its bound, if that was met."""
    with suppress(OSError, ValueError):
        return int((group / "pids.peak").read_text())
    with suppress(OSError, ValueError):
        name, _, refused = (group / "pids.events").read_text().partition(" ")
        return int((group / "pids.max").read_text()) if name == "max" and int(refused) else 0
    return 0


def remove(group: Path) -> None:
    """Remove a group whose processes have ended; one that stays is removed by a later run."""
    deadline = time.monotonic() + _GONE_WITHIN_S
    while group.exists():
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.001)


def _remove_stale(parent: Path) -> None:
    for group in parent.glob(f"{_PREFIX}*-*"):
        pid, _, started = group.name.removeprefix(_PREFIX).partition("-")
        if pid.isdigit() and str(start_time_of(pid)) != started:
            with suppress(OSError):
                group.rmdir()
