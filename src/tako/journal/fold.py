"""The one reading of a journal: records in, the state of a run out.

Status, resume, reaper, reports and the engine itself all use this fold; nothing else decides
what a run did. Only `apply` changes a `RunState`, in the order of the records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

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
from tako.journal.run_state import ChildState, FanOutState, RunState
from tako.journal.statuses import INTERRUPTED, SUCCEEDED, is_failure
from tako.journal.stored import same_event
from tako.values import evolve


def fold(records: Iterable[Record]) -> RunState:
    """The state that a whole journal tells."""
    state = RunState()
    for record in records:
        apply(state, record)
    return state


def apply(state: RunState, record: Record) -> None:
    """Take one more record into account."""
    if getattr(record, "status", "") == INTERRUPTED and state.interrupted_at is None:
        # Its own time is the tree's last sign of life.
        state.interrupted_at = max(state.last_at, record.at)
    if not (isinstance(record, Warned) and record.about == WORKSPACE_CHANGED):
        # `tako shell` writes this one after the run's end: the time until then is not the run's.
        state.last_at = record.at
    _APPLIERS[type(record)](state, record)


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
    step.failures += is_failure(record.status)
    if record.step in state.fan_outs:
        state.fan_outs[record.step].last = state.lived(record.at)


def _artifact_collected(state: RunState, record: ArtifactCollected) -> None:
    state.artifacts[record.artifact] = record


def _event_emitted(state: RunState, record: EventEmitted) -> None:
    known = state.fan_outs.get(record.step)
    if known is not None and known.planned is not None and same_event(known.emitted.event, record.event):
        # A run that starts over has come to the same event again: children already planned for it are kept.
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
