"""What follows when a worker is gone: its run's journal tells how the segment ended.

In: a segment and its future. Out: a stimulus for the machine. The journal comes before the future: what the
worker raised after it had recorded how the segment ended decides nothing. Else the death of the worker, a
fault of the machine or a bug is recorded here, and the last two are noted as troubles of the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tako.engine.root.chores import Chores
from tako.engine.root.tree_result import Troubles
from tako.engine.run.registry import LiveRun, Tree
from tako.engine.run.spec import RunSpec, Segment, SegmentEnd
from tako.engine.scheduler import stimuli as h
from tako.engine.scheduler.machine import WORKER_DEATHS_MAX
from tako.engine.steps.workspace import give_back
from tako.engine.workers.workflow_runner import WorkerLostError
from tako.errors import NotFoundError, TakoError
from tako.journal.fold import fold
from tako.journal.log import read_records
from tako.journal.records import RunFinished, StepFinished, WorkerDied
from tako.journal.run_state import RunState
from tako.journal.statuses import FAILED, INTERRUPTED, RUNNING, SUCCEEDED, FailureKind
from tako.system import clock
from tako.system.storage.faults import fault_of, words_of

if TYPE_CHECKING:
    from tako.engine.root.observer import Observer

#: Tells of a fan-out at which a run stands: the run, its step, the run's state.
OnFanOut = Callable[[RunSpec, str, RunState], None]


class SegmentEnds:
    """Reads the ends of the segments of one tree."""

    def __init__(
        self,
        tree: Tree,
        *,
        troubles: Troubles,
        chores: Chores,
        observers: Sequence[Observer],
        on_fan_out: OnFanOut,
    ) -> None:
        self._tree = tree
        self._troubles = troubles
        self._chores = chores
        self._observers = observers
        self._on_fan_out = on_fan_out

    def read(self, segment: Segment, future: Future[SegmentEnd]) -> h.Stimulus:
        """Take the journal back from a worker that is gone, and say what its run came to."""
        run = self._tree.worker_gone(segment.run.run_id)
        # The worker has removed it, unless it died.
        self._chores.remove(Path(segment.temporary))
        try:
            stimulus = self._stimulus(run, segment, future)
        except (TakoError, OSError) as error:
            self._troubles.add_fault(words_of(error))
            run.reason = words_of(error)
            stimulus = h.SegmentEnded(run.spec.run_id, status=FAILED, machine_fault=True)
        for observer in self._observers:
            observer.segment_ended(run.spec)
        return stimulus

    def _stimulus(self, run: LiveRun, segment: Segment, future: Future[SegmentEnd]) -> h.Stimulus:
        spec, state = run.spec, self._state_after(run)
        raised = future.exception()
        if run.makes_room and state.finished is None and isinstance(raised, WorkerLostError):
            return self._made_room(spec, state)
        error = fault_of(raised) or raised
        fault = error is None and future.result().machine_fault
        if fault:
            self._troubles.add_fault(future.result().message)
        if state.finished is not None:
            if isinstance(error, WorkerLostError) and state.finished.status == SUCCEEDED and not spec.keep:
                # It died before it could do that.
                self._chores.remove(*spec.paths.workspace)
            return h.SegmentEnded(spec.run_id, status=state.finished.status, machine_fault=fault)
        if state.restarting and not isinstance(error, WorkerLostError):
            return h.SegmentEnded(spec.run_id, restarted=True)
        for step in state.fan_outs:
            if state.step(step).status == RUNNING:
                self._on_fan_out(spec, step, state)
                return h.SegmentEnded(spec.run_id, step=step)
        return self._without_end(spec, segment, state, error)

    def _state_after(self, run: LiveRun) -> RunState:
        """The run's state after its worker; reading that it is finished needs no right to write."""
        spec = run.spec
        if spec.parent_run_id and not self._tree.journals.waits_for(spec.paths):
            with suppress(NotFoundError):
                state = fold(read_records(spec.paths.journal))
                if state.finished is not None:
                    run.ended = state
                    return state
        return self._tree.journals.take_back(spec.paths)

    def _without_end(
        self, spec: RunSpec, segment: Segment, state: RunState, error: BaseException | None
    ) -> h.Stimulus:
        message = str(error) if error else "the worker ended without an end of the run in its journal"
        if isinstance(error, WorkerLostError):
            return self._worker_lost(spec, segment, state, message)
        where = f"{spec.repository} {spec.run_id}"
        if isinstance(error, TakoError):
            self._troubles.add_fault(f"{where}: {words_of(error)}")
        else:
            self._troubles.add_bug(f"{where}: {type(error).__name__}: {message}")
        self._record_cut_off(spec, state, message, clock.now())
        self._tree.record(spec.run_id, run_ended(state, FAILED, message, FailureKind.WORKER_DIED))
        return h.SegmentEnded(spec.run_id, status=FAILED, machine_fault=True)

    def _worker_lost(self, spec: RunSpec, segment: Segment, state: RunState, message: str) -> h.Stimulus:
        now = clock.now()
        self._record_cut_off(spec, state, f"its worker died: {message}", now)
        self._tree.record(spec.run_id, WorkerDied(now, segment.attempt, message))
        for observer in self._observers:
            observer.worker_lost(spec, f"{message} (attempt {segment.attempt} of {WORKER_DEATHS_MAX})")
        return h.WorkerLost(spec.run_id, restarting=state.restarting)

    def _made_room(self, spec: RunSpec, state: RunState) -> h.Stimulus:
        """End a run that did not end by itself when it was to make room."""
        message = "it did not end in time when the disk had less free than min_free"
        self._record_cut_off(spec, state, message, clock.now())
        self._tree.record(spec.run_id, run_ended(state, FAILED, message, FailureKind.LIMIT_EXCEEDED))
        if not spec.keep:
            self._chores.do(partial(give_back, spec), lambda _: None)
        return h.SegmentEnded(spec.run_id, status=FAILED)

    def _record_cut_off(self, spec: RunSpec, state: RunState, message: str, now: float) -> None:
        """End the attempt of the step that ran when its worker ended: each that started has one end."""
        for step in state.steps.values():
            if step.status == RUNNING:
                ended = StepFinished(now, step.id, step.attempts, INTERRUPTED, message=message)
                self._tree.record(spec.run_id, ended)


def run_ended(state: RunState, status: str, message: str, kind: str) -> RunFinished:
    """The end of a run in this state that no worker could record."""
    now = clock.now()
    return RunFinished(now, status, state.duration_s(now), message, kind)
