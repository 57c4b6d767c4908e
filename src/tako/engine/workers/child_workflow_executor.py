"""Runs segments in cells: the `WorkflowRunner` of one machine.

In: segments. Out: futures. Cells are made ahead and closed on helper threads, because starting
one blocks for milliseconds (`submit` 4-5, `shutdown` 3). When a cell breaks, its worker is killed
through a pidfd and what escaped from it is ended before the future says `WorkerLostError`.
"""

from __future__ import annotations

import signal
import sys
import threading
import types
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tako.engine.run.spec import Segment, SegmentEnd
from tako.engine.steps.orders import ORDER_CANCELLED, ORDER_MAKE_ROOM, ORDER_TIMED_OUT
from tako.engine.workers.forked_cell import ForkedCell
from tako.engine.workers.workflow_runner import WorkerLostError
from tako.layout import semaphore_prefix
from tako.system import crash_points
from tako.system.processes import end_orphans
from tako.system.signals import hangup_blocked

if TYPE_CHECKING:
    # A run without fan-out never needs a pool, whose import takes longer than its step.
    from concurrent.futures import ThreadPoolExecutor
    from multiprocessing.context import BaseContext

    from tako.engine.workers.cell import Cell

_PRELOAD = ["tako.engine.workers.preload"]
_HELPERS = 2
_FORKSERVER_RETRY_S = 0.05
_FORKSERVER_RETRIES = 20


