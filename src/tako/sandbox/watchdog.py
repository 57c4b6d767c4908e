"""Watches over a step's whole process tree: memory, tasks, disk.

In: limits, the directories that count, moments of one clock. Out: the peaks, and a `Breach` once something is
over its limit; the caller then ends the step. Cheap looks come first: exact memory is read only when the
plain sum of resident sizes would matter, directories are walked early only when the file system has filled
enough to matter.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from pathlib import Path

from tako.sandbox.policy import Limits
from tako.system.accounting.cgroups import NO_GROUPS, Groups, cpu_s, memory_kills, most_tasks
from tako.system.accounting.cpu_time import CpuTime
from tako.system.accounting.held import nameless_files, nameless_mappings
from tako.system.accounting.hidden_memory import buffers, page_tables
from tako.system.accounting.usage import disk_use, filled, processes, proportional, used_on
from tako.system.walls.affinity import hold_to
from tako.values import value

_FIRST_S, _LAST_S = 0.02, 0.25
#: A walk is not repeated within so many times of what it took.
_REST = 10.0
_WALK_EVERY_S = 1.0
_SIGNAL_S = 0.5


@value
class Watched:
    """Where a step can fill something: directories on disk, its shared memory, its control groups.

    `mounts` show these directories to the step under devices of their own (an overlay's is not its upper's).
    """

    directories: tuple[Path, ...] = ()
    mounts: tuple[Path, ...] = ()
    shared_memory: Path | None = None
    groups: Groups = NO_GROUPS
    #: Processes below the worker that are no part of the step.
    others: tuple[int, ...] = ()


@value
class Breach:
    """A limit that was passed: its name, its value, and what was seen."""

    limit: str
    value: int
    seen: int


@value
class Peaks:
    """The most that was seen: bytes of memory, tasks, bytes on disk; 0 where nothing was."""

    memory: int = 0
    tasks: int = 0
    disk: int = 0


class Watchdog:
    """Watches the descendants of the calling process, from its making on."""

    def __init__(
        self, limits: Limits, watched: Watched, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._watched = watched
        self._clock = clock
        self._interval_s = _FIRST_S
        self._next = clock() + _FIRST_S
        self._memory = self._tasks = self._disk = 0
        self._cpu = CpuTime()
        #: Of a step that declared them; of whoever makes this too.
        self._cpus = frozenset(os.sched_getaffinity(0)) if limits.cpus is not None else frozenset()
        self._pids: tuple[int, ...] = ()
        self._hidden = self._in_files = 0
        self._next_hidden = clock() + _LAST_S
        self._next_walk = clock() + _WALK_EVERY_S
        #: What the file system held at the last walk, so that only what was added since can matter.
        self._filled = self._used_of_disk()
        self._filled_before = self._filled

    @property
    def peaks(self) -> Peaks:
        """The most that was seen so far."""
        return Peaks(self._memory, self._tasks, self._disk)

    @property
    def wait_s(self) -> float:
        """How long until the next look is due."""
        return max(0.0, self._next - self._clock())

    def look(self) -> Breach | None:
        """Look, if it is time."""
        now = self._clock()
        if now < self._next:
            return None
        self._interval_s = min(2 * self._interval_s, _LAST_S)
        breach = self._look_at_processes() or self._look_at_disk(now)
        # After the look: a machine that is slow to answer is not asked all the time.
        self._next = self._clock() + self._interval_s
        return breach

    def look_at_what_is_left(self) -> Breach | None:
        """Return a breach of the processes that still run, which may be why the first process failed."""
        return self._look_at_processes()

    def last_look(self) -> Breach | None:
        """Return a breach of the ended step: by the kernel's counts, or its files on the disk."""
        self._pids = ()
        return (
            self._told_by_kernel()
            or self._over_cpu_time(())
            or self._look_at_disk(self._clock(), at_end=True)
        )

    def _over_cpu_time(self, pids: tuple[int, ...]) -> Breach | None:
        """The kernel bounds each process, and knows nothing of their sum."""
        most = self._limits.cpu_s
        if most is None:
            return None
        counted = cpu_s(self._watched.groups)
        # What the step left behind has gone to one of the others, if there are any.
        used = self._cpu.look((*pids, *self._watched.others)) if counted is None else counted
        # One process is told by a signal that names the limit, if it is given the time to take it.
        return Breach("CPU time", most, int(used)) if used >= most + (_SIGNAL_S if pids else 0) else None

    def _told_by_kernel(self) -> Breach | None:
        """A shell that cannot fork ends by itself, and one process that is killed need not end the others."""
        breach = self._over_tasks(most_tasks(self._watched.groups))
        limit = self._limits.memory
        if breach is not None or limit is None or not memory_kills(self._watched.groups):
            return breach
        self._memory = max(self._memory, limit)
        return Breach("memory", limit, self._memory)

    def _over_tasks(self, seen: int) -> Breach | None:
        self._tasks = max(self._tasks, seen)
        most = self._limits.tasks
        return Breach("processes", most, seen) if most is not None and seen > most else None

    def _look_at_processes(self) -> Breach | None:
        most = self._limits.tasks
        found = processes(most=most if most is not None else 1 << 20, but_not=self._watched.others)
        self._pids = found.pids
        if self._cpus:
            hold_to(self._cpus, found.pids)
        breach = self._over_tasks(found.tasks) or self._over_cpu_time(found.pids) or self._told_by_kernel()
        if breach is not None:
            return breach
        self._look_at_hidden(found.pids)
        shared = self._in_files + (used_on(self._watched.shared_memory) if self._watched.shared_memory else 0)
        if found.resident + shared + self._hidden <= self._memory:
            return None
        whole, mapped = proportional(found.pids)
        memory = whole + max(0, shared - mapped) + self._hidden
        self._memory = max(self._memory, memory)
        limit = self._limits.memory
        return Breach("memory", limit, memory) if limit is not None and memory > limit else None

    def _look_at_hidden(self, pids: tuple[int, ...]) -> None:
        """Measure memory that no size of a process shows, for a step with a limit of memory."""
        now = self._clock()
        if self._limits.memory is None or now < self._next_hidden:
            return
        held, self._in_files = buffers(pids)
        self._hidden = held + page_tables(pids)
        self._next_hidden = self._clock() + _LAST_S + _REST * (self._clock() - now)

    def _look_at_disk(self, now: float, *, at_end: bool = False) -> Breach | None:
        limit = self._limits.disk
        used = self._used_of_disk()
        added = max(0, used - self._filled)
        may_matter = limit is not None and self._disk + added > limit
        if not self._watched.directories or (now < self._next_walk and not may_matter):
            return None
        if not at_end and may_matter and now < self._next_walk - _WALK_EVERY_S:
            # The last walk was a long one: rest.
            return None
        held = self._held_on_disk(used)
        took = self._clock() - now
        self._next_walk = self._clock() + _WALK_EVERY_S + _REST * took
        self._filled, self._disk = used, max(self._disk, held)
        return Breach("disk", limit, held) if limit is not None and held > limit else None

    def _held_on_disk(self, used: int) -> int:
        """Return bytes in the directories, and in files without a name that are still open or mapped."""
        places = (*self._watched.directories, *self._watched.mounts)
        devices = {os.stat(place).st_dev for place in places if place.exists()} if self._pids else set()
        held = disk_use(self._watched.directories) + nameless_files(self._pids, devices)
        unexplained = used - self._filled_before - held
        most = self._limits.disk
        if most is None or held > most or held + unexplained <= most:
            return held
        # Mappings tell only how much they span: never count more than what the file system has grown by.
        return held + min(unexplained, nameless_mappings(self._pids, devices))

    def _used_of_disk(self) -> int:
        return filled(self._watched.directories[0]) if self._watched.directories else 0


def cpus_for(limits: Limits, serial: int, there_are: Collection[int]) -> frozenset[int]:
    """The CPUs a step may run on: all that there are, or as many as it declared, rounded up.

    `serial` spreads steps over the machine.
    """
    if limits.cpus is None:
        return frozenset(there_are)
    present = sorted(there_are)
    count = min(len(present), max(1, int(-(-limits.cpus // 1))))
    return frozenset(present[(serial + offset) % len(present)] for offset in range(count))
