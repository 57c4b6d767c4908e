"""The only loop: waits, feeds the machine, carries out its instructions.

    signals, ended segments, finished plans, time ──▶ Machine ──▶ start, cancel, plan, record

In: a root run, what executes segments, what plans fan-outs. Out: a `TreeResult`. The root has the
right to write a run's journal only between its segments; what it has to add while a worker holds
the journal waits until the worker is gone. A full disk stops the tree by the ladder.
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
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from tako.config.schema import Step
from tako.engine import happenings as h
from tako.engine import instructions as i
from tako.engine.journals import Journals
from tako.engine.limits import needs_of
from tako.engine.machine import WORKER_DEATHS_MAX, Machine
from tako.engine.resources import BOUNDLESS, Amounts
from tako.engine.results import child_finished, step_closed
from tako.engine.run_directory import make_directory
from tako.engine.segment import GRACE_S, RunSpec, Segment, SegmentEnd, Segments
from tako.engine.workflow_runner import WorkerLostError, WorkflowRunner
from tako.errors import DiskFullError, MachineError, NotFoundError, TakoError
from tako.journal.fold import RunState, fold
from tako.journal.log import read_records
from tako.journal.records import (
    CANCELLED,
    FAILED,
    SUCCEEDED,
    TIMED_OUT,
    ChildFinished,
    EventEmitted,
    FanOutPlanned,
    Noted,
    Record,
    RunFinished,
    RunSettled,
    StepFinished,
    StopRequested,
    WorkerDied,
)
from tako.system.removal import remove_tree
from tako.system.signals import STOPPING, SignalPipe, name_of
from tako.values import FrozenValue

if TYPE_CHECKING:
    # A run without fan-out never needs them.
    from concurrent.futures import ThreadPoolExecutor

    from tako.engine.child_runner_factory import ChildRunnerFactory
    from tako.engine.fanout import FanOutExecutor, FanOutPlan, PlannedChild
    from tako.engine.observer import Observer

_KILL_SLACK_S = 10.0
EXIT_TIMED_OUT = 124
_SIGNAL_BASE = 128


@frozen(eq=False, repr=False)
class TreeResult(FrozenValue):
    """How the whole execution tree ended."""

    status: str
    exit_code: int
    #: Of a bug or of the machine: what to tell.
    message: str = ""
    #: A second signal: nothing more was recorded, and nothing is to be reported.
    at_once: bool = False


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
    ) -> None:
        """`planner` and `factory` are called at the first fan-out."""
        self._root = root
        self._runner = runner
        self._make_planner = planner
        self._planner: FanOutExecutor | None = None
        self._make_factory = factory
        self._factory: ChildRunnerFactory | None = None
        self._segments = segments
        self._signals = signals
        self._observers = observers
        self._machine = Machine(runner.slots, capacity)
        self._specs: dict[str, RunSpec] = {root.run_id: root}
        self._journals = Journals(self._machine_fault)
        self._reached: dict[str, EventEmitted] = {}
        self._running: dict[str, Segment] = {}
        self._never_started: dict[str, str] = {}
        #: What the journals of finished children said, until they are reported to their parents.
        self._finished: dict[str, RunState] = {}
        self._kill_at: dict[str, float] = {}
        self._mail: deque[Callable[[], h.Happening | None]] = deque()
        self._planning: ThreadPoolExecutor | None = None
        self._stopped_by = 0
        self._fault = ""
        self._bug = ""
        self._result: TreeResult | None = None

    # --- the loop ---

    def run(self, first: tuple[Segment, Future[SegmentEnd]] | None = None) -> TreeResult:
        """Return when everything has settled; `first` is the root's first segment if it runs already."""
        new = _new_run(self._root)
        self._do(self._machine.handle(h.Began(new, time.monotonic(), running=first is not None)))
        if first is not None:
            self._journals.hand_over(self._root.paths)
            self._watch(*first)
        while self._result is None:
            self._wait()
            for happening in self._happenings():
                self._do(self._machine.handle(happening))
            self._journals.sync()
            for observer in self._observers:
                observer.turn()
        if self._planning:
            self._planning.shutdown(wait=not self._result.at_once, cancel_futures=True)
        return self._result

    def _wait(self) -> None:
        if self._mail:
            return
        now = time.monotonic()
        waits = [observer.interval_s for observer in self._observers if observer.interval_s and self._running]
        due = [
            moment for moment in (self._machine.next_deadline, *self._kill_at.values()) if moment is not None
        ]
        waits += [max(0.0, min(due) - now)] if due else []
        poll = select.poll()
        poll.register(self._signals.descriptor, select.POLLIN)
        poll.poll(min(waits) * 1000 if waits else None)

    def _happenings(self) -> list[h.Happening]:
        happenings: list[h.Happening] = []
        for number in self._signals.read():
            happenings += self._signalled(number)
        while self._mail:
            happening = self._mail.popleft()()
            happenings += [happening] if happening is not None else []
        now = time.monotonic()
        if self._machine.next_deadline is not None and self._machine.next_deadline <= now:
            happenings.append(h.TimePassed(now))
        for run_id in [run_id for run_id, moment in self._kill_at.items() if moment <= now]:
            del self._kill_at[run_id]
            self._runner.kill(run_id)
        return happenings

    def _post(self, letter: Callable[[], h.Happening | None]) -> None:
        """Have the loop call `letter`; may be called from any thread."""
        self._mail.append(letter)
        self._signals.wake()

    def _signalled(self, number: int) -> list[h.Happening]:
        if number == signal.SIGTSTP:
            self._runner.pause()
        elif number == signal.SIGCONT:
            self._runner.go_on()
        elif number in STOPPING and self._stopped_by:
            # The second one: no more records; whoever called us ends and collects all descendants.
            self._result = TreeResult(CANCELLED, _SIGNAL_BASE + self._stopped_by, at_once=True)
        elif number in STOPPING:
            self._stopped_by = number
            for observer in self._observers:
                observer.stopping(name_of(number))
            try:
                self._record(self._root.run_id, StopRequested(time.time(), name_of(number)))
            except DiskFullError as error:
                self._machine_fault(error)
            return [h.StopAsked()]
        return []

    # --- instructions ---

    def _do(self, instructions: Sequence[i.Instruction]) -> None:
        for instruction in instructions:
            try:
                self._carry_out(instruction)
            except DiskFullError as error:
                self._machine_fault(error)
        if self._machine.wanted_soon:
            self._runner.prepare(self._machine.wanted_soon)

    def _carry_out(self, instruction: i.Instruction) -> None:
        match instruction:
            case i.StartSegment():
                self._start(instruction)
            case i.CancelSegment(run_id, status):
                self._runner.cancel(run_id, timed_out=status == TIMED_OUT)
                self._kill_at[run_id] = time.monotonic() + GRACE_S + _KILL_SLACK_S
            case i.PlanFanOut(run_id, step):
                self._plan(run_id, step)
            case i.CloseFanOut():
                self._close_fan_out(instruction)
            case i.ReportChild():
                self._report_child(instruction)
            case i.FinishRun():
                self._finish_run(instruction)
            case i.SettleTree(status, late_failure):
                self._settle(status, late_failure=late_failure)

    def _start(self, order: i.StartSegment) -> None:
        spec = self._specs[order.run_id]
        try:
            make_directory(spec.paths)
            segment = self._segments.new(spec, order.number, order.attempt)
        except MachineError as error:
            message = str(error)
            self._fault = self._fault or message
            self._never_started[order.run_id] = message
            self._post(lambda: self._not_started(order.run_id))
            return
        self._journals.hand_over(spec.paths)
        self._watch(segment, self._runner.submit(segment))

    def _not_started(self, run_id: str) -> h.Happening:
        return h.SegmentEnded(run_id, status=FAILED, machine_fault=True)

    def _watch(self, segment: Segment, future: Future[SegmentEnd]) -> None:
        self._running[segment.run.run_id] = segment
        for observer in self._observers:
            observer.segment_started(segment.run)
        future.add_done_callback(lambda done: self._post(partial(self._segment_over, segment, done)))

    def _segment_over(self, segment: Segment, future: Future[SegmentEnd]) -> h.Happening | None:
        """Read from the journal how the segment ended; the future only says that it did."""
        spec = segment.run
        del self._running[spec.run_id]
        self._journals.worker_gone(spec.paths)
        self._kill_at.pop(spec.run_id, None)
        remove_tree(Path(segment.temporary))
        try:
            state = self._state_after(spec)
            happening = self._read_end(spec, segment, state, future)
        except (TakoError, OSError) as error:
            self._fault = self._fault or str(error)
            happening = h.SegmentEnded(spec.run_id, status=FAILED, machine_fault=True)
        for observer in self._observers:
            observer.segment_ended(spec)
        return happening

    def _state_after(self, spec: RunSpec) -> RunState:
        """The run's state after its worker; who only reads that it is finished needs no right to write."""
        if spec.parent_run_id and not self._journals.waits_for(spec.paths):
            with suppress(NotFoundError):
                state = fold(read_records(spec.paths.journal))
                if state.finished is not None:
                    self._finished[spec.run_id] = state
                    return state
        return self._journals.take_back(spec.paths)

    def _read_end(
        self, spec: RunSpec, segment: Segment, state: RunState, future: Future[SegmentEnd]
    ) -> h.Happening:
        error = future.exception()
        fault = error is None and future.result().machine_fault
        if fault:
            self._fault = self._fault or future.result().message
        if state.finished is not None:
            return h.SegmentEnded(spec.run_id, status=state.finished.status, machine_fault=fault)
        reached = [step for step, fan_out in state.fan_outs.items() if state.step(step).finished is None]
        if reached:
            self._reached[spec.run_id] = state.fan_outs[reached[0]].emitted
            return h.SegmentEnded(spec.run_id, step=reached[0])
        message = str(error) if error else "the worker ended without an end of the run in its journal"
        if isinstance(error, WorkerLostError):
            self._record(spec.run_id, WorkerDied(time.time(), segment.attempt, message))
            for observer in self._observers:
                observer.worker_lost(spec, message)
            return h.WorkerLost(spec.run_id)
        told = f"{spec.repository} {spec.run_id}: {type(error).__name__}: {message}"
        if isinstance(error, TakoError):
            self._fault = self._fault or told
        else:
            self._bug = self._bug or told
        self._record(spec.run_id, RunFinished(time.time(), FAILED, message=message, error_kind="worker_died"))
        return h.SegmentEnded(spec.run_id, status=FAILED, machine_fault=True)

    # --- fan-outs ---

    def _plan(self, run_id: str, step: str) -> None:
        """Plan in a thread: reading repositories must not keep the loop from signals and deadlines."""
        from concurrent.futures import ThreadPoolExecutor

        self._planning = self._planning or ThreadPoolExecutor(1, thread_name_prefix="planning")
        self._planner = self._planner or self._make_planner()
        plan = self._planning.submit(self._planner.plan, self._specs[run_id], self._reached[run_id])
        plan.add_done_callback(lambda done: self._post(partial(self._planned, run_id, step, done)))

    def _planned(self, run_id: str, step: str, done: Future[FanOutPlan]) -> h.Happening:
        spec, emitted = self._specs[run_id], self._reached[run_id]
        error = done.exception()
        if error is not None:
            return self._not_planned(spec, step, error)
        plan = done.result()
        try:
            self._record_plan(spec, emitted, plan)
        except DiskFullError as full:
            return self._not_planned(spec, step, full)
        for observer in self._observers:
            observer.planned(spec, step, plan)
        return h.FanOutPlanned(
            run_id=run_id,
            step=step,
            children=tuple(self._adopt(spec, emitted, child) for child in plan.children),
            now=time.monotonic(),
            wait=emitted.wait_for_children,
            timeout_s=emitted.timeout_s,
            limit=emitted.concurrency_limit,
            on_child_failure=emitted.on_child_failure,
        )

    def _not_planned(self, spec: RunSpec, step: str, error: BaseException) -> h.Happening:
        if isinstance(error, DiskFullError):
            self._machine_fault(error)
            # At once: not even the run's next segment may start.
            self._do(self._machine.handle(h.StopAsked()))
        elif not isinstance(error, TakoError):
            self._bug = self._bug or f"{type(error).__name__}: {error}"
        tolerated = _step_of(spec, step).continue_on_error
        finished = StepFinished(time.time(), step, 1, FAILED, message=str(error), tolerated=tolerated)
        with suppress(DiskFullError):
            self._record(spec.run_id, finished, final=True)
        return h.FanOutFailed(spec.run_id, step)

    def _adopt(self, spec: RunSpec, emitted: EventEmitted, child: PlannedChild) -> h.NewRun:
        if child.error is not None:
            return h.NewRun(child.record.run_id, "", failed=True)
        self._factory = self._factory or self._make_factory()
        made = self._factory.spec(spec, emitted, child)
        self._specs[made.run_id] = made
        return _new_run(made)

    def _record_plan(self, spec: RunSpec, emitted: EventEmitted, plan: FanOutPlan) -> None:
        now = time.time()
        for warning in plan.warnings:
            self._record(spec.run_id, Noted(now, warning, emitted.step))
        for filtered in plan.filtered:
            self._record(spec.run_id, filtered)
        for child in plan.children:
            self._record(spec.run_id, child.record)
            if child.error is not None:
                ended = ChildFinished(now, emitted.step, child.record.run_id, FAILED, error=child.error)
                self._record(spec.run_id, ended)
        planned = FanOutPlanned(now, emitted.step, plan.found, len(plan.children))
        self._record(spec.run_id, planned)

    def _close_fan_out(self, order: i.CloseFanOut) -> None:
        spec = self._specs[order.run_id]
        emitted = self._reached.pop(order.run_id)
        step = _step_of(spec, order.step)
        record = step_closed(emitted, order.status, order.tally, step, now=time.time())
        self._record(order.run_id, record)

    def _report_child(self, order: i.ReportChild) -> None:
        spec = self._specs.pop(order.run_id)
        self._journals.close(spec.paths)
        reason = self._never_started.pop(order.run_id, "")
        state = self._finished.pop(order.run_id, None)
        record = child_finished(spec, order.step, order.status, reason, state, now=time.time())
        self._record(order.parent, record)

    # --- ends ---

    def _finish_run(self, order: i.FinishRun) -> None:
        spec = self._specs[order.run_id]
        if not spec.directory.exists():
            self._never_started[order.run_id] = "it had not started yet"
            return
        kind = order.kind if order.kind not in (CANCELLED, TIMED_OUT) else ""
        message = {
            "worker_died": f"its worker died {WORKER_DEATHS_MAX} times",
            CANCELLED: "the run was stopped",
            TIMED_OUT: "ended by a timeout of its workflow or fan-out",
        }[order.kind]
        self._record(
            order.run_id,
            RunFinished(time.time(), order.status, message=message, error_kind=kind),
            final=True,
        )

    def _settle(self, status: str, *, late_failure: bool) -> None:
        code, message = self._exit_code(status, late_failure=late_failure)
        try:
            self._record(self._root.run_id, RunSettled(time.time(), status, code), final=True)
            self._journals.sync()
        except MachineError as error:
            # Nothing can be written any more: only the exit code and the message can tell.
            self._fault = self._fault or error.message
            code, message = self._exit_code(status, late_failure=late_failure)
        finally:
            self._journals.close(self._root.paths)
        self._result = TreeResult(status, code, message)

    def _exit_code(self, status: str, *, late_failure: bool) -> tuple[int, str]:
        if self._bug:
            return 3, self._bug
        if self._stopped_by:
            return _SIGNAL_BASE + self._stopped_by, f"stopped by {name_of(self._stopped_by)}"
        if self._fault:
            return MachineError.exit_code, self._fault
        if status == TIMED_OUT:
            return EXIT_TIMED_OUT, ""
        return (1 if late_failure or status != SUCCEEDED else 0), ""

    def _machine_fault(self, error: DiskFullError) -> None:
        if not self._fault:
            self._fault = error.message
            self._post(h.StopAsked)

    def _record(self, run_id: str, record: Record, *, final: bool = False) -> None:
        self._journals.record(self._specs[run_id].paths, record, final=final)


def _new_run(spec: RunSpec) -> h.NewRun:
    turn = "" if spec.workflow.parallel else spec.repository.lower()
    return h.NewRun(spec.run_id, turn, spec.workflow.timeout_s, needs=needs_of(spec.workflow))


def _step_of(spec: RunSpec, step_id: str) -> Step:
    return next(step for step in spec.workflow.steps if step.id == step_id)


def raise_open_files() -> None:
    """Let the root hold a journal for each waiting run: the soft limit of open files becomes the hard one."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 20), hard))
