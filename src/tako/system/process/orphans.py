"""Finds and ends processes of runs whose tako is dead: by marks that only they have, and by pidfd.

A step's processes carry their tree's id and their workspace in their environment (proc_pid_environ(5)). Both
must fit: ids alone are the same in a copy of TAKO_HOME, whose runs may live in the original. Where steps
have a control group, what is in that of a worker that has ended is found too. Only this user's processes are
looked at. Before one is signalled, its pidfd is open and what proves it to be one of them is read again.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from tako.system.accounting.cgroups import members
from tako.system.process.descendants import wait_for_exit
from tako.system.process.identity import Identity, boot_id, open_pidfd, send, start_time_of
from tako.values import value

_ID, _WORKSPACE = b"TAKO_ROOT_RUN_ID", b"TAKO_WORKSPACE"
#: How long killed processes may take to be gone.
GONE_WITHIN_S = 10.0


@value
class Remnant:
    """One process of a dead tree with this root directory; `name` is the kernel's (proc_pid_comm(5))."""

    pid: int
    start_time: int
    directory: Path
    name: str
    #: The worker whose control group it was found in.
    group: Identity | None = None


def tree_of(pid: int | str) -> tuple[str, str]:
    """The root run's id and the workspace in the environment that a process was started with, or empty."""
    with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
        words = dict(word.split(b"=", 1) for word in file.read().split(b"\0") if b"=" in word)
        return os.fsdecode(words.get(_ID, b"")), os.fsdecode(words.get(_WORKSPACE, b""))
    return "", ""


def belongs(pid: int | str, run_id: str, directory: Path) -> bool:
    """Return whether a process was started by a step of this very run, whose directory that is.

    At level `namespace` a step knows its workspace under another name; there the kernel ends all with tako.
    """
    told, workspace = tree_of(pid)
    if told != run_id or not workspace:
        return False
    return Path(os.path.realpath(workspace)).is_relative_to(os.path.realpath(directory))


def carrying(runs: Mapping[str, Path]) -> list[Remnant]:
    """This user's processes that were started by steps of these trees, given by id with root directories."""
    return list(_carrying(runs, os.getuid()))


def _carrying(runs: Mapping[str, Path], uid: int) -> Iterator[Remnant]:
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal() or entry.name == str(os.getpid()):
            continue
        with suppress(OSError):
            # The files of a process that forbids dumps are root's: none of tako's own is taken for a step.
            if entry.stat().st_uid != uid:
                continue
            directory = runs.get(tree_of(entry.name)[0])
            if directory is not None:
                yield from _remnant(int(entry.name), directory)


def grouped(identity: Identity, directory: Path) -> list[Remnant]:
    """Return the processes in the control group of a dead worker's steps; none while the worker lives."""
    if identity.boot != boot_id() or lives(identity):
        return []
    pids = members(identity.pid, identity.start_time)
    return [found for pid in pids if (found := _seen(pid, directory, identity)) is not None]


def lives(identity: Identity) -> bool:
    """Return whether exactly this process, of this machine, boot and pid namespace, still runs."""
    pidfd = open_pidfd(identity)
    if pidfd is None:
        return False
    try:
        return not wait_for_exit(pidfd, 0)
    finally:
        os.close(pidfd)


def _remnant(pid: int, directory: Path) -> Iterator[Remnant]:
    found = _seen(pid, directory)
    if found is not None and belongs(pid, directory.name, directory):
        yield found


def _seen(pid: int, directory: Path, group: Identity | None = None) -> Remnant | None:
    started = start_time_of(pid)
    return Remnant(pid, started, directory, _name_of(pid), group) if started is not None else None


def _name_of(pid: int) -> str:
    with suppress(OSError), open(f"/proc/{pid}/comm", errors="replace") as file:
        return file.read().strip()
    return "?"


def end_all(
    find: Callable[[], list[Remnant]], *, timeout_s: float = GONE_WITHIN_S
) -> tuple[list[Remnant], list[Remnant]]:
    """SIGKILL what `find` gives until it gives nothing.

    Returns all that have ended, and what does not end.
    """
    deadline = time.monotonic() + timeout_s
    ended: dict[tuple[int, int], Remnant] = {}
    while found := find():
        for pidfd, remnant in [(_killed(remnant), remnant) for remnant in found]:
            if pidfd is not None:
                if wait_for_exit(pidfd, max(0.0, deadline - time.monotonic())):
                    ended[remnant.pid, remnant.start_time] = remnant
                os.close(pidfd)
        if time.monotonic() > deadline:
            return list(ended.values()), found
    return list(ended.values()), []


def _killed(remnant: Remnant) -> int | None:
    """Kill one and return its pidfd; None if it was gone or is another process by now."""
    try:
        pidfd = os.pidfd_open(remnant.pid)
    except ProcessLookupError:
        return None
    if not _is_still(remnant):
        os.close(pidfd)
        return None
    send(pidfd, signal.SIGKILL)
    return pidfd


def _is_still(remnant: Remnant) -> bool:
    if start_time_of(remnant.pid) != remnant.start_time:
        return False
    if remnant.group is not None:
        return remnant.pid in members(remnant.group.pid, remnant.group.start_time)
    return belongs(remnant.pid, remnant.directory.name, remnant.directory)


def end_process(identity: Identity, *, patience_s: float) -> bool:
    """Wait until exactly this process has ended, and kill it when it takes longer; False if it lives on.

    One that is gone, or whose pid belongs to another process by now, is True.
    """
    pidfd = open_pidfd(identity)
    if pidfd is None:
        return True
    try:
        if wait_for_exit(pidfd, patience_s):
            return True
        send(pidfd, signal.SIGKILL)
        return wait_for_exit(pidfd, GONE_WITHIN_S)
    finally:
        os.close(pidfd)
