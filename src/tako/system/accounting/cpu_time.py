"""The CPU time of all processes below the calling one, where no control group counts it.

In: the pids that run now, look by look. Out: CPU seconds since the first look. What a process used moves to
its parent when that collects it. The kernel itself collects the children of a process that ignores SIGCHLD
(sigaction(2), SA_NOCLDWAIT), and their time moves to nobody: the sum of all that is known falls. What it
fell by is kept. Whoever calls this is the subreaper of what it measures (prctl(2)).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from tako.system.accounting.usage import children_cpu_s
from tako.values import value

_TICKS = os.sysconf("SC_CLK_TCK")
#: utime, stime, cutime, cstime and starttime behind the command name (proc_pid_stat(5)).
_TIMES, _OWN, _STARTED = slice(11, 15), slice(11, 13), 19
#: A process that is collected while others are read is missing for a moment: read again, and believe a loss
#: only when it lasts so many looks.
_TRIES, _LASTS = 3, 3


@value
class Sample:
    """CPU times at one moment: the sum of all, and the own time of each running process."""

    whole: float
    own: Mapping[tuple[int, bytes], float]


class CpuTime:
    """Counts from its making on."""

    def __init__(self, *, collected: Callable[[], float] = children_cpu_s) -> None:
        self._collected = collected
        self._before = collected()
        self._used = 0.0
        self._last = Sample(0.0, {})
        self._missing: deque[float] = deque([0.0] * _LASTS, _LASTS)

    def look(self, pids: Iterable[int]) -> float:
        """CPU seconds used until now, if `pids` are all that runs; never too much."""
        pids = tuple(pids)
        sample = self._sample(pids)
        for _ in range(_TRIES - 1):
            if sample.whole >= self._last.whole:
                break
            again = self._sample(pids)
            sample = again if again.whole > sample.whole else sample
        grown = sum(max(0.0, used - self._last.own.get(key, used)) for key, used in sample.own.items())
        self._used = max(self._used + grown, sample.whole + min(self._missing))
        self._missing.append(self._used - sample.whole)
        self._last = sample
        return self._used

    def _sample(self, pids: tuple[int, ...]) -> Sample:
        ticks, own = 0, {}
        for pid in pids:
            with suppress(OSError, IndexError), open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
                ticks += sum(map(int, fields[_TIMES]))
                own[pid, fields[_STARTED]] = sum(map(int, fields[_OWN])) / _TICKS
        return Sample(self._collected() - self._before + ticks / _TICKS, own)
