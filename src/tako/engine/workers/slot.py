"""Slots: each a pool of one long-lived process, which forks a worker for every segment.

    root ── Slot ── ProcessPoolExecutor(max_workers=1, forkserver) ── slot ── worker: one segment

A pool for each slot, never a shared one: in a shared pool one killed process breaks every sibling
(`BrokenProcessPool`). A broken slot proves nothing, because a dead forkserver breaks slots whose
processes live: `Running.end` kills through pidfds and waits until slot and worker are gone.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from multiprocessing.context import BaseContext
from typing import Any

from tako.engine.run.spec import Segment
from tako.engine.workers.forked_cell import Worker
from tako.engine.workers.handover import Handover
from tako.engine.workers.slot_process import become_slot, fork_worker
from tako.system import crash_points
from tako.system.process.identity import own_identity
from tako.system.process.signals import name_of

_SAID_WITHIN_S = 30.0
#: A slot that was asked to exit needs some milliseconds.
_EXITS_WITHIN_S = 5.0


class Slot:
    """A pool of one process, started once and used for one segment after the other."""

    def __init__(self, context: BaseContext) -> None:
        """Start the process, for some milliseconds; raises `OSError` or `EOFError` without forkserver."""
        # What a pool's call brings passes through its memory; descriptors go beside it.
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        crash_points.before("start", "slot")
        try:
            self._pool = ProcessPoolExecutor(
                1, mp_context=context, initializer=become_slot, initargs=(theirs,)
            )
            self._hello = self._pool.submit(own_identity)
        except BaseException:
            self._line.close()
            raise
        finally:
            theirs.close()
        crash_points.after("start", "slot")
        self.process: Worker | None = None

    @property
    def slot(self) -> Slot:
        """Itself, as `Running.slot` is its slot."""
        return self

    def submit(self, segment: Segment) -> Running:
        """Have a worker forked for the segment; raises `BrokenExecutor` or `OSError` if the slot broke."""
        self.process = self.process or Worker(self._hello.result(timeout=_SAID_WITHIN_S))
        if self.process.has_ended():
            # The pool may not have noticed yet, and would take the segment for one that has begun.
            message = "the slot has died"
            raise BrokenExecutor(message)
        veils = segment.run.veils if segment.run.in_namespaces else None
        handover = Handover.of(segment)
        try:
            socket.send_fds(self._line, [b"\0"], handover.descriptors)
            return Running(self, handover, self._pool.submit(fork_worker, veils))
        except BaseException:
            handover.close()
            raise

    def kill(self) -> None:
        """Kill the process, if it is known by now; its worker dies with it."""
        if self.process is not None:
            self.process.send(signal.SIGKILL)

    def end(self) -> None:
        """Prove the process dead; its worker dies with it."""
        if self.process is not None:
            self.process.end()

    def close(self) -> None:
        """Let the process exit and give back what the pool held; one that stands still is killed."""
        late = threading.Timer(_EXITS_WITHIN_S, self.kill)
        late.daemon = True
        late.start()
        self._pool.shutdown(wait=True)
        late.cancel()
        self._line.close()
        if self.process is not None:
            self.process.close()


class Running:
    """A segment that a slot's worker executes; may be used from several threads."""

    def __init__(self, slot: Slot, handover: Handover, over: Future[int]) -> None:
        """`over` gives the worker's wait status when nothing of it is left."""
        self.slot = slot
        self.over = over
        self._handover = handover
        self._worker: Worker | None = None
        #: A descriptor that another thread has closed meanwhile may be another file's, a journal's for one.
        self._lock = threading.RLock()
        self._closed = False

    def pids(self) -> list[int]:
        """The processes of it that are known."""
        known = [self.slot.process, self.worker]
        return [process.identity.pid for process in known if process is not None]

    def send(self, number: int) -> None:
        """Signal the worker, at once or as soon as it hears; one that is gone is no error."""
        with self._lock:
            if self._closed:
                return
            # First: a worker that begins to hear between the two finds it, one that did before is signalled.
            self._handover.leave(number)
            if (worker := self.worker) is not None:
                worker.send(number)

    def kill(self) -> None:
        """Kill the worker; where it was dead before, or has not said who it is, kill the slot."""
        worker = self.worker
        untold = worker is None or worker.has_ended()
        self.send(signal.SIGKILL)
        if untold:
            self.slot.kill()

    def word(self) -> Any:  # noqa: ANN401 - a `SegmentEnd`, or the exception that the segment raised
        """What the worker said when it had ended; None if it died without a word."""
        return self._handover.word()

    def death(self) -> str:
        """How a worker died that said nothing; for one whose slot knows."""
        status = self.over.result()
        if os.WIFSIGNALED(status):
            return f"it was ended by {name_of(os.WTERMSIG(status))}"
        return f"it ended with exit code {os.waitstatus_to_exitcode(status)} and without a word"

    def end(self) -> None:
        """Prove slot and worker dead; raises `WorkerLostError` for what cannot be killed."""
        self.send(signal.SIGKILL)
        self.slot.end()
        if self._worker is not None:
            self._worker.end()

    def close(self) -> None:
        """Give back what was needed to talk with the worker; a second time does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._worker is not None:
                self._worker.close()
            self._handover.close()

    @property
    def worker(self) -> Worker | None:
        """The worker, as soon as it hears signals."""
        with self._lock:
            if self._closed or self._worker is not None:
                return self._worker
            if (identity := self._handover.who()) is not None:
                self._worker = Worker(identity)
            return self._worker
