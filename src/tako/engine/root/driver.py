"""The only loop: waits, feeds the machine, carries out its instructions.

    signals, ended segments, finished plans, time ──▶ Machine ──▶ start, cancel, plan, record

In: a root run, what executes segments, what plans fan-outs. Out: a `TreeResult`. The root has the
right to write a run's journal only between its segments; what it has to add while a worker holds
the journal waits until the worker is gone. When the disk fills up, the greediest run makes room and nothing
starts; where the root itself finds none, the tree stops by the ladder.
"""

from __future__ import annotations

import select
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from tako.engine.resume.resumer import Resumer, Resumption
from tako.engine.root.chores import Chores
from tako.engine.root.disk_watch import KILL_SLACK_S, DiskWatch
from tako.engine.root.fan_outs import Planning
from tako.engine.root.results import child_finished
from tako.engine.root.segment_ends import SegmentEnds, run_ended
from tako.engine.root.tree_result import TreeResult, Troubles
from tako.engine.run.registry import Tree
from tako.engine.run.run_directory import make_directory
from tako.engine.run.spec import GRACE_S, RunSpec, Segment, SegmentEnd, Segments
from tako.engine.scheduler import instructions as i
from tako.engine.scheduler import stimuli as h
from tako.engine.scheduler.machine import WORKER_DEATHS_MAX, Machine
from tako.engine.scheduler.resources import BOUNDLESS, Amounts
from tako.engine.workers.workflow_runner import WorkflowRunner
from tako.errors import MachineError, TakoError, WriteFailedError
from tako.journal.fold import fold
from tako.journal.log import read_records
from tako.journal.records import RunSettled, StopRequested
from tako.journal.run_state import RunState
from tako.journal.statuses import CANCELLED, FAILED, TIMED_OUT, FailureKind
from tako.journal.stored import StoredValueError
from tako.repositories.caveats import Caveat, Caveats
from tako.system import clock
from tako.system.process.signals import STOPPING, SignalPipe, name_of
from tako.system.storage.faults import fault_of, words_of

if TYPE_CHECKING:
    # A run without fan-out never needs them.
    from tako.engine.fan_out.child_runner_factory import ChildRunnerFactory
    from tako.engine.fan_out.fan_out_executor import FanOutExecutor
    from tako.engine.root.observer import Observer
    from tako.engine.root.reserve import Reserve


