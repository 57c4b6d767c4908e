"""Which processes belong to a test.

A process belongs to it if this interpreter started it, directly or not, or if the test's own
directory is in its environment, working directory or arguments. The second finds what was
orphaned; it does not find processes of a test that another worker runs at the same time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

import psutil

from tako.system.process.descendants import children

GRACE_S = 2.0
"""What ends, ends within two seconds of its owner (docs/internals.md, "What is killed when")."""


#: Pids of helpers that the tests themselves keep for as long.
LASTING: set[int] = set()


def lasting_helpers() -> set[int]:
    """Give the pids of what lives as long as this interpreter, multiprocessing's own helpers among them."""
    tracker = getattr(resource_tracker, "_resource_tracker", None)
    server = getattr(forkserver, "_forkserver", None)
    pids = {getattr(tracker, "_pid", None), getattr(server, "_forkserver_pid", None)}
    return {pid for pid in pids if pid is not None} | LASTING


def descendants() -> set[psutil.Process]:
    """Give what this interpreter started and what that started, without Python's own helpers."""
    helpers = lasting_helpers()
    # Asking for all processes of the machine, twice a test, takes longer than most tests.
    if not set(children()) - helpers:
        return set()
    return {process for process in psutil.Process().children(recursive=True) if process.pid not in helpers}


def _ancestors() -> set[int]:
    return {process.pid for process in psutil.Process().parents()} | {os.getpid()}


def _mentions(process: Path, needle: bytes) -> bool:
    for name in ("environ", "cmdline"):
        with contextlib.suppress(OSError):
            if needle in (process / name).read_bytes():
                return True
    with contextlib.suppress(OSError):
        return needle in os.fsencode((process / "cwd").readlink())
    return False


def mentioning(directory: Path) -> Iterator[psutil.Process]:
    """Give the processes whose environment, arguments or working directory name `directory`."""
    needle = os.fsencode(directory)
    skipped = _ancestors() | lasting_helpers()
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) in skipped:
            continue
        if _mentions(process, needle):
            with contextlib.suppress(psutil.NoSuchProcess):
                yield psutil.Process(int(process.name))


def described(process: psutil.Process) -> str:
    """Give pid, parent, state and arguments, as far as it still lives."""
    try:
        words = " ".join(process.cmdline()).strip()
        return f"{process.pid} of {process.ppid()} {process.status()} {process.name()} {words}"
    except psutil.Error:
        return f"{process.pid} (gone meanwhile)"


def survivors(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Give those that still live, or are zombies nobody collected, after the grace."""
    _, alive = psutil.wait_procs(list(processes), timeout=GRACE_S)
    return alive


def end(processes: Iterable[psutil.Process]) -> None:
    """Kill them and collect those that are ours."""
    doomed = list(processes)
    for process in doomed:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(doomed, timeout=GRACE_S)
