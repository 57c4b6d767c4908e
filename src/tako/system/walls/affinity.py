"""Keeps processes on their CPUs, even if they ask for others (sched_setaffinity(2))."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress


def hold_to(cpus: frozenset[int], pids: Iterable[int]) -> None:
    """Bring every thread of the processes back to these CPUs that was given others; fewer are left alone."""
    for pid in pids:
        with suppress(OSError):
            for task in map(int, os.listdir(f"/proc/{pid}/task")):
                # Threads that end all the time would else keep the others from being looked at.
                with suppress(OSError):
                    if not os.sched_getaffinity(task) <= cpus:
                        os.sched_setaffinity(task, cpus)
