"""The machine's reserve of free disk: when it is used up, and which run has to make room.

In: the file system of `TAKO_HOME`, the runs that go on. Out: how much is missing, and the greediest of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tako.engine.run.spec import Segment
from tako.system.accounting.held import nameless_files
from tako.system.accounting.usage import descendants, disk_use, free_on_disk
from tako.units import format_bytes

#: A disk that is filled as fast as this is looked at before the reserve is gone.
_BYTES_A_SECOND = 1 << 30
_SOONEST_S, _LATEST_S = 0.05, 5.0
#: Seconds that a disk below the reserve has to recover when nothing runs any more: what is removed may come
#: back later.
PATIENCE_S = 2.0


class Reserve:
    """Free bytes of one file system that are not for runs."""

    def __init__(self, place: Path, size: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.place = place
        self.size = size
        self._clock = clock
        self._next = 0.0
        self._missing = 0
        self._stuck_since: float | None = None

    @property
    def wait_s(self) -> float:
        """How long until the next look is due."""
        return max(0.0, self._next - self._clock())

    def look(self) -> int:
        """How many bytes are missing; 0 if the reserve is whole."""
        now = self._clock()
        if now >= self._next or self._missing:
            above = free_on_disk(self.place) - self.size
            self._missing = max(0, -above)
            self._next = now + min(_LATEST_S, max(_SOONEST_S, above / _BYTES_A_SECOND))
        return self._missing

    def told(self) -> str:
        """Why nothing starts any more."""
        return (
            f"the disk of {self.place} has {format_bytes(free_on_disk(self.place))} free, less than min_free,"
            f" {format_bytes(self.size)}, and nothing runs that could make room: free some space, or lower"
            " min_free in config.yml"
        )

    def is_stuck(self, *, waiting: bool) -> bool:
        """Whether nothing has gone on for so long that nothing will."""
        if not waiting or not self._missing:
            self._stuck_since = None
            return False
        if self._stuck_since is None:
            self._stuck_since = self._clock()
        return self._clock() - self._stuck_since >= PATIENCE_S


def greediest(held: Mapping[str, int], missing: int) -> str:
    """The run that holds most; empty if all together hold less than is missing, as others filled the disk."""
    if not held or sum(held.values()) < missing:
        return ""
    return max(held, key=lambda run_id: held[run_id])


def held_by_all(
    segments: Sequence[Segment], place: Path, workers: Mapping[str, int | None]
) -> dict[str, int]:
    """What each run has there, by its id; `workers` are the pids of those that have one. Never raises."""
    held = {}
    for segment in segments:
        # Steps write and remove, and close directories, meanwhile.
        with suppress(OSError):
            held[segment.run.run_id] = held_by(segment, place, workers[segment.run.run_id])
    return held


def held_by(segment: Segment, place: Path, worker: int | None) -> int:
    """Bytes that a run has on the file system of `place`, files without a name among them."""
    spec, paths = segment.run, segment.run.paths
    uppers = [paths.cache_view(cache)[0] for _, cache in spec.tool_caches]
    changed = paths.upper if spec.overlaid else paths.repo
    own: Sequence[Path] = (changed, paths.home, paths.exchange, paths.logs, paths.artifacts, *uppers)
    device = os.stat(place).st_dev
    there = [path for path in (*own, Path(segment.temporary)) if _device(path) == device]
    pids = descendants(of=worker) if worker is not None else ()
    return disk_use(there) + nameless_files(pids, {device}, blocks=os.statvfs(place).f_blocks)


def _device(path: Path) -> int | None:
    """The file system that a path is on; None if it is gone, or in a directory that a step has closed."""
    try:
        return path.stat().st_dev
    except OSError:
        return None
