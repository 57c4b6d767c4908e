"""From the journals of children to the records and values that tell of them.

A child's journal is the truth about it; what stands in its parent's is made from it here.
"""

from __future__ import annotations

from tako.config.schema import Step
from tako.engine.run.spec import RunSpec
from tako.engine.scheduler.instructions import Tally
from tako.errors import NotFoundError
from tako.journal.fold import fold
from tako.journal.log import JournalDamagedError, read_records
from tako.journal.outcomes import Child, settled_child
from tako.journal.parts import ChildExecutionError, EventValue
from tako.journal.records import ChildFinished, StepFinished
from tako.journal.run_state import RunState
from tako.journal.statuses import CANCELLED, FAILED, INTERRUPTED, SUCCEEDED, TIMED_OUT, is_failure
from tako.values import value


@value
class FanOutResult:
    """The result of one fan-out step; `duration_s` in seconds."""

    success: bool
    event: EventValue
    found: int
    filtered: int
    skipped: int
    triggered: int
    succeeded: int
    failed: int
    timed_out: int
    cancelled: int
    interrupted: int
    duration_s: float
    errors: tuple[ChildExecutionError, ...]


def fan_out_result(state: RunState, step: str) -> FanOutResult:
    """What one fan-out came to, read from its run's state."""
    fan_out = state.fan_outs[step]
    ended = [child.finished for child in fan_out.children.values() if child.finished]
    finished = state.step(step).finished
    skipped = sum(record.skipped for record in fan_out.filtered)
    return FanOutResult(
        success=finished is not None and finished.status == SUCCEEDED,
        event=fan_out.emitted.event,
        found=fan_out.planned.found if fan_out.planned else 0,
        filtered=len(fan_out.filtered) - skipped,
        skipped=skipped,
        triggered=len(fan_out.children),
        succeeded=_count(ended, SUCCEEDED),
        failed=_count(ended, FAILED),
        timed_out=_count(ended, TIMED_OUT),
        cancelled=_count(ended, CANCELLED),
        interrupted=_count(ended, INTERRUPTED),
        duration_s=round(max(0.0, fan_out.last - fan_out.began), 3),
        errors=tuple(child.error for child in ended if child.error),
    )


def _count(ended: list[ChildFinished], status: str) -> int:
    return sum(child.status == status for child in ended)


def step_closed(
    step: Step, status: str, tally: Tally, *, now: float, began: float, attempt: int = 1
) -> StepFinished:
    """The record that ends a fan-out step, reached at `began`."""
    told = f"{tally.not_well} of {tally.not_well + tally.succeeded} children did not succeed"
    messages: dict[str, str] = {
        FAILED: told,
        CANCELLED: told if tally.not_well else "",
        # That of its workflow may end it before there are children.
        TIMED_OUT: "ended by the timeout of the fan-out" if tally.timed_out else "",
    }
    return StepFinished(
        at=now,
        step=step.id,
        attempt=attempt,
        status=status,
        duration_s=round(max(0.0, now - began), 3),
        message=messages.get(status, ""),
        tolerated=step.continue_on_error and is_failure(status),
        counts={
            "succeeded": tally.succeeded,
            "failed": tally.failed,
            "timed_out": tally.timed_out,
            "cancelled": tally.cancelled,
        },
    )


def child_finished(
    spec: RunSpec, step: str, status: str, reason: str, state: RunState | None = None, *, now: float
) -> ChildFinished:
    """The record in the parent's journal of a child that settled; `reason` of one that never started.

    `state` is what the child's journal says, if it was read already.
    """
    try:
        state = state or fold(read_records(spec.paths.journal))
    except NotFoundError:
        state = RunState()
    except JournalDamagedError as damage:
        # What became of a child's own journal is told of that child alone.
        state, status, reason = RunState(), FAILED, damage.message
    child = Child(step, spec.run_id, spec.repository, spec.workflow.name)
    return settled_child(child, status, reason, state, now=now)
