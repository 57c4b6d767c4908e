"""The processes of one running `tako exec`, told apart as a person with `ps` would.

warden (what was started) ── root ── forkserver ── worker ── sh
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

FORKSERVER = "tako: forkserver"
_STARTED_WITHIN_S = 40.0
_GONE_WITHIN_S = 2.0
"""The promise of docs/internals.md, "What is killed when"."""


def title(process: psutil.Process) -> str:
    """Give the title a process has set itself, or its command line."""
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()
    return ""


def root_of(warden: int) -> psutil.Process:
    """Give the root process of a warden."""
    [root] = psutil.Process(warden).children()
    return root


def forkserver_of(warden: int) -> psutil.Process:
    """Give the forkserver of a warden's root, which starts while the first step runs."""
    root = root_of(warden)
    deadline = time.monotonic() + _STARTED_WITHIN_S
    while time.monotonic() < deadline:
        for child in root.children():
            if title(child) == FORKSERVER:
                return child
        time.sleep(0.01)
    message = f"{warden} has no forkserver"
    raise AssertionError(message)


def parent_of(pid: int | str) -> psutil.Process:
    """Give the parent: of a step's shell, its worker."""
    parent = psutil.Process(int(pid)).parent()
    assert parent is not None
    return parent


def whole_tree(warden: int) -> set[psutil.Process]:
    """Give the warden and all below it."""
    process = psutil.Process(warden)
    return {process, *process.children(recursive=True)}


def carrying(run_id: str) -> set[psutil.Process]:
    """Give the processes whose environment names the run."""
    needle = f"TAKO_ROOT_RUN_ID={run_id}".encode()
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, psutil.Error):
            if entry.name.isdecimal() and needle in (entry / "environ").read_bytes():
                found.add(psutil.Process(int(entry.name)))
    return found


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children()
    return []


def survivors(processes: Iterable[psutil.Process], since: float) -> list[str]:
    """Describe those that still live two seconds after `since` (time.monotonic)."""
    left = [process for process in processes if _lives(process)]
    while left and time.monotonic() < since + _GONE_WITHIN_S:
        time.sleep(0.01)
        left = [process for process in left if _lives(process)]
    return [f"{process.pid} {title(process)}" for process in left]


def await_status(process: psutil.Process, wanted: str) -> None:
    """Wait until the kernel says so: a stop and its end have no other event for a bystander."""
    deadline = time.monotonic() + _STARTED_WITHIN_S
    while process.status() != wanted:
        assert time.monotonic() < deadline, process.status()
        time.sleep(0.01)


def stop(process: psutil.Process) -> None:
    """SIGSTOP one process, and return when it stands still."""
    process.suspend()
    await_status(process, psutil.STATUS_STOPPED)


def kill(process: psutil.Process | int) -> float:
    """SIGKILL one process; gives the moment."""
    os.kill(process if isinstance(process, int) else process.pid, signal.SIGKILL)
    return time.monotonic()


def kill_whole(warden: int, run_id: str) -> frozenset[psutil.Process]:
    """SIGKILL every process of tako's own at the same moment; gives those of steps that are left."""
    tree = whole_tree(warden)
    ours = tree - carrying(run_id)
    # The first process of a step dies with its worker.
    dying = {child for process in ours for child in _children(process)} - ours
    # Stopped first: none of them may act on the death of another. Then the youngest first: the kernel would
    # continue what is left stopped in a process group that is orphaned (setpgid(2)).
    ordered = sorted(ours, key=lambda process: (process.create_time(), process.pid), reverse=True)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in ordered:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
    psutil.wait_procs(ours | dying, timeout=_STARTED_WITHIN_S)
    return frozenset(process for process in tree - ours if process.is_running())


def outside(run: Path) -> list[Path]:
    """Give what the run has outside of its own directory: a private one, with the forkserver's socket."""
    first = json.loads((run / "journal.jsonl").read_text().splitlines()[0])
    private = Path(first["temporary"]).parent
    sockets = list(private.glob("listener-*"))
    assert sockets, f"the forkserver's socket is not in {private}"
    return [private, *sockets]
