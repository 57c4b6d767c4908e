"""The identity of a process: machine, boot, pid namespace, pid and start time, never the pid alone.

A pid is used again after its process ended (pid_max is 32,768 on many machines), so that a
signal may only go to a process whose start time is still the recorded one, through a pidfd.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from functools import cache
from pathlib import Path

from tako.values import value

_MACHINE_ID = Path("/etc/machine-id")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = "/proc/self/ns/pid"
_START_TIME_FIELD = 19


@value
class Identity:
    """One process; `start_time` is in clock ticks since boot (proc_pid_stat(5), field 22)."""

    machine: str
    boot: str
    pid_namespace: str
    pid: int
    start_time: int


@cache
def _machine() -> str:
    with suppress(OSError):
        return _MACHINE_ID.read_text().strip()
    return os.uname().nodename


@cache
def boot_id() -> str:
    """The kernel's name for this boot (random(4))."""
    return _BOOT_ID.read_text().strip()


def start_time_of(pid: int | str) -> int | None:
    """Clock ticks after boot at which `pid` started; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The command name may hold spaces and ')': what counts stands behind its last ')'.
            return int(file.read().rpartition(b")")[2].split()[_START_TIME_FIELD])
    except (FileNotFoundError, ProcessLookupError):
        return None


def identity_of(pid: int) -> Identity | None:
    """The identity of a process of this pid namespace; None if it is gone."""
    start_time = start_time_of(pid)
    if start_time is None:
        return None
    return Identity(_machine(), boot_id(), os.readlink(_PID_NAMESPACE), pid, start_time)


def own_identity() -> Identity:
    """The identity of the calling process."""
    start_time = start_time_of("self")
    assert start_time is not None
    return Identity(_machine(), boot_id(), os.readlink(_PID_NAMESPACE), os.getpid(), start_time)


def whereabouts(identity: Identity) -> str:
    """Return the place of a process that cannot be judged from here, or an empty text if it can.

    After another boot of the same machine all its processes are gone, whatever their namespace was.
    """
    if identity.machine != _machine():
        return "another machine"
    if identity.boot == boot_id() and identity.pid_namespace != os.readlink(_PID_NAMESPACE):
        return "another pid namespace"
    return ""


def open_pidfd(identity: Identity) -> int | None:
    """Open a pidfd of exactly this process; None if it is gone or lives elsewhere.

    The start time is read after the pidfd is open, so that it cannot belong to a successor.
    """
    here = (_machine(), boot_id(), os.readlink(_PID_NAMESPACE))
    if (identity.machine, identity.boot, identity.pid_namespace) != here:
        return None
    try:
        pidfd = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    if start_time_of(identity.pid) != identity.start_time:
        os.close(pidfd)
        return None
    return pidfd


def send(pidfd: int, number: int) -> None:
    """Signal the process of a pidfd; one that has ended is no error."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)
