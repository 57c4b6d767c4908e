"""Runs segments in slots: the `WorkflowRunner` of one machine.

In: segments. Out: futures. Slots are made ahead and closed on helper threads, because starting one blocks
for milliseconds (`submit` 4-5, `shutdown` 3); each serves one segment after the other. A worker that dies
leaves its slot as it was. When a slot breaks, slot and worker are killed through pidfds and what escaped
from them is ended before the future says `WorkerLostError`.
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from typing import TYPE_CHECKING

from tako.engine.run.spec import Segment, SegmentEnd
from tako.engine.steps.orders import ORDER_CANCELLED, ORDER_MAKE_ROOM, ORDER_TIMED_OUT
from tako.engine.workers.forked_cell import ForkedCell
from tako.engine.workers.workflow_runner import WorkerLostError
from tako.system.process.descendants import end_orphans
from tako.system.process.forkserver import (
    forkserver_context,
    forkserver_pid,
    start_tracker,
    unlink_semaphores,
)

if TYPE_CHECKING:
    # A run without fan-out never needs a pool, whose import takes longer than its step.
    from concurrent.futures import ThreadPoolExecutor
    from multiprocessing.context import BaseContext

    from tako.engine.workers.slot import Running, Slot

_PRELOAD = ["tako.engine.workers.preload"]
_HELPERS = 2
_FORKSERVER_RETRY_S = 0.05
_FORKSERVER_RETRIES = 20


class ChildWorkflowExecutor:
    """At most `slots` segments at once, each in a process of its own."""

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
        #: Slots that wait for a segment, and those that are being made for one.
        self._idle: deque[Slot] = deque()
        self._ready: deque[Future[Slot]] = deque()
        #: All that live, in use or not.
        self._slots: set[Slot] = set()
        self._running: dict[str, Running | ForkedCell] = {}
        #: Signals for segments that are submitted, but whose slot is not ready yet.
        self._early: dict[str, list[int]] = {}
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
        """Have up to `count` slots ready, never more in all than there may be."""
        with self._lock:
            while len(self._idle) + len(self._ready) < count and self._may_grow():
                self._ready.append(self._helper().submit(self._new_slot))

    def _may_grow(self) -> bool:
        return len(self._slots) + len(self._ready) < self.slots

    def submit(self, segment: Segment) -> Future[SegmentEnd]:
        """Run a segment in a slot; the future may end in any thread."""
        if (forked := self._take_forked(segment)) is not None:
            forked.start(segment)
            return self.adopt(segment, forked)
        outer: Future[SegmentEnd] = Future()
        with self._lock:
            self._early[segment.run.run_id] = []
            slot = self._idle.popleft() if self._idle else None
            if slot is None:
                ready = self._ready.popleft() if self._ready else self._helper().submit(self._new_slot)
        if slot is not None:
            self._start_in_idle(slot, segment, outer)
        else:
            ready.add_done_callback(lambda made: self._start_in_new(made, segment, outer))
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
            running = self._running.get(run_id)
        worker = running.worker if running is not None else None
        return worker.identity.pid if worker is not None else None

    def kill(self, run_id: str) -> None:
        """Kill the run's worker; a second time also the slot that has not told of its end meanwhile."""
        with self._lock:
            running = self._running.get(run_id)
            if run_id in self._early:
                self._early[run_id].append(signal.SIGKILL)
        if running is not None:
            running.kill()

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
                future.result()
        if helpers:
            helpers.shutdown(wait=True)
        for slot in list(self._slots):
            slot.close()
        if self._context:
            unlink_semaphores()

    def _helper(self) -> ThreadPoolExecutor:
        if self._helpers is None:
            from concurrent.futures import ThreadPoolExecutor

            self._helpers = ThreadPoolExecutor(_HELPERS, thread_name_prefix="slots")
        return self._helpers

    def _new_slot(self) -> Slot:
        slot = self._made_slot()
        with self._lock:
            self._slots.add(slot)
        return slot

    def _made_slot(self) -> Slot:
        from tako.engine.workers.slot import Slot

        context = self._context or self._make_context()
        try:
            return Slot(context)
        except (OSError, EOFError):
            # A forkserver that was just killed counts as alive until it is a zombie (waitpid(2)).
            from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

            retrying = Retrying(
                retry=retry_if_exception_type((OSError, EOFError)),
                wait=wait_fixed(_FORKSERVER_RETRY_S),
                stop=stop_after_attempt(_FORKSERVER_RETRIES),
                reraise=True,
            )
            return retrying(Slot, context)

    def _make_context(self) -> BaseContext:
        with self._lock:
            if self._context is None:
                context = forkserver_context(_PRELOAD, self._temporary)
                self._on_tracker(start_tracker())
                self._context = context
            return self._context

    def _start_in_new(self, made: Future[Slot], segment: Segment, outer: Future[SegmentEnd]) -> None:
        try:
            slot = made.result()
        except Exception as error:  # noqa: BLE001 - no processes, threads or files left: its child must not be lost
            self._forget(segment)
            outer.set_exception(WorkerLostError(f"no worker could be started: {error}"))
            return
        self._start(slot, segment, outer)

    def _start_in_idle(self, slot: Slot, segment: Segment, outer: Future[SegmentEnd]) -> None:
        """Start the segment where one has ended; a slot that has died since then costs it no attempt."""
        try:
            running = slot.submit(segment)
        except (BrokenExecutor, OSError):
            self._helper().submit(self._close_slot, slot)
            made = self._helper().submit(self._new_slot)
            made.add_done_callback(lambda made: self._start_in_new(made, segment, outer))
            return
        self._watch(running, segment, outer)

    def _start(self, slot: Slot, segment: Segment, outer: Future[SegmentEnd]) -> None:
        try:
            running = slot.submit(segment)
        except Exception as error:  # noqa: BLE001 - whatever broke the slot, its child must not be lost
            self._lost(segment, slot, outer, f"before it began: {error}")
            return
        self._watch(running, segment, outer)

    def _watch(self, running: Running, segment: Segment, outer: Future[SegmentEnd]) -> None:
        with self._lock:
            self._running[segment.run.run_id] = running
            early = self._early.pop(segment.run.run_id, [])
        for number in early:
            running.send(number)
        running.over.add_done_callback(lambda _: self._ended(segment, running, outer))

    def _ended(self, segment: Segment, running: Running, outer: Future[SegmentEnd]) -> None:
        # Called by the pool's manager thread, which must not wait for itself: hence the helpers.
        error = running.over.exception()
        if error is not None:
            self._helper().submit(self._lost, segment, running, outer, str(error))
            return
        word = running.word()
        self._forget(segment)
        running.close()
        with self._lock:
            # Before anybody hears of the end and wants a slot for what comes next.
            self._idle.append(running.slot)
        if word is None:
            outer.set_exception(WorkerLostError(running.death()))
        elif isinstance(word, Exception):
            outer.set_exception(word)
        else:
            outer.set_result(word)

    def _lost(
        self, segment: Segment, broken: Running | Slot | ForkedCell, outer: Future[SegmentEnd], message: str
    ) -> None:
        """Say that the worker is lost, after it is proven dead and what it started has ended."""
        self._drop_idle()
        slot = broken.slot if not isinstance(broken, ForkedCell) else None
        try:
            broken.end()
            # Dead, they are orphans like others: the root collects them.
            self._forget(segment, slot)
            end_orphans(spare=self._own_processes)
        except (OSError, WorkerLostError) as error:
            # The journal's lock decides in the end; whoever waits must hear in any case.
            message = f"{message}; {error}"
        finally:
            self._forget(segment, slot)
            outer.set_exception(WorkerLostError(message))
        broken.close()
        if slot is not None:
            slot.close()

    def _drop_idle(self) -> None:
        """Use no slot that was made before one broke: if the forkserver died, all of them are broken."""
        with self._lock:
            idle, self._idle = list(self._idle), deque()
            ready, self._ready = list(self._ready), deque()
        for slot in idle:
            self._helper().submit(self._close_slot, slot)
        for future in ready:
            future.add_done_callback(self._close_dropped)

    def _close_dropped(self, made: Future[Slot]) -> None:
        if made.exception() is None:
            self._helper().submit(self._close_slot, made.result())

    def _close_slot(self, slot: Slot) -> None:
        slot.close()
        with self._lock:
            self._slots.discard(slot)

    def _own_processes(self) -> list[int]:
        """What is no orphan of ours: the forkserver, the root run's first worker, slots and their workers."""
        with self._lock:
            running = [*self._running.values(), *([self._forked] if self._forked else [])]
            idle = [slot.process.identity.pid for slot in self._slots if slot.process is not None]
        pids = [*idle, *(pid for one in running for pid in one.pids())]
        if self._context:
            pids.append(forkserver_pid())
        return pids

    def _forget(self, segment: Segment, slot: Slot | None = None) -> None:
        with self._lock:
            self._early.pop(segment.run.run_id, None)
            self._running.pop(segment.run.run_id, None)
            if slot is not None:
                self._slots.discard(slot)

    def _signal(self, run_id: str, number: int) -> None:
        with self._lock:
            running = self._running.get(run_id)
            if run_id in self._early:
                self._early[run_id].append(number)
        if running is not None:
            running.send(number)

    def _signal_all(self, number: int) -> None:
        with self._lock:
            known = [*self._running, *self._early]
        for run_id in known:
            self._signal(run_id, number)
