"""The root's right to write: which journals it holds, and what has to wait for a worker.

The root may write a run's journal only between its segments. What comes while a worker holds it
is kept and written when the worker is gone. Fails with `DiskFullError` only where not even the
reserved room is left, with another `WriteFailedError` as writing and syncing do, with `HeldError` when a
lock is not given back in time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from tako.errors import DiskFullError, HeldError
from tako.journal.fold import apply, fold
from tako.journal.log import Writer
from tako.journal.records import Record
from tako.journal.run_state import RunState
from tako.layout.run import RunDirectory

_LOCK_WITHIN_S = 10.0
_LOCK_RETRY_S = 0.02


class Journals:
    """All journals of one execution tree, as far as the root writes them."""

    def __init__(self, on_full: Callable[[DiskFullError], None]) -> None:
        """`on_full` is told when the disk is full; from then on records use the reserved room."""
        self._on_full = on_full
        self._full = False
        self._open: dict[str, Writer] = {}
        self._with_worker: set[str] = set()
        self._waiting: dict[str, list[Record]] = defaultdict(list)
        self._unsynced: set[str] = set()

    def hand_over(self, paths: RunDirectory) -> None:
        """Give the right to write to a worker that is about to start."""
        self.close(paths)
        self._with_worker.add(paths.run_id)

    def worker_gone(self, paths: RunDirectory) -> None:
        """The worker has ended: its lock may be taken again."""
        self._with_worker.discard(paths.run_id)

    def waits_for(self, paths: RunDirectory) -> bool:
        """Whether something was kept that has still to be written."""
        return paths.run_id in self._waiting

    def take_back(self, paths: RunDirectory) -> RunState:
        """Open the journal, add what had to wait, and give the run's state."""
        writer = _opened(paths)
        self._open[paths.run_id] = writer
        state = fold(writer.records)
        writer.records = []
        for record in self._waiting.pop(paths.run_id, ()):
            self.record(paths, record)
            apply(state, record)
        return state

    def record(self, paths: RunDirectory, record: Record, *, final: bool = False) -> None:
        """Add a record now, or when the run's worker is gone."""
        if paths.run_id in self._with_worker:
            self._waiting[paths.run_id].append(record)
            return
        if paths.run_id not in self._open:
            self.take_back(paths)
        writer = self._open[paths.run_id]
        self._unsynced.add(paths.run_id)
        try:
            writer.append(record, final=final or self._full)
        except DiskFullError as error:
            self._full = True
            self._on_full(error)
            writer.append(record, final=True)

    def sync(self) -> None:
        """Return when all that was recorded survives a power cut."""
        while self._unsynced:
            self._open[self._unsynced.pop()].sync()

    def close(self, paths: RunDirectory) -> None:
        """Sync and close one journal; no error if it is not open."""
        writer = self._open.pop(paths.run_id, None)
        if writer is None:
            return
        try:
            if paths.run_id in self._unsynced:
                self._unsynced.discard(paths.run_id)
                writer.sync()
        finally:
            writer.close()


def _opened(paths: RunDirectory) -> Writer:
    try:
        return Writer(paths.journal)
    except HeldError:
        # A worker that is proven dead may still be giving back its files.
        from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

        retrying = Retrying(
            retry=retry_if_exception_type(HeldError),
            wait=wait_fixed(_LOCK_RETRY_S),
            stop=stop_after_delay(_LOCK_WITHIN_S),
            reraise=True,
        )
        return retrying(Writer, paths.journal)
