"""How a child ended, from its own journal: what its parent's journal says of it.

In: the state of a child. Out: `ChildFinished`, with a `ChildExecutionError` unless it succeeded. Pure; the
engine and the reaper make the same record of the same journal.
"""

from __future__ import annotations

from tako.journal.parts import Attempt, ChildExecutionError
from tako.journal.records import ChildFinished, StepFinished
from tako.journal.run_state import RunState
from tako.journal.statuses import (
    FAILED,
    INTERRUPTED,
    SUCCEEDED,
    FailureKind,
    is_good,
    was_ended,
)
from tako.values import value


@value
class Child:
    """Which child: the step of its parent that planned it, and what runs."""

    step: str
    run_id: str
    repository: str
    workflow: str


def settled_child(child: Child, status: str, reason: str, state: RunState, *, now: float) -> ChildFinished:
    """The record of a child whose subtree settled with `status`; `reason` says more than its journal does."""
    finished = state.finished
    duration = finished.duration_s if finished else 0.0
    if status == SUCCEEDED and finished is not None:
        return ChildFinished(now, child.step, child.run_id, status, duration, outputs=finished.outputs)
    error = _error(child, state, status, reason)
    return ChildFinished(now, child.step, child.run_id, status, duration, error=error)


def _error(child: Child, state: RunState, status: str, reason: str) -> ChildExecutionError:
    at_fault = blamed_step(state)
    finished = state.finished
    # Of a step that was cut off the run's end says more.
    blamed = at_fault.message if at_fault and at_fault.status != INTERRUPTED else ""
    message = reason or blamed or (finished.message if finished else "")
    if finished and finished.status == SUCCEEDED and status == FAILED:
        message = "a fan-out that it did not wait for failed"
    return ChildExecutionError(
        repository=child.repository,
        workflow=child.workflow,
        run_id=child.run_id,
        kind=_kind(state, status, at_fault),
        message=message or f"ended {status}",
        step=at_fault.step if at_fault else "",
        exit_code=at_fault.exit_code if at_fault else None,
        signal=at_fault.signal if at_fault else "",
        limit=at_fault.limit if at_fault else "",
        limit_value=at_fault.limit_value if at_fault else None,
        started=state.started.at if state.started else None,
        duration_s=finished.duration_s if finished else 0.0,
        attempts=state.attempts if state.started or state.deaths else 0,
        last_lines=at_fault.last_lines if at_fault else (),
        earlier=attempts_before(state, at_fault),
    )


def attempts_before(state: RunState, at_fault: StepFinished | None) -> tuple[Attempt, ...]:
    """What came to nothing before a failure, oldest first: tries of the step at fault, workers that died."""
    own = state.step(at_fault.step).earlier if at_fault else []
    # Its end and that of its worker are recorded with one time.
    told = {attempt.at for attempt in own if attempt.status == INTERRUPTED}
    died = [
        Attempt(death.attempt, death.at, INTERRUPTED, f"its worker died: {death.message}")
        for death in state.deaths
        if death.at not in told
    ]
    return tuple(sorted([*own, *died], key=lambda attempt: attempt.at))


def blamed_step(state: RunState) -> StepFinished | None:
    """The step that ended the run: the first that neither succeeded nor was tolerated."""
    for step in state.steps.values():
        if step.finished and not is_good(step.finished.status) and not step.finished.tolerated:
            return step.finished
    return None


def _kind(state: RunState, status: str, at_fault: StepFinished | None) -> str:
    if was_ended(status):
        return status
    if state.finished is not None and state.finished.error_kind:
        return state.finished.error_kind
    if at_fault is not None and at_fault.limit:
        return FailureKind.LIMIT_EXCEEDED
    if at_fault is None and state.finished is None:
        return FailureKind.SANDBOX_FAILED
    return FailureKind.STEP_FAILED
