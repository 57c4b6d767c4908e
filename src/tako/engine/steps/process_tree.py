"""Runs one step's process tree to its end: reads its streams, keeps its timeout, climbs the ladder.

    running ──timeout, order or full disk──▶ SIGTERM to the group ──grace──▶ SIGKILL
       └── the step's first process ends ──▶ everything left is killed, what was written is read

In: a started process, its streams, the orders. Out: `Ended`. The worker is a subreaper, so that
nothing the step started outlives it, whatever session it moved to.
"""

from __future__ import annotations

import os
import select
import signal
import time

from tako.engine.steps.orders import MAKE_ROOM, Orders
from tako.engine.steps.stream import Log, Stream
from tako.journal.parts import Usage
from tako.journal.statuses import CANCELLED, TIMED_OUT
from tako.sandbox.started import Started
from tako.sandbox.watchdog import Breach, Watchdog
from tako.system.accounting.usage import children_cpu_s, oom_kills
from tako.system.process.descendants import collect_orphans, end_descendants
from tako.values import value

_TICK_S = 5.0
_READS_IN_A_ROW = 16


@value
class Ended:
    """How the step's first process ended: `code` is negative for a signal; `stopped` says why we ended it."""

    code: int
    stopped: str
    usage: Usage
    #: Whether the root asked for the end, not the step's own timeout.
    ordered: bool = False
    #: Pids that could not be killed (uninterruptible sleep).
    left: tuple[int, ...] = ()
    #: The limit of the step's tree that was passed, for which everything was killed.
    breach: Breach | None = None
    #: The kernel killed something on this machine for memory meanwhile: of the step, if that was killed.
    oom_kill: bool = False


class ProcessTree:
    """One running step."""

    def __init__(
        self,
        started: Started,
        streams: tuple[Stream, ...],
        log: Log,
        orders: Orders,
        *,
        timeout_s: float | None,
        grace_s: float,
        watchdog: Watchdog,
    ) -> None:
        self._started = started
        self._process = started.process
        self._streams = streams
        self._log = log
        self._orders = orders
        self._grace_s = grace_s
        self._deadline = time.monotonic() + timeout_s if timeout_s is not None else None
        self._stopped = ""
        self._watchdog = watchdog
        self._breach: Breach | None = None
        self._cpu_before_s = children_cpu_s()
        self._oom_kills_before = oom_kills()

    def run(self) -> Ended:
        """Return when the step and all it started are gone and their output is in the log."""
        pidfd = os.pidfd_open(self._process.pid)
        poll = select.poll()
        for descriptor in (pidfd, self._orders.descriptor, *(s.descriptor for s in self._streams)):
            poll.register(descriptor, select.POLLIN)
        self._obey()
        while not (ready := self._wait(poll)) & {pidfd}:
            self._read(poll, ready)
            if self._orders.descriptor in ready:
                self._obey()
            self._watch_time()
            self._watch_use()
            collect_orphans(but_not=self._process.pid)
        os.close(pidfd)
        return self._finish()

    def _wait(self, poll: select.poll) -> set[int]:
        wait_s = min(_TICK_S, self._watchdog.wait_s)
        if self._deadline is not None:
            wait_s = min(wait_s, max(0.0, self._deadline - time.monotonic()))
        return {descriptor for descriptor, _ in poll.poll(wait_s * 1000)}

    def _read(self, poll: select.poll, ready: set[int]) -> None:
        for stream in self._streams:
            if stream.descriptor in ready:
                for _ in range(_READS_IN_A_ROW):
                    if not stream.read():
                        break
                if not stream.open:
                    poll.unregister(stream.descriptor)
        if self._log.failure and not self._stopped:
            self._stop(CANCELLED)

    def _obey(self) -> None:
        for number in self._orders.read():
            self._started.signal(number)
        if self._orders.stop and not self._stopped:
            self._stop(self._orders.stop)
            if self._orders.stop == MAKE_ROOM:
                # A grace would let it go on filling the disk.
                self._deadline = None
                self._started.signal(signal.SIGKILL)

    def _watch_time(self) -> None:
        if self._deadline is None or time.monotonic() < self._deadline:
            return
        if self._stopped:
            self._deadline = None
            self._started.signal(signal.SIGKILL)
        else:
            self._stop(TIMED_OUT)

    def _watch_use(self) -> None:
        """End at once what uses too much: a grace would let it go on."""
        if self._breach is None:
            self._breach = self._watchdog.look()
            if self._breach is not None:
                self._started.signal(signal.SIGKILL)

    def _stop(self, why: str) -> None:
        self._stopped = why
        self._deadline = time.monotonic() + self._grace_s
        self._started.signal(signal.SIGTERM)
        # A stopped process would take SIGTERM only after it was continued (signal(7)).
        self._started.signal(signal.SIGCONT)

    def _finish(self) -> Ended:
        _, status, used = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if status and self._breach is None:
            self._breach = self._watchdog.look_at_what_is_left()
        left = end_descendants()
        for stream in self._streams:
            stream.drain()
            os.close(stream.descriptor)
        self._breach = self._breach or self._watchdog.last_look()
        peaks = self._watchdog.peaks
        usage = Usage(
            cpu_s=round(children_cpu_s() - self._cpu_before_s, 3),
            max_rss=used.ru_maxrss * 1024,
            memory=peaks.memory,
            tasks=peaks.tasks,
            disk=peaks.disk,
        )
        return Ended(
            self._process.returncode,
            self._stopped,
            usage,
            bool(self._orders.stop),
            tuple(left),
            self._breach,
            oom_kills() > self._oom_kills_before,
        )
