"""Cells: one process for one segment.

    root ── Cell ── ProcessPoolExecutor(max_workers=1, forkserver) ── worker
    root ── ForkedCell ── worker, forked while the root still had one thread

A pool for each segment, never a shared one: in a shared pool one killed worker breaks every
sibling (`BrokenProcessPool`). A broken cell proves nothing, because a dead forkserver breaks cells
whose workers live: `end` kills through a pidfd and waits until the worker is gone.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.context import BaseContext

from tako.engine.segment import Segment, SegmentEnd
from tako.engine.worker import become_worker, run_segment
from tako.engine.workflow_runner import WorkerLostError
from tako.system.identity import Identity, identity_of, open_pidfd, own_identity, send
from tako.system.processes import wait_for_exit

_GONE_WITHIN_S = 30.0
_SAID_WITHIN_S = 30.0


class Worker:
    """The process behind a cell, reached only through its pidfd."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._pidfd = open_pidfd(identity)
        self._lock = threading.Lock()

    def send(self, number: int) -> None:
        """Signal the worker; one that is gone is no error."""
        with self._lock:
            if self._pidfd is not None:
                send(self._pidfd, number)

    def end(self) -> None:
        """Kill the worker and return when it is gone.

        Raises `WorkerLostError` if it is in uninterruptible sleep for longer than half a minute.
        """
        self.send(signal.SIGKILL)
        if self._pidfd is not None and not wait_for_exit(self._pidfd, _GONE_WITHIN_S):
            message = f"process {self.identity.pid} cannot be killed"
            raise WorkerLostError(message)

    def close(self) -> None:
        """Give back the pidfd."""
        with self._lock:
            if self._pidfd is not None:
                os.close(self._pidfd)
                self._pidfd = None


class Cell:
    """A one-worker pool, made ahead of need."""

    def __init__(self, context: BaseContext) -> None:
        """Start the worker; blocks for some milliseconds. Raises `OSError` or `EOFError` without forkserver."""
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=become_worker)
        self._hello = self._pool.submit(own_identity)
        self.worker: Worker | None = None

    def submit(self, segment: Segment) -> Future[SegmentEnd]:
        """Run the segment; the future fails with `BrokenProcessPool` when the cell broke."""
        self.worker = Worker(self._hello.result(timeout=_SAID_WITHIN_S))
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


class ForkedCell:
    """The root run's first segment: forked at once, so that its step does not wait for a forkserver."""

    def __init__(self, segment: Segment) -> None:
        """Fork and run; the calling process must have one thread and be the run's owner."""
        listen, say = os.pipe2(os.O_CLOEXEC)
        watch, self._alive = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            os.close(listen)
            os.close(self._alive)
            _work(segment, watch, say)
        os.close(say)
        os.close(watch)
        self._listen = listen
        self._pid = pid
        identity = identity_of(pid)
        assert identity is not None
        self.worker: Worker = Worker(identity)

    def wait(self) -> SegmentEnd:
        """Give what the worker said; raises `WorkerLostError` if it died without a word."""
        with open(self._listen, "rb") as file:
            said = file.read()
        os.waitpid(self._pid, 0)
        os.close(self._alive)
        if not said:
            message = "the worker of the root run died"
            raise WorkerLostError(message)
        end: SegmentEnd = pickle.loads(said)  # noqa: S301 - written by our own child process
        return end

    def end(self) -> None:
        """The worker was collected by `wait`; nothing is left to prove."""

    def close(self) -> None:
        """Give back the pidfd."""
        self.worker.close()


def _work(segment: Segment, watch: int, say: int) -> None:
    code = 1
    with suppress(Exception):  # the root tells the death of this process by the missing word
        become_worker(watch)
        data = pickle.dumps(run_segment(segment))
        with open(say, "wb") as file:
            file.write(data)
        code = 0
    os._exit(code)
