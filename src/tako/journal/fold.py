"""The one reading of a journal: records in, the state of a run out.

Status, resume, reaper, reports and the engine itself all use this fold; nothing else decides
what a run did. `RunState` is changed only by `apply`, in the order of the records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import define, field

from tako.journal.records import (
    SKIPPED,
    SUCCEEDED,
    ArtifactCollected,
    ChildFinished,
    ChildPlanned,
    EventEmitted,
    FanOutPlanned,
    Noted,
    Record,
    RunFinished,
    RunSettled,
    RunStarted,
    SandboxEntered,
    SegmentStarted,
    StepFinished,
    StepStarted,
    StopRequested,
    SubscriptionFiltered,
    WorkerDied,
)
from tako.system.identity import Identity

RUNNING, PENDING = "running", "pending"
#: The kind of error of a run whose workers died too often.
WORKER_DIED = "worker_died"


@define
class StepState:
    """One step: its attempts, and how the last one ended."""

    id: str
    attempts: int = 0
    started: float | None = None
    finished: StepFinished | None = None

    @property
    def status(self) -> str:
        """A final status, `running`, or `pending`."""
        if self.finished:
            return self.finished.status
        return PENDING if self.started is None else RUNNING

    @property
    def lets_go_on(self) -> bool:
        """Whether the steps after this one run."""
        return self.finished is not None and (
            self.finished.status in (SUCCEEDED, SKIPPED) or self.finished.tolerated
        )


@define
class ChildState:
    """One child as its parent's journal knows it."""

    plan: ChildPlanned
    finished: ChildFinished | None = None


@define
class FanOutState:
    """One fan-out step: the event, who did not match, who runs."""

    emitted: EventEmitted
    filtered: list[SubscriptionFiltered] = field(factory=list)
    planned: FanOutPlanned | None = None
    children: dict[str, ChildState] = field(factory=dict)

    @property
    def outputs(self) -> dict[str, Any]:
        """The children's outputs by repository, all of one together, which are the fan-out step's outputs.

        A fan-out that does not wait has none: which children have ended by now would be chance.
        """
        if not self.emitted.wait_for_children:
            return {}
        found: dict[str, Any] = {}
        for child in self.children.values():
            if child.finished:
                found.setdefault(child.plan.repository, {}).update(child.finished.outputs)
        return found


@define
class RunState:
    """All that one journal says."""

    started: RunStarted | None = None
    identity: Identity | None = None
    temporary: str = ""
    segment: int = 0
    attempt: int = 1
    deaths: list[WorkerDied] = field(factory=list)
    steps: dict[str, StepState] = field(factory=dict)
    fan_outs: dict[str, FanOutState] = field(factory=dict)
    artifacts: dict[str, ArtifactCollected] = field(factory=dict)
    environment: dict[str, str] = field(factory=dict)
    sandbox: SandboxEntered | None = None
    notes: list[Noted] = field(factory=list)
    stop: StopRequested | None = None
    finished: RunFinished | None = None
    settled: RunSettled | None = None
    last_at: float = 0.0

    @property
    def status(self) -> str:
        """The run's own final status, or `running` for one without an end (see recovery for the dead)."""
        if self.settled:
            return self.settled.status
        return self.finished.status if self.finished else RUNNING

    @property
    def attempts(self) -> int:
        """How many workers took the run on: those that died, and the one that did not."""
        gave_up = self.finished is not None and self.finished.error_kind == WORKER_DIED
        return len(self.deaths) + (0 if gave_up else 1)

    def step(self, step_id: str) -> StepState:
        """The step's state, made when first named."""
        return self.steps.setdefault(step_id, StepState(step_id))

    def outputs_of(self, step_id: str) -> Mapping[str, Any]:
        """A step's outputs; of a fan-out, its children's by repository."""
        if step_id in self.fan_outs:
            return self.fan_outs[step_id].outputs
        step = self.steps.get(step_id)
        return step.finished.outputs if step and step.finished else {}

    def apply(self, record: Record) -> None:
        """Take one more record into account."""
        self.last_at = record.at
        _APPLIERS[type(record)](self, record)


def fold(records: Iterable[Record]) -> RunState:
    """The state that a whole journal tells."""
    state = RunState()
    for record in records:
        state.apply(record)
    return state


def _run_started(state: RunState, record: RunStarted) -> None:
    state.started = record
    state.identity = record.identity
    state.temporary = record.temporary
    for step in record.steps:
        state.step(step)


def _segment_started(state: RunState, record: SegmentStarted) -> None:
    state.segment, state.attempt = record.segment, record.attempt
    state.identity = record.identity
    state.temporary = record.temporary


def _step_started(state: RunState, record: StepStarted) -> None:
    step = state.step(record.step)
    step.attempts = record.attempt
    step.started = record.at
    step.finished = None


def _step_finished(state: RunState, record: StepFinished) -> None:
    step = state.step(record.step)
    step.attempts = max(step.attempts, record.attempt)
    step.finished = record
    state.environment.update(record.environment)


def _artifact_collected(state: RunState, record: ArtifactCollected) -> None:
    state.artifacts[record.artifact] = record


def _event_emitted(state: RunState, record: EventEmitted) -> None:
    state.fan_outs[record.step] = FanOutState(record)
    step = state.step(record.step)
    step.started = record.at
    step.attempts = max(step.attempts, 1)


def _subscription_filtered(state: RunState, record: SubscriptionFiltered) -> None:
    state.fan_outs[record.step].filtered.append(record)


def _child_planned(state: RunState, record: ChildPlanned) -> None:
    state.fan_outs[record.step].children[record.run_id] = ChildState(record)


def _fan_out_planned(state: RunState, record: FanOutPlanned) -> None:
    state.fan_outs[record.step].planned = record


def _child_finished(state: RunState, record: ChildFinished) -> None:
    state.fan_outs[record.step].children[record.run_id].finished = record


def _worker_died(state: RunState, record: WorkerDied) -> None:
    state.deaths.append(record)


def _stop_requested(state: RunState, record: StopRequested) -> None:
    state.stop = record


def _run_finished(state: RunState, record: RunFinished) -> None:
    state.finished = record


def _run_settled(state: RunState, record: RunSettled) -> None:
    state.settled = record


def _sandbox_entered(state: RunState, record: SandboxEntered) -> None:
    state.sandbox = record


def _noted(state: RunState, record: Noted) -> None:
    state.notes.append(record)


_APPLIERS: dict[type[Any], Callable[[RunState, Any], None]] = {
    RunStarted: _run_started,
    SegmentStarted: _segment_started,
    StepStarted: _step_started,
    StepFinished: _step_finished,
    ArtifactCollected: _artifact_collected,
    EventEmitted: _event_emitted,
    SubscriptionFiltered: _subscription_filtered,
    ChildPlanned: _child_planned,
    FanOutPlanned: _fan_out_planned,
    ChildFinished: _child_finished,
    WorkerDied: _worker_died,
    StopRequested: _stop_requested,
    RunFinished: _run_finished,
    RunSettled: _run_settled,
    SandboxEntered: _sandbox_entered,
    Noted: _noted,
}
