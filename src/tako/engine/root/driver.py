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
from pathlib import Path
from typing import TYPE_CHECKING

from tako.engine.resume.resumer import Resumer, Resumption
from tako.engine.root.fan_outs import Planning
from tako.engine.root.results import child_finished
from tako.engine.run.registry import Tree
from tako.engine.run.run_directory import make_directory
from tako.engine.run.spec import GRACE_S, RunSpec, Segment, SegmentEnd, Segments
from tako.engine.scheduler import instructions as i
from tako.engine.scheduler import stimuli as h
from tako.engine.scheduler.machine import WORKER_DEATHS_MAX, Machine
from tako.engine.scheduler.resources import BOUNDLESS, Amounts
from tako.engine.steps.workspace import dispose, make_room
from tako.engine.workers.workflow_runner import WorkerLostError, WorkflowRunner
from tako.errors import MachineError, NotFoundError, TakoError, WriteFailedError
from tako.journal.fold import fold
from tako.journal.log import read_records
from tako.journal.records import Record, RunFinished, RunSettled, StepFinished, StopRequested, WorkerDied
from tako.journal.run_state import RUNNING, RunState
from tako.journal.statuses import CANCELLED, FAILED, INTERRUPTED, SUCCEEDED, TIMED_OUT
from tako.journal.stored import StoredValueError
from tako.repositories.caveats import Caveat, Caveats
from tako.system import clock
from tako.system.process.signals import STOPPING, SignalPipe, name_of
from tako.system.storage.faults import fault_of, words_of
from tako.system.storage.removal import remove_tree
from tako.values import value

if TYPE_CHECKING:
    # A run without fan-out never needs them.
    from tako.engine.fan_out.child_runner_factory import ChildRunnerFactory
    from tako.engine.fan_out.fan_out_executor import FanOutExecutor
    from tako.engine.root.observer import Observer
    from tako.engine.root.reserve import Reserve

_KILL_SLACK_S = 10.0
EXIT_TIMED_OUT = 124
_SIGNAL_BASE = 128


