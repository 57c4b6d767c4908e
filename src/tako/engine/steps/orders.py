"""What the root asks of a worker while a step runs, as the worker's loop reads it."""

from __future__ import annotations

import select
import signal
import time

from tako.journal.statuses import CANCELLED, TIMED_OUT
from tako.system.process.signals import SignalPipe

#: A timeout above the step has passed; the run is cancelled. Neither is SIGTERM: a pool sends that to the
#: process of each slot that broke, also when only the forkserver died: it must end the worker, not the run.
ORDER_TIMED_OUT, ORDER_CANCELLED = signal.SIGUSR1, signal.SIGUSR2
#: The disk fills up, and this run holds most of it.
ORDER_MAKE_ROOM = signal.SIGRTMIN
#: What `Orders.stop` says then: no status of a run, which has failed.
MAKE_ROOM = "min_free"
_STATUS_OF = {ORDER_TIMED_OUT: TIMED_OUT, ORDER_CANCELLED: CANCELLED, ORDER_MAKE_ROOM: MAKE_ROOM}
_PAUSING = {signal.SIGTSTP: signal.SIGSTOP, signal.SIGCONT: signal.SIGCONT}


class Orders:
    """The signals of a worker, turned into two questions: how to end, whether to pause."""

    def __init__(self) -> None:
        self._pipe = SignalPipe((*_STATUS_OF, *_PAUSING))
        self.descriptor = self._pipe.descriptor
        #: The status with which everything is to end, or `MAKE_ROOM`; empty as long as nothing was asked.
        self.stop = ""

    def read(self) -> list[int]:
        """Take in what came; give the signals to pass on to the step (SIGSTOP, SIGCONT)."""
        passed_on = []
        for number in self._pipe.read():
            if number in _STATUS_OF:
                self.stop = self.stop or _STATUS_OF[signal.Signals(number)]
            elif number in _PAUSING:
                passed_on.append(int(_PAUSING[signal.Signals(number)]))
        return passed_on

    def wait(self, seconds: float) -> None:
        """Return after so long, or as soon as the end is asked for."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        while not self.stop and (left := deadline - time.monotonic()) > 0:
            if poll.poll(left * 1000):
                self.read()

    def close(self) -> None:
        """Stop listening."""
        self._pipe.close()
