"""The one reading of a journal: records in, the state of a run out.

Status, resume, reaper, reports and the engine itself all use this fold; nothing else decides
what a run did. `RunState` is changed only by `apply`, in the order of the records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tako.journal.parts import Attempt, Usage
from tako.journal.records import (
    WORKSPACE_CHANGED,
    ArtifactCollected,
    CheckoutSeen,
    ChildFinished,
    ChildPlanned,
    EventEmitted,
    FanOutPlanned,
    Noted,
    Record,
    RunFinished,
    RunRestarted,
    RunResumed,
    RunSettled,
    RunStarted,
    SandboxEntered,
    SegmentStarted,
    StepFinished,
    StepStarted,
    StopRequested,
    SubscriptionFiltered,
    Warned,
    WorkerDied,
    WorkspaceRebuilt,
)
from tako.journal.statuses import FAILED, INTERRUPTED, SKIPPED, SUCCEEDED, TIMED_OUT
from tako.journal.stored import same_event
from tako.system.process.identity import Identity
from tako.values import evolve, field, mutable

RUNNING, PENDING = "running", "pending"
#: The kind of error of a run whose workers died too often.
WORKER_DIED = "worker_died"


@mutable
class StepState:
    """One step: its attempts, and how the last one ended."""

    id: str
    attempts: int = 0
    started: float | None = None
    finished: StepFinished | None = None
    #: The attempts before the present one.
    earlier: list[Attempt] = field(factory=list)
    #: How many attempts failed since the run was begun or taken up: what `retry` counts.
    failures: int = 0
    #: Where the present attempt's output begins in the log, in bytes.
    log_offset: int = 0

    @property
    def status(self) -> str:
        """A final status, `running`, or `pending`."""
        if self.finished:
            return self.finished.status
        return PENDING if self.started is None else RUNNING

    @property
    def allows_next_step(self) -> bool:
        """Whether the steps after this one run."""
        return self.finished is not None and (
            self.finished.status in (SUCCEEDED, SKIPPED) or self.finished.tolerated
        )

    @property
    def was_cut_off(self) -> bool:
        """Whether it was started and nobody knows how far it came."""
        if self.finished is None:
            return self.started is not None
        return self.finished.status == INTERRUPTED

    def reset(self, at: float) -> None:
        """Forget how it ended, so that it runs again."""
        if self.finished is not None and self.finished.status != SKIPPED:
            self.earlier.append(_attempt(self.finished))
        elif self.finished is None and self.started is not None:
            self.earlier.append(Attempt(self.attempts, at, INTERRUPTED, "its worker died"))
        self.finished = self.started = None


def _attempt(ended: StepFinished) -> Attempt:
    return Attempt(ended.attempt, ended.at, ended.status, ended.message, ended.exit_code, ended.signal)


@mutable
class ChildState:
    """One child as its parent's journal knows it."""

    plan: ChildPlanned
    finished: ChildFinished | None = None


@mutable
class FanOutState:
    """One fan-out step: the event, who did not match, who runs."""

    emitted: EventEmitted
    filtered: list[SubscriptionFiltered] = field(factory=list)
    planned: FanOutPlanned | None = None
    children: dict[str, ChildState] = field(factory=dict)
    #: When it was reached, when its time began, and when the last of it ended, as `RunState.lived` counts.
    began: float = 0.0
    since: float = 0.0
    last: float = 0.0

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


@mutable
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
    sandbox: SandboxEntered | None = None
    notes: list[Noted] = field(factory=list)
    warnings: list[Warned] = field(factory=list)
    stop: StopRequested | None = None
    finished: RunFinished | None = None
    settled: RunSettled | None = None
    #: How often it was taken up after an end.
    resumes: int = 0
    #: How often it had ended because its workers died.
    given_up: int = 0
    #: It asked to be run again from its first step, and no worker has taken it on since.
    restarting: bool = False
    #: The workspace has to be made anew before a step runs.
    rebuilds: bool = False
    #: When it began and when its time did, as `lived` counts.
    began: float = 0.0
    since: float = 0.0
    #: Seconds in which nobody was there; below 0 if the clock was set back meanwhile.
    away_s: float = 0.0
    #: Of all its steps together, each time they ran: CPU seconds added up, of the others the most.
    usage: Usage = field(factory=Usage)
    last_at: float = 0.0
    #: When the last thing happened before a record said `interrupted`.
    interrupted_at: float | None = None

    @property
    def status(self) -> str:
        """The run's own final status, or `running` for one without an end (see recovery for the dead)."""
        if self.settled:
            return self.settled.status
        return self.finished.status if self.finished else RUNNING

    @property
    def attempts(self) -> int:
        """How often the run was taken on: by workers that died, by the one that did not, after an end."""
        return len(self.deaths) + self.resumes + 1 - self.given_up - self.gave_up

    @property
    def gave_up(self) -> bool:
        """Whether it ended because its workers died too often."""
        return self.finished is not None and self.finished.error_kind == WORKER_DIED

    @property
    def environment(self) -> dict[str, str]:
        """What the steps wrote to `$TAKO_ENV`, a later one over an earlier one."""
        ended = (step.finished for step in self.steps.values() if step.finished)
        return {name: value for end in ended for name, value in end.environment.items()}

    def lived(self, at: float) -> float:
        """A moment of the run's present life, counted as if somebody had been there all the time."""
        return at - self.away_s

    def active_s(self, since: float, now: float) -> float:
        """Seconds from a moment as `lived` counts to now in which somebody was there to go on."""
        return max(0.0, self.lived(now) - since)

    def duration_s(self, now: float) -> float:
        """Seconds since the run began in which somebody was there, as records tell it."""
        return round(self.active_s(self.began, now), 3) if self.started else 0.0

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
        if getattr(record, "status", "") == INTERRUPTED and self.interrupted_at is None:
            # Its own time is the tree's last sign of life.
            self.interrupted_at = max(self.last_at, record.at)
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
    state.began = state.since = state.lived(record.at)
    # An end before it is that of a worker that never came so far.
    state.finished = None
    for step in record.steps:
        state.step(step)