@value
class TreeResult:
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
        resumption: Resumption | None = None,
        caveats: Caveats | None = None,
        reserve: Reserve | None = None,
    ) -> None:
        """`planner` and `factory` are called at the first fan-out."""
        self._reserve = reserve
        self._enough_room = True
        #: Runs that were asked to end for what they hold on the disk.
        self._making_room: set[str] = set()
        self._root = root
        self._runner = runner
        self._segments = segments
        self._signals = signals
        self._observers = observers
        self._machine = Machine(runner.slots, capacity)
        self._tree = Tree(root, self._machine_fault)
        self._specs, self._journals = self._tree.specs, self._tree.journals
        self._taking_up = Resumer(self._tree, resumption, on_caveat=self._tell_caveat)
        self._planning = Planning(
            self._tree,
            self._taking_up,
            planner=planner,
            factory=factory,
            observers=observers,
            post=self._post,
            on_error=self._not_planned,
            caveats=caveats or Caveats(),
        )
        self._running: dict[str, Segment] = {}
        #: Why runs ended whose own journals cannot say it.
        self._reasons: dict[str, str] = {}
        #: What the journals of finished children said, until they are reported to their parents.
        self._finished: dict[str, RunState] = {}
        self._kill_at: dict[str, float] = {}
        self._mail: deque[Callable[[], h.Stimulus | None]] = deque()
        self._stopped_by = 0
        self._fault = ""
        self._bug = ""
        self._result: TreeResult | None = None

    # --- the loop ---

    def _tell_caveat(self, spec: RunSpec, caveat: Caveat) -> None:
        for observer in self._observers:
            observer.warned(spec, "", caveat)

    def run(self, first: tuple[Segment, Future[SegmentEnd]] | None = None) -> TreeResult:
        """Return when everything has settled; `first` is the root's first segment if it runs already.

        Raises `TakoError` if a root run that is to be taken up cannot be.
        """
        new, state = self._taking_up.enter(self._root)
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
        return self._result

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
        waits = [observer.interval_s for observer in self._observers if observer.interval_s and self._running]
        due = [
            moment for moment in (self._machine.next_deadline, *self._kill_at.values()) if moment is not None
        ]
        waits += [max(0.0, min(due) - now)] if due else []
        if self._reserve is not None and (self._running or not self._enough_room):
            waits.append(self._reserve.wait_s)
        poll = select.poll()
        poll.register(self._signals.descriptor, select.POLLIN)
        poll.poll(min(waits) * 1000 if waits else None)

    def _stimuli(self) -> list[h.Stimulus]:
        # First: what ends now may not let another start on a full disk.
        stimuli: list[h.Stimulus] = self._watch_disk()
        for number in self._signals.read():
            stimuli += self._signalled(number)
        while self._mail:
            stimulus = self._mail.popleft()()
            stimuli += [stimulus] if stimulus is not None else []
        now = time.monotonic()
        if self._machine.next_deadline is not None and self._machine.next_deadline <= now:
            stimuli.append(h.TimePassed(now))
        for run_id in [run_id for run_id, moment in self._kill_at.items() if moment <= now]:
            del self._kill_at[run_id]
            self._runner.kill(run_id)
        return stimuli

    def _watch_disk(self) -> list[h.Stimulus]:
        """Keep the reserve of free disk: nothing starts into it, and the greediest run makes room."""
        if self._reserve is None:
            return []
        missing = self._reserve.look()
        stimuli: list[h.Stimulus] = []
        if self._enough_room is bool(missing):
            self._enough_room = not missing
            stimuli.append(h.RoomChanged(self._enough_room))
        if missing and not self._making_room & self._running.keys():
            self._make_room(self._reserve, missing)
        waiting = not self._running and self._machine.wanted_soon > 0
        if self._reserve.is_stuck(waiting=waiting) and not self._fault:
            self._fault = self._reserve.told()
            stimuli.append(h.StopAsked())
        return stimuli

    def _make_room(self, reserve: Reserve, missing: int) -> None:
        from tako.engine.root.reserve import greediest, held_by

        held = {
            run_id: held_by(segment, reserve.place, self._runner.worker_of(run_id))
            for run_id, segment in self._running.items()
            if not segment.run.in_place
        }
        run_id = greediest(held, missing)
        if run_id:
            self._making_room.add(run_id)
            self._runner.make_room(run_id)
            self._kill_at[run_id] = time.monotonic() + _KILL_SLACK_S

    def _post(self, letter: Callable[[], h.Stimulus | None]) -> None:
        """Have the loop call `letter`; may be called from any thread."""
        self._mail.append(letter)
        self._signals.wake()

    def _signalled(self, number: int) -> list[h.Stimulus]:
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
                self._record(self._root.run_id, StopRequested(clock.now(), name_of(number)))
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
                self._kill_at[run_id] = time.monotonic() + GRACE_S + _KILL_SLACK_S
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
        spec = self._specs[order.run_id]
        try:
            make_directory(spec.paths)
            segment = self._segments.new(spec, order.number, order.attempt)
            self._journals.hand_over(spec.paths)
        except MachineError as error:
            message = str(error)
            self._fault = self._fault or message
            self._reasons[order.run_id] = message
            self._post(lambda: self._not_started(order.run_id))
            return
        self._watch(segment, self._runner.submit(segment))

    def _not_started(self, run_id: str) -> h.Stimulus:
        return h.SegmentEnded(run_id, status=FAILED, machine_fault=True)

    def _watch(self, segment: Segment, future: Future[SegmentEnd]) -> None:
        self._running[segment.run.run_id] = segment
        for observer in self._observers:
            observer.segment_started(segment.run)
        future.add_done_callback(lambda done: self._post(partial(self._segment_over, segment, done)))

    def _segment_over(self, segment: Segment, future: Future[SegmentEnd]) -> h.Stimulus | None:
        """Read from the journal how the segment ended; the future only says that it did."""
        spec = segment.run
        del self._running[spec.run_id]
        self._journals.worker_gone(spec.paths)
        self._kill_at.pop(spec.run_id, None)
        remove_tree(Path(segment.temporary))
        try:
            state = self._state_after(spec)
            stopped = spec.run_id in self._making_room and state.finished is None
            if stopped and isinstance(future.exception(), WorkerLostError):
                stimulus = self._made_room(spec, state)
            else:
                stimulus = self._read_end(spec, segment, state, future)
        except (TakoError, OSError) as error:
            self._fault = self._fault or words_of(error)
            self._reasons[spec.run_id] = words_of(error)
            stimulus = h.SegmentEnded(spec.run_id, status=FAILED, machine_fault=True)
        for observer in self._observers:
            observer.segment_ended(spec)
        return stimulus

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
    ) -> h.Stimulus:
        raised = future.exception()
        error = fault_of(raised) or raised
        fault = error is None and future.result().machine_fault
        if fault:
            self._fault = self._fault or future.result().message
        if state.finished is not None:
            if isinstance(error, WorkerLostError) and state.finished.status == SUCCEEDED and not spec.keep:
                # It died before it could do that.
                dispose(spec)
            return h.SegmentEnded(spec.run_id, status=state.finished.status, machine_fault=fault)
        if state.restarting and not isinstance(error, WorkerLostError):
            return h.SegmentEnded(spec.run_id, restarted=True)
        for step in state.fan_outs:
            if state.step(step).status == RUNNING:
                self._planning.reached(spec, step, state)
                return h.SegmentEnded(spec.run_id, step=step)
        message = str(error) if error else "the worker ended without an end of the run in its journal"
        if isinstance(error, WorkerLostError):
            now = clock.now()
            self._record_cut_off(spec, state, f"its worker died: {message}", now)
            self._record(spec.run_id, WorkerDied(now, segment.attempt, message))
            for observer in self._observers:
                observer.worker_lost(spec, f"{message} (attempt {segment.attempt} of {WORKER_DEATHS_MAX})")
            return h.WorkerLost(spec.run_id, restarting=state.restarting)
        where = f"{spec.repository} {spec.run_id}"
        if isinstance(error, TakoError):
            self._fault = self._fault or f"{where}: {words_of(error)}"
        else:
            self._bug = self._bug or f"{where}: {type(error).__name__}: {message}"
        self._record_cut_off(spec, state, message, clock.now())
        self._record(spec.run_id, _ended(state, FAILED, message, "worker_died"))
        return h.SegmentEnded(spec.run_id, status=FAILED, machine_fault=True)

    def _made_room(self, spec: RunSpec, state: RunState) -> h.Stimulus:
        """End a run that did not end by itself when it was to make room."""
        message = "it did not end in time when the disk had less free than min_free"
        self._record_cut_off(spec, state, message, time.time())
        self._record(spec.run_id, _ended(state, FAILED, message, "limit_exceeded"))
        if not spec.keep:
            dispose(spec)
            make_room(spec)
        return h.SegmentEnded(spec.run_id, status=FAILED)

    def _record_cut_off(self, spec: RunSpec, state: RunState, message: str, now: float) -> None:
        """End the attempt of the step that ran when its worker ended: each that started has one end."""
        for step in state.steps.values():
            if step.status == RUNNING:
                ended = StepFinished(now, step.id, step.attempts, INTERRUPTED, message=message)
                self._record(spec.run_id, ended)

    def _not_planned(self, error: BaseException) -> None:
        """Take in why a fan-out could not be planned, if that is more than its step's failure."""
        if isinstance(error, WriteFailedError):
            self._machine_fault(error)
            # At once: not even the run's next segment may start.
            self._do(self._machine.handle(h.StopAsked()))
        elif isinstance(error, StoredValueError):
            self._fault = self._fault or error.message
        elif fault := fault_of(error):
            self._fault = self._fault or words_of(fault)
        elif not isinstance(error, TakoError):
            self._bug = self._bug or f"{type(error).__name__}: {error}"

    def _report_child(self, order: i.ReportChild) -> None:
        spec = self._specs.pop(order.run_id)
        try:
            self._journals.close(spec.paths)
        except WriteFailedError as error:
            self._machine_fault(error)
        reason = self._reasons.pop(order.run_id, "")
        state = self._finished.pop(order.run_id, None)
        record = child_finished(spec, order.step, order.status, reason, state, now=clock.now())
        self._record(order.parent, record)

    # --- ends ---

    def _finish_run(self, order: i.FinishRun) -> None:
        spec = self._specs[order.run_id]
        if not spec.directory.exists():
            self._reasons[order.run_id] = "it had not started yet"
            return
        kind = order.kind if order.kind not in (CANCELLED, TIMED_OUT) else ""
        message = {
            "worker_died": f"its worker died {WORKER_DEATHS_MAX} times",
            CANCELLED: "the run was stopped",
            TIMED_OUT: "ended by a timeout of its workflow or fan-out",
        }[order.kind]
        state = RunState()
        # It has to end, also if it never began or its journal was damaged meanwhile.
        with suppress(TakoError):
            state = fold(read_records(spec.paths.journal))
        self._record(order.run_id, _ended(state, order.status, message, kind), final=True)

    def _settle(self, status: str, *, late_failure: bool) -> None:
        code, message = self._exit_code(status, late_failure=late_failure)
        try:
            try:
                self._record(self._root.run_id, RunSettled(clock.now(), status, code), final=True)
                self._journals.sync()
            finally:
                self._journals.close(self._root.paths)
        except MachineError as error:
            # Nothing can be written any more: only the exit code and the message can tell.
            self._fault = self._fault or error.message
            code, message = self._exit_code(status, late_failure=late_failure)
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

    def _machine_fault(self, error: WriteFailedError) -> None:
        if not self._fault:
            self._fault = error.message
            self._post(h.StopAsked)

    def _record(self, run_id: str, record: Record, *, final: bool = False) -> None:
        self._tree.record(run_id, record, final=final)


def _ended(state: RunState, status: str, message: str, kind: str) -> RunFinished:
    """The end of a run in this state that no worker could record."""
    now = clock.now()
    return RunFinished(now, status, state.duration_s(now), message, kind)
