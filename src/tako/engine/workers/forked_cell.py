"""The worker of the root run's first segment, and what every worker is to the root.

    root ── ForkedCell ── worker, forked before anything else is imported

The worker loads what it needs while the root reads the configuration: the first step waits for the
slower of the two, not for their sum, and not for a forkserver.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from tako.engine.workers.workflow_runner import WorkerLostError
from tako.errors import BugError
from tako.system import crash_points
from tako.system.process.descendants import wait_for_exit
from tako.system.process.identity import Identity, identity_of, open_pidfd, send

if TYPE_CHECKING:
    from tako.engine.run.spec import Segment, SegmentEnd

_GONE_WITHIN_S = 30.0


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

    def has_ended(self) -> bool:
        """Whether it is gone."""
        with self._lock:
            return self._pidfd is None or wait_for_exit(self._pidfd, 0)

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


class ForkedCell:
    """A worker made by fork; takes one segment."""

    def __init__(self) -> None:
        """Fork; the calling process must have one thread."""
        hear, self._tell = os.pipe2(os.O_CLOEXEC)
        self._listen, say = os.pipe2(os.O_CLOEXEC)
        watch, self._alive = os.pipe2(os.O_CLOEXEC)
        crash_points.before("start", "worker")
        self._pid = os.fork()
        if self._pid == 0:
            for descriptor in (self._tell, self._listen, self._alive):
                os.close(descriptor)
            _work(hear, watch, say)
        for descriptor in (hear, watch, say):
            os.close(descriptor)
        crash_points.after("start", "worker")
        identity = identity_of(self._pid)
        if identity is None:
            message = "the worker of the root run vanished"
            raise BugError(message)
        self.worker: Worker = Worker(identity)

    def pids(self) -> list[int]:
        """The worker's pid."""
        return [self.worker.identity.pid]

    def send(self, number: int) -> None:
        """Signal the worker."""
        self.worker.send(number)

    def kill(self) -> None:
        """Kill the worker."""
        self.worker.send(signal.SIGKILL)

    def start(self, segment: Segment) -> None:
        """Give the worker its segment; one that has died is told by `wait`."""
        with suppress(BrokenPipeError), os.fdopen(self._tell, "wb") as file:
            pickle.dump(segment.run.veils if segment.run.in_namespaces else None, file)
            pickle.dump(segment, file)

    def wait(self) -> SegmentEnd:
        """Give what the worker said, or raise it; `WorkerLostError` if it died without a word."""
        with os.fdopen(self._listen, "rb") as file:
            said = file.read()
        os.waitpid(self._pid, 0)
        os.close(self._alive)
        if not said:
            message = "the worker of the root run died"
            raise WorkerLostError(message)
        word: SegmentEnd | Exception = pickle.loads(said)  # noqa: S301 - written by our own child process
        if isinstance(word, Exception):
            raise word
        return word

    def discard(self) -> None:
        """Let a worker go that gets no segment."""
        os.close(self._tell)
        with suppress(WorkerLostError):
            self.wait()
        self.close()

    def end(self) -> None:
        """The worker was collected by `wait`; nothing is left to prove."""

    def close(self) -> None:
        """Give back the pidfd."""
        self.worker.close()


def _work(hear: int, watch: int, say: int) -> None:
    code = 1
    # The root tells the death of this process by the missing word.
    with suppress(Exception):
        from tako.engine.workers.worker import become_worker, enter_namespaces, run_segment

        become_worker(watch)
        with os.fdopen(hear, "rb") as file:
            veils = pickle.load(file)  # noqa: S301 - written by our own parent process
            if veils is not None:
                enter_namespaces(veils)
            segment = pickle.load(file)  # noqa: S301 - written by our own parent process
        with os.fdopen(say, "wb") as file:
            file.write(_word(lambda: run_segment(segment)))
        code = 0
    os._exit(code)


def _word(run: Callable[[], SegmentEnd]) -> bytes:
    """What the worker says: how the segment ended, or the exception that it raised."""
    try:
        return pickle.dumps(run())
    except Exception as error:  # noqa: BLE001 - raised again in the root, as a pool does
        return pickle.dumps(error)