class Driver:
    """Drives one execution tree to its end."""

    def __init__(  # noqa: PLR0913 - all that a tree is wired to
        self,
        root: RunSpec,
        runner: WorkflowRunner,
        *,
        planner: Callable[[], FanOutExecutor],
        factory: Callable[[], ChildRunnerFactory],
        segments: Segments,
        signals: SignalPipe,
        observers: Sequence[Observer] = (),
        capacity: Amounts = BOUNDLESS,
        resumption: Resumption | None = None,
        caveats: Caveats | None = None,
        reserve: Reserve | None = None,
    ) -> None:
        """`planner` and `factory` are called at the first fan-out."""
        self._root = root
        self._runner = runner
        self._segments = segments
        self._signals = signals
        self._observers = observers
        self._machine = Machine(runner.slots, capacity)
        self._tree = Tree(root, self._machine_fault)
        self._journals = self._tree.journals
        self._troubles = Troubles()
        self._chores = Chores(self._post)
        self._disk = DiskWatch(reserve, self._tree, runner, troubles=self._troubles, chores=self._chores)
        self._resumer = Resumer(self._tree, resumption, on_caveat=self._tell_caveat)
        self._planning = Planning(
            self._tree,
            self._resumer,
            planner=planner,
            factory=factory,
            observers=observers,
            post=self._post,
            on_error=self._not_planned,
            caveats=caveats or Caveats(),
        )
        self._ends = SegmentEnds(
            self._tree,
            troubles=self._troubles,
            chores=self._chores,
            observers=observers,
            on_fan_out=self._planning.reached,
        )
        self._mail: deque[Callable[[], h.Stimulus | None]] = deque()
        self._result: TreeResult | None = None

    # --- the loop ---

    def run(self, first: tuple[Segment, Future[SegmentEnd]] | None = None) -> TreeResult:
        """Return when everything has settled; `first` is the root's first segment if it runs already.

        Raises `TakoError` if a root run that is to be taken up cannot be.
        """
        new, state = self._resumer.enter(self._root)
        if state is not None:
            self._planning.stand(self._root, new, state)
        self._do(self._machine.handle(h.Began(new, time.monotonic(), running=first is not None)))
        if first is not None:
            self._journals.hand_over(self._root.paths)
            self._watch(*first)
        self._warn()
        while self._result is None:
            self._wait()
            for stimulus in self._stimuli():
                self._do(self._machine.handle(stimulus, time.monotonic()))
            self._sync()
            for observer in self._observers:
                observer.turn()
        self._planning.close(at_once=self._result.at_once)
        self._chores.close(at_once=self._result.at_once)
        return self._result

    def _tell_caveat(self, spec: RunSpec, caveat: Caveat) -> None:
        for observer in self._observers:
            observer.warned(spec, "", caveat)

    def _warn(self) -> None:
        """Of what was found before the run had a journal."""
        try:
            self._planning.warn(self._root)
        except WriteFailedError as error:
            self._machine_fault(error)

    def _sync(self) -> None:
        try:
            self._journals.sync()
        except WriteFailedError as error:
            self._machine_fault(error)

    def _wait(self) -> None:
        if self._mail:
            return
        now = time.monotonic()
        working = self._tree.working
        waits = [observer.interval_s for observer in self._observers if observer.interval_s and working]
        moments = (self._machine.next_deadline, *(run.kill_at for run in working.values()))
        due = [moment for moment in moments if moment is not None]
        waits += [max(0.0, min(due) - now)] if due else []
        if (disk_wait_s := self._disk.wait_s) is not None:
            waits.append(disk_wait_s)
        poll = select.poll()
        poll.register(self._signals.descriptor, select.POLLIN)
        poll.poll(min(waits) * 1000 if waits else None)

    def _stimuli(self) -> list[h.Stimulus]:
        # First: what ends now may not let another start on a full disk.
        stimuli: list[h.Stimulus] = self._disk.look(self._machine.wanted_soon)
        for number in self._signals.read():
            stimuli += self._signalled(number)
        while self._mail:
            stimulus = self._mail.popleft()()
            stimuli += [stimulus] if stimulus is not None else []
        now = time.monotonic()
        if self._machine.next_deadline is not None and self._machine.next_deadline <= now:
            stimuli.append(h.TimePassed(now))
        for run_id, run in self._tree.working.items():
            if run.kill_at is not None and run.kill_at <= now:
                # Until it is gone: what is to tell of its end may stand still too.
                run.kill_at = now + KILL_SLACK_S
                self._runner.kill(run_id)
        return stimuli

    def _post(self, letter: Callable[[], h.Stimulus | None]) -> None:
        """Have the loop call `letter`; may be called from any thread."""
        self._mail.append(letter)
        self._signals.wake()

    def _signalled(self, number: int) -> list[h.Stimulus]:
        if number == signal.SIGTSTP:
            self._runner.pause()
        elif number == signal.SIGCONT:
            self._runner.go_on()
        elif number in STOPPING and self._troubles.stopped_by:
            # The second one: no more records; whoever called us ends and collects all descendants.
            self._result = self._troubles.result_at_once()
        elif number in STOPPING:
            self._troubles.stopped_by = number
            for observer in self._observers:
                observer.stopping(name_of(number))
            try:
                self._tree.record(self._root.run_id, StopRequested(clock.now(), name_of(number)))
            except WriteFailedError as error:
                self._machine_fault(error)
            return [h.StopAsked()]
        return []

    # --- instructions ---

    def _do(self, instructions: Sequence[i.Instruction]) -> None:
        for instruction in instructions:
            try:
                self._carry_out(instruction)
            except WriteFailedError as error:
                self._machine_fault(error)
        if self._machine.wanted_soon:
            self._runner.prepare(self._machine.wanted_soon)

    def _carry_out(self, instruction: i.Instruction) -> None:
        match instruction:
            case i.StartSegment():
                self._start(instruction)
            case i.CancelSegment(run_id, status):
                self._runner.cancel(run_id, timed_out=status == TIMED_OUT)
                self._tree.runs[run_id].kill_at = time.monotonic() + GRACE_S + KILL_SLACK_S
            case i.PlanFanOut():
                self._planning.plan(instruction)
            case i.StopPlanning():
                self._planning.stop(instruction)
            case i.CloseFanOut():
                self._planning.close_fan_out(instruction)
            case i.ReportChild():
                self._report_child(instruction)
            case i.FinishRun():
                self._finish_run(instruction)
            case i.SettleTree(status, late_failure):
                self._settle(status, late_failure=late_failure)

    def _start(self, order: i.StartSegment) -> None:
        run = self._tree.runs[order.run_id]
        spec = run.spec
        try:
            make_directory(spec.paths)
            segment = self._segments.new(spec, order.number, order.attempt)
            self._journals.hand_over(spec.paths)
        except MachineError as error:
            run.reason = str(error)
            self._troubles.add_fault(run.reason)
            self._post(lambda: self._not_started(order.run_id))
            return
        self._watch(segment, self._runner.submit(segment))

    def _not_started(self, run_id: str) -> h.Stimulus:
        return h.SegmentEnded(run_id, status=FAILED, machine_fault=True)

    def _watch(self, segment: Segment, future: Future[SegmentEnd]) -> None:
        self._tree.worker_started(segment)
        for observer in self._observers:
            observer.segment_started(segment.run)
        future.add_done_callback(lambda done: self._post(partial(self._ends.read, segment, done)))

    def _not_planned(self, error: BaseException) -> None:
        """Take in why a fan-out could not be planned, if that is more than its step's failure."""
        if isinstance(error, WriteFailedError):
            self._machine_fault(error)
            # At once: not even the run's next segment may start.
            self._do(self._machine.handle(h.StopAsked()))
        elif isinstance(error, StoredValueError):
            self._troubles.add_fault(error.message)
        elif fault := fault_of(error):
            self._troubles.add_fault(words_of(fault))
        elif not isinstance(error, TakoError):
            self._troubles.add_bug(f"{type(error).__name__}: {error}")

    def _report_child(self, order: i.ReportChild) -> None:
        run = self._tree.runs.pop(order.run_id)
        try:
            self._journals.close(run.spec.paths)
        except WriteFailedError as error:
            self._machine_fault(error)
        record = child_finished(run.spec, order.step, order.status, run.reason, run.ended, now=clock.now())
        self._tree.record(order.parent, record)

    # --- ends ---

    def _finish_run(self, order: i.FinishRun) -> None:
        run = self._tree.runs[order.run_id]
        if not run.spec.directory.exists():
            run.reason = "it had not started yet"
            return
        kind = order.kind if order.kind not in (CANCELLED, TIMED_OUT) else ""
        messages: dict[str, str] = {
            FailureKind.WORKER_DIED: f"its worker died {WORKER_DEATHS_MAX} times",
            CANCELLED: "the run was stopped",
            TIMED_OUT: "ended by a timeout of its workflow or fan-out",
        }
        state = RunState()
        # It has to end, also if it never began or its journal was damaged meanwhile.
        with suppress(TakoError):
            state = fold(read_records(run.spec.paths.journal))
        self._tree.record(
            order.run_id, run_ended(state, order.status, messages[order.kind], kind), final=True
        )

    def _settle(self, status: str, *, late_failure: bool) -> None:
        result = self._troubles.result(status, late_failure=late_failure)
        try:
            try:
                settled = RunSettled(clock.now(), status, result.exit_code)
                self._tree.record(self._root.run_id, settled, final=True)
                self._journals.sync()
            finally:
                self._journals.close(self._root.paths)
        except MachineError as error:
            # Nothing can be written any more: only the exit code and the message can tell.
            self._troubles.add_fault(error.message)
            result = self._troubles.result(status, late_failure=late_failure)
        self._result = result

    def _machine_fault(self, error: WriteFailedError) -> None:
        if not self._troubles.fault:
            self._troubles.fault = error.message
            self._post(h.StopAsked)
