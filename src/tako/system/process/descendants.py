"""Ending and collecting what runs below the calling process.

As a child subreaper a process becomes the parent of every orphan below it, so that "kill and
collect my children until I have none" ends all descendants, also daemons (prctl(2)).
Only unreaped children are signalled: their pids cannot have been used again.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress

_POLL_MS = 50


def children() -> list[int]:
    """The pids of this process's own children, zombies included (proc_pid_task(5))."""
    found: list[int] = []
    for task in os.listdir("/proc/self/task"):
        with (
            suppress(FileNotFoundError, ProcessLookupError),
            open(f"/proc/self/task/{task}/children") as file,
        ):
            found += map(int, file.read().split())
    return found


def _collect(pid: int) -> bool:
    """Reap one child if it has ended; True if it is no longer a child."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _wait_for_any(pids: Collection[int]) -> None:
    poll = select.poll()
    pidfds = []
    for pid in pids:
        with suppress(ProcessLookupError):
            pidfds.append(os.pidfd_open(pid))
            poll.register(pidfds[-1], select.POLLIN)
    poll.poll(_POLL_MS)
    for pidfd in pidfds:
        os.close(pidfd)


def collect_orphans(but_not: int) -> None:
    """Reap children that have ended, except `but_not`, whose exit status another piece wants."""
    while True:
        try:
            result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if result is None or result.si_pid == but_not:
            return
        _collect(result.si_pid)


def end_descendants(*, spare: Collection[int] = (), timeout_s: float = 10.0) -> list[int]:
    """SIGKILL and reap all descendants; return the pids of children left when the time is over.

    Children in `spare` are neither killed nor reaped. The caller must be a subreaper.
    """
    return _end_all(lambda: [pid for pid in children() if pid not in spare], timeout_s)


def _end_all(find: Callable[[], list[int]], timeout_s: float) -> list[int]:
    """SIGKILL and reap until `find` returns nothing; returns the pids left when the time is over."""
    deadline = time.monotonic() + timeout_s
    while found := find():
        # What is collected here may have left children to us after they were looked for: look again.
        left = [pid for pid in found if not _collect(pid)]
        if left and time.monotonic() > deadline:
            return left
        for pid in left:
            _kill_with_its_group(pid)
        if left:
            _wait_for_any(left)
    return []


def _kill_with_its_group(pid: int) -> None:
    """SIGKILL a child and its group, which is one call: a bomb that forks faster than we count dies whole."""
    with suppress(ProcessLookupError):
        group = os.getpgid(pid)
        if group != os.getpgrp():
            os.killpg(group, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)


def wait_for_exit(pidfd: int, timeout_s: float) -> bool:
    """Wait until the process of a pidfd has ended; False if it still runs after `timeout_s`."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def signal_group(leader: int, number: int) -> None:
    """Signal the process group that a still uncollected child leads; a group without members is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


class Helpers:
    """Programs that this process runs for itself, in sessions of their own, and still has to collect."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pids: set[int] = set()

    def start(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Start one; nobody sees it as a child before it is known as a helper."""
        with self._lock:
            process = start()
            self._pids.add(process.pid)
        return process

    def ended(self, pid: int) -> None:
        """Forget one that was collected."""
        with self._lock:
            self._pids.discard(pid)

    def strangers(self) -> list[int]:
        """This process's children in other sessions that are no helpers."""
        own = os.getsid(0)
        with self._lock:
            return [pid for pid in children() if pid not in self._pids and _session(pid) not in (None, own)]


#: There is one set of children in a process.
HELPERS = Helpers()


def end_orphans(*, spare: Callable[[], Collection[int]], timeout_s: float = 10.0) -> list[int]:
    """Kill and reap what a dead worker left: own children of another session, but helpers and `spare`.

    The orphans of a worker become children of the root, which is a subreaper. A step has a session of its
    own. `spare` is asked whenever some were found, and must know all that had been started until then.
    Returns the pids left when the time is over.
    """

    def find() -> list[int]:
        found = HELPERS.strangers()
        spared = spare() if found else ()
        return [pid for pid in found if pid not in spared]

    return _end_all(find, timeout_s)


def _session(pid: int) -> int | None:
    with suppress(ProcessLookupError):
        return os.getsid(pid)
    return None


def user_tasks() -> int:
    """How many tasks (processes and threads) this user has, as RLIMIT_NPROC counts them (setrlimit(2))."""
    count = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                if entry.stat().st_uid == os.getuid():
                    count += os.stat(f"/proc/{entry.name}/task").st_nlink - 2
    return count