def _run_resumed(state: RunState, record: RunResumed) -> None:
    state.given_up += state.gave_up
    state.resumes += 1
    _pin(state, record.commit, record.config_digest, record.tracked_changes)
    cut_off = state.interrupted_at is not None
    state.settled = state.stop = state.interrupted_at = None
    if state.finished is not None and state.finished.status != SUCCEEDED:
        state.finished = None
    state.away_s += record.at - record.interrupted_at
    state.since = state.lived(record.at) if record.time_anew else state.since
    state.rebuilds = state.rebuilds or record.starts_over
    for name in record.reset:
        _put_back(state, name, record)
    again = set(record.children)
    for fan_out in state.fan_outs.values():
        if again & fan_out.children.keys() and not fan_out.emitted.wait_for_children and not cut_off:
            fan_out.since = state.lived(record.at)
        for run_id in again & fan_out.children.keys():
            fan_out.children[run_id].finished = None


def _put_back(state: RunState, name: str, record: RunResumed) -> None:
    step = state.step(name)
    fan_out = state.fan_outs.get(name)
    if fan_out is not None and not step.was_cut_off:
        fan_out.since = state.lived(record.at)
    step.reset(record.at)
    step.failures = 0
    if fan_out is not None and not record.starts_over:
        # It waits for its children again.
        step.started = record.at
    _forget_artifacts(state, name)


def _forget_artifacts(state: RunState, step: str) -> None:
    state.artifacts = {name: kept for name, kept in state.artifacts.items() if kept.step != step}


def _pin(state: RunState, commit: str, config_digest: str, tracked_changes: str) -> None:
    """Take over what the user's checkout was found to be; empty texts where nothing is told."""
    if state.started is not None and (commit or config_digest):
        state.started = evolve(
            state.started,
            commit=commit or state.started.commit,
            config_digest=config_digest or state.started.config_digest,
            tracked_changes=tracked_changes,
        )


def _run_restarted(state: RunState, record: RunRestarted) -> None:
    state.restarting = state.rebuilds = True
    for step in state.steps.values():
        step.reset(record.at)
    state.artifacts = {}


def _workspace_rebuilt(state: RunState, _record: WorkspaceRebuilt) -> None:
    state.rebuilds = False
    state.warnings = [warned for warned in state.warnings if warned.about != WORKSPACE_CHANGED]


def _checkout_seen(state: RunState, record: CheckoutSeen) -> None:
    _pin(state, record.commit, "", record.tracked_changes)


def _segment_started(state: RunState, record: SegmentStarted) -> None:
    state.restarting, state.interrupted_at = False, None
    state.segment, state.attempt = record.segment, record.attempt
    state.identity = record.identity
    state.temporary = record.temporary


def _step_started(state: RunState, record: StepStarted) -> None:
    step = state.step(record.step)
    step.reset(record.at)
    step.attempts = record.attempt
    step.started = record.at
    step.log_offset = record.log_offset


def _step_finished(state: RunState, record: StepFinished) -> None:
    step = state.step(record.step)
    step.attempts = max(step.attempts, record.attempt)
    step.finished = record
    state.usage = state.usage.followed_by(record.usage)
    step.failures += record.status in (FAILED, TIMED_OUT)
    if record.step in state.fan_outs:
        state.fan_outs[record.step].last = state.lived(record.at)


def _artifact_collected(state: RunState, record: ArtifactCollected) -> None:
    state.artifacts[record.artifact] = record


def _event_emitted(state: RunState, record: EventEmitted) -> None:
    known = state.fan_outs.get(record.step)
    if known is not None and known.planned is not None and same_event(known.emitted.event, record.event):
        # A run that starts over has come to the same event again: who has answered it has answered it.
        known.emitted = record
    else:
        known = state.fan_outs[record.step] = FanOutState(record)
    known.began = known.since = known.last = state.lived(record.at)
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
    child = state.fan_outs[record.step].children.get(record.run_id)
    # One of an earlier attempt, which had come to another event, counts no more.
    if child is not None:
        child.finished = record
        state.fan_outs[record.step].last = state.lived(record.at)


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


def _warned(state: RunState, record: Warned) -> None:
    state.warnings.append(record)


_APPLIERS: dict[type[Any], Callable[[RunState, Any], None]] = {
    RunStarted: _run_started,
    RunResumed: _run_resumed,
    RunRestarted: _run_restarted,
    WorkspaceRebuilt: _workspace_rebuilt,
    CheckoutSeen: _checkout_seen,
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
    Warned: _warned,
}