class ChildWorkflowExecutor:
    """At most `slots` segments at once, each in a cell of its own."""

    def __init__(
        self, slots: int, *, temporary: str = "", on_tracker: Callable[[int], None] = lambda _pid: None
    ) -> None:
        """Start nothing yet; `on_tracker` is told the pid of multiprocessing's resource tracker.

        `temporary` is a directory for the forkserver's socket that somebody removes even if this process
        is killed.
        """
        self.slots = slots
        self._temporary = temporary
        self._on_tracker = on_tracker
        self._lock = threading.Lock()
        self._ready: deque[Future[Cell]] = deque()
        self._running: dict[str, Cell | ForkedCell] = {}
        #: Signals for segments that are submitted, but whose cell is not ready yet.
        self._early: dict[str, int] = {}
        self._helpers: ThreadPoolExecutor | None = None
        self._context: BaseContext | None = None
        self._forked: ForkedCell | None = None

    def keep(self, cell: ForkedCell) -> None:
        """Let the root run's next segment have a worker that was forked before there were threads.

        It knows all that the user's environment holds: it is no place for a child.
        """
        self._forked = cell

    def adopt(self, segment: Segment, cell: ForkedCell) -> Future[SegmentEnd]:
        """Take over a segment whose worker was forked before there were threads."""
        outer: Future[SegmentEnd] = Future()
        with self._lock:
            self._running[segment.run.run_id] = cell
        threading.Thread(target=self._await_forked, args=(segment, cell, outer), daemon=True).start()
        return outer

    def _await_forked(self, segment: Segment, cell: ForkedCell, outer: Future[SegmentEnd]) -> None:
        try:
            end = cell.wait()
        except WorkerLostError as error:
            self._lost(segment, cell, outer, str(error))
            return
        except Exception as error:  # noqa: BLE001 - raised by the segment, in the worker: whoever waits gets it
            self._forget(segment)
            cell.close()
            outer.set_exception(error)
            return
        self._forget(segment)
        cell.close()
        outer.set_result(end)

    def prepare(self, count: int) -> None:
        """Have up to `count` cells ready, never more than there are slots."""
        with self._lock:
            while len(self._ready) < min(count, self.slots):
                self._ready.append(self._helper().submit(self._new_cell))

    def submit(self, segment: Segment) -> Future[SegmentEnd]:
        """Run a segment in a cell; the future may end in any thread."""
        if (forked := self._take_forked(segment)) is not None:
            forked.start(segment)
            return self.adopt(segment, forked)
        outer: Future[SegmentEnd] = Future()
        with self._lock:
            self._early[segment.run.run_id] = 0
            ready = self._ready.popleft() if self._ready else self._helper().submit(self._new_cell)
        ready.add_done_callback(lambda done: self._start(done, segment, outer))
        return outer

    def _take_forked(self, segment: Segment) -> ForkedCell | None:
        """At no moment is it taken for an orphan: it is kept, or it is running."""
        with self._lock:
            forked = self._forked
            if forked is None or segment.run.run_id != segment.run.root_run_id:
                return None
            self._running[segment.run.run_id], self._forked = forked, None
        return forked

    def cancel(self, run_id: str, *, timed_out: bool) -> None:
        """Ask the run's worker to end its step by the ladder."""
        self._signal(run_id, ORDER_TIMED_OUT if timed_out else ORDER_CANCELLED)

    def make_room(self, run_id: str) -> None:
        """Ask the run's worker to end at once for what it holds on the disk."""
        self._signal(run_id, ORDER_MAKE_ROOM)

    def worker_of(self, run_id: str) -> int | None:
        """The pid of the run's worker, if it has one."""
        with self._lock:
            cell = self._running.get(run_id)
        return cell.worker.identity.pid if cell is not None and cell.worker is not None else None

    def kill(self, run_id: str) -> None:
        """Kill the run's worker."""
        self._signal(run_id, signal.SIGKILL)

    def pause(self) -> None:
        """Stop all steps."""
        self._signal_all(signal.SIGTSTP)

    def go_on(self) -> None:
        """Continue all steps."""
        self._signal_all(signal.SIGCONT)

    def close(self) -> None:
        """End all workers and wait for them."""
        self._signal_all(signal.SIGKILL)
        if self._forked is not None:
            self._forked.discard()
        with self._lock:
            ready, self._ready = list(self._ready), deque()
            helpers, self._helpers = self._helpers, None
        for future in ready:
            with suppress(OSError, EOFError):
                future.result().close()
        if helpers:
            helpers.shutdown(wait=True)
        if self._context:
            # Named semaphores are unlinked by finalizers, which os._exit would skip.
            from multiprocessing import util

            util._run_finalizers()  # type: ignore[attr-defined]  # noqa: SLF001

    def _helper(self) -> ThreadPoolExecutor:
        if self._helpers is None:
            from concurrent.futures import ThreadPoolExecutor

            self._helpers = ThreadPoolExecutor(_HELPERS, thread_name_prefix="cells")
        return self._helpers

    def _new_cell(self) -> Cell:
        from tako.engine.workers.cell import Cell

        context = self._context or self._make_context()
        try:
            return Cell(context)
        except (OSError, EOFError):
            # A forkserver that was just killed counts as alive until it is a zombie (waitpid(2)).
            from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

            retrying = Retrying(
                retry=retry_if_exception_type((OSError, EOFError)),
                wait=wait_fixed(_FORKSERVER_RETRY_S),
                stop=stop_after_attempt(_FORKSERVER_RETRIES),
                reraise=True,
            )
            return retrying(Cell, context)

    def _make_context(self) -> BaseContext:
        import multiprocessing
        from multiprocessing import process, resource_tracker

        with self._lock:
            if self._context is None:
                # Workers would otherwise import the program that the user started as __mp_main__, and change
                # to the directory that this process started in, which may be gone.
                sys.modules["__main__"] = types.ModuleType("__main__")
                process.ORIGINAL_DIR = "/"  # type: ignore[attr-defined]
                if self._temporary:
                    own = process.current_process()._config  # type: ignore[attr-defined]  # noqa: SLF001
                    own["tempdir"] = self._temporary
                    # By their names they are found if even the resource tracker was killed.
                    own["semprefix"] = semaphore_prefix(self._temporary)
                context = multiprocessing.get_context("forkserver")
                context.set_forkserver_preload(_PRELOAD)
                crash_points.before("start", "tracker")
                with hangup_blocked():
                    resource_tracker.ensure_running()
                crash_points.after("start", "tracker")
                self._on_tracker(resource_tracker._resource_tracker._pid)  # type: ignore[attr-defined]  # noqa: SLF001
                self._context = context
            return self._context

    def _start(self, ready: Future[Cell], segment: Segment, outer: Future[SegmentEnd]) -> None:
        try:
            cell = ready.result()
        except Exception as error:  # noqa: BLE001 - no processes, threads or files left: its child must not be lost
            self._lost(segment, None, outer, f"no worker could be started: {error}")
            return
        try:
            inner = cell.submit(segment)
        except Exception as error:  # noqa: BLE001 - whatever broke the cell, its child must not be lost
            self._lost(segment, cell, outer, f"before it began: {error}")
            return
        with self._lock:
            self._running[segment.run.run_id] = cell
            early = self._early.pop(segment.run.run_id, 0)
        if early and cell.worker is not None:
            cell.worker.send(early)
        inner.add_done_callback(lambda done: self._ended(done, segment, cell, outer))

    def _ended(
        self, done: Future[SegmentEnd], segment: Segment, cell: Cell, outer: Future[SegmentEnd]
    ) -> None:
        # Called by the pool's manager thread, which must not wait for itself: hence the helpers.
        error = done.exception()
        if isinstance(error, BrokenExecutor):
            self._helper().submit(self._lost, segment, cell, outer, str(error))
            return
        self._forget(segment)
        if error is not None:
            outer.set_exception(error)
        else:
            outer.set_result(done.result())
        self._helper().submit(cell.close)

    def _lost(
        self, segment: Segment, cell: Cell | ForkedCell | None, outer: Future[SegmentEnd], message: str
    ) -> None:
        """Say that the worker is lost, after it is proven dead and what it started has ended."""
        self._drop_ready()
        try:
            if cell is not None:
                cell.end()
            end_orphans(spare=self._own_processes)
        except (OSError, WorkerLostError) as error:
            # The journal's lock decides in the end; whoever waits must hear in any case.
            message = f"{message}; {error}"
        finally:
            self._forget(segment)
            outer.set_exception(WorkerLostError(message))
        if cell is not None:
            cell.close()

    def _drop_ready(self) -> None:
        """Use no cell that was made before a cell broke: if the forkserver died, all of them are broken."""
        with self._lock:
            ready, self._ready = list(self._ready), deque()
        for future in ready:
            future.add_done_callback(self._close_dropped)

    def _close_dropped(self, made: Future[Cell]) -> None:
        if made.exception() is None:
            self._helper().submit(made.result().close)

    def _own_processes(self) -> list[int]:
        """The root's own children in sessions of their own: the forkserver, the root run's first worker."""
        with self._lock:
            cells = [*self._running.values(), *([self._forked] if self._forked else [])]
        pids = [cell.worker.identity.pid for cell in cells if cell.worker is not None]
        if self._context:
            from multiprocessing import forkserver

            server: Any = forkserver._forkserver  # noqa: SLF001
            # Held from before it is started until its pid is known.
            with server._lock:  # noqa: SLF001
                pids.append(server._forkserver_pid or 0)  # noqa: SLF001
        return pids

    def _forget(self, segment: Segment) -> None:
        with self._lock:
            self._early.pop(segment.run.run_id, None)
            self._running.pop(segment.run.run_id, None)

    def _signal(self, run_id: str, number: int) -> None:
        with self._lock:
            cell = self._running.get(run_id)
            if run_id in self._early:
                self._early[run_id] = number
        if cell is not None and cell.worker is not None:
            cell.worker.send(number)

    def _signal_all(self, number: int) -> None:
        with self._lock:
            running = list(self._running)
        for run_id in running:
            self._signal(run_id, number)
