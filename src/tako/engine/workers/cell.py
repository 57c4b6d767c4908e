"""Cells: one process for one segment.

    root ── Cell ── ProcessPoolExecutor(max_workers=1, forkserver) ── worker

A pool for each segment, never a shared one: in a shared pool one killed worker breaks every
sibling (`BrokenProcessPool`). A broken cell proves nothing, because a dead forkserver breaks cells
whose workers live: `end` kills through a pidfd and waits until the worker is gone.
"""

from __future__ import annotations

from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.context import BaseContext

from tako.engine.run.spec import Segment, SegmentEnd
from tako.engine.workers.forked_cell import Worker
from tako.engine.workers.worker import become_worker, enter_namespaces, run_segment
from tako.system import crash_points
from tako.system.identity import own_identity

_SAID_WITHIN_S = 30.0


class Cell:
    """A one-worker pool, made ahead of need."""

    def __init__(self, context: BaseContext) -> None:
        """Start the worker, for some milliseconds; raises `OSError` or `EOFError` without forkserver."""
        crash_points.before("start", "worker")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=become_worker)
        self._hello = self._pool.submit(own_identity)
        crash_points.after("start", "worker")
        self.worker: Worker | None = None

    def submit(self, segment: Segment) -> Future[SegmentEnd]:
        """Run the segment; the future fails with `BrokenProcessPool` when the cell broke."""
        self.worker = Worker(self._hello.result(timeout=_SAID_WITHIN_S))
        if segment.run.in_namespaces:
            # The worker takes what is submitted one by one: it is inside before it reads the segment.
            self._pool.submit(enter_namespaces, segment.run.veils)
        return self._pool.submit(run_segment, segment)

    def end(self) -> None:
        """Prove the worker dead."""
        if self.worker is not None:
            self.worker.end()

    def close(self) -> None:
        """Let the worker exit and give back what the pool held."""
        self._pool.shutdown(wait=True)
        if self.worker is not None:
            self.worker.close()
