"""Whether a failed step is tried again, when, and whether it may be.

In: a step, what the journal says of it. Out: seconds to wait, or None, and words for people. Pure; the
runner does it. Every attempt of a step gets the same idempotency key.
"""

from __future__ import annotations

from tako.config.schema import Step
from tako.engine.run.spec import RunSpec
from tako.journal.records import StepFinished
from tako.journal.run_state import RunState, StepState
from tako.journal.statuses import FAILED, is_failure
from tako.units import format_duration

NEVER = "never"
CUT_OFF = "it was interrupted and may have taken effect: `rerun: never` keeps it from running again"
_WAIT_MAX_S = 3600.0


def wait_s(step: Step, state: StepState) -> float | None:
    """Seconds until the next attempt, twice as long after each failure; None if there is none."""
    finished = state.finished
    if step.retry is None or finished is None or finished.message == CUT_OFF:
        return None
    if not _counts(step, finished) or state.failures >= step.retry.max_attempts:
        return None
    return min(_WAIT_MAX_S, step.retry.backoff_s * float(2 ** min(state.failures - 1, 20)))


def has_attempts_left(step: Step, state: StepState, finished: StepFinished) -> bool:
    """Whether there is another attempt after one that has just failed and is not recorded yet."""
    retry = step.retry
    return retry is not None and _counts(step, finished) and state.failures + 1 < retry.max_attempts


def _counts(step: Step, finished: StepFinished) -> bool:
    """Whether it ended in a way that is tried again; `on` names exit codes, else any failure of its own."""
    assert step.retry is not None
    if step.retry.on:
        return finished.status == FAILED and finished.exit_code in step.retry.on
    return is_failure(finished.status)


def starts_over(step: Step, spec: RunSpec) -> bool:
    """Whether the next attempt begins with the run's first step; never in the user's own checkout."""
    return step.retry is not None and step.retry.clean and not spec.in_place


def refusal(step: Step, spec: RunSpec, state: RunState) -> str:
    """Why the next attempt must not be; empty if it may."""
    if not starts_over(step, spec):
        return ""
    once = [
        other.id
        for other in spec.workflow.steps
        if other.rerun == NEVER and state.step(other.id).attempts and other.id != step.id
    ]
    if not once:
        return ""
    return f"not tried again: `clean` would repeat {', '.join(once)}, which `rerun: never` forbids"


def may_not_run_twice(step: Step, state: StepState) -> bool:
    """Whether an attempt was cut off of a step that must not take effect twice."""
    return step.rerun == NEVER and state.was_cut_off


def announcement(step: Step, state: StepState, seconds: float) -> str:
    """What is said of a failed attempt that is not the last."""
    assert step.retry is not None
    assert state.finished is not None
    told = state.finished.message.splitlines()[0] if state.finished.message else state.finished.status
    return (
        f"attempt {state.failures} of {step.retry.max_attempts} failed: {told};"
        f" again in {format_duration(seconds)}"
    )
