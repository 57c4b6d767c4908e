"""Where a run stands whose journal has an end, or broke off: what of it runs again, and from where.

In: a run's workflow and the state its journal tells, after the reaper. Out: a `Decision`, from which the
`RunResumed` record is made, and, once that is applied, the `NewRun` the scheduler begins with. Pure: what
only the disk knows comes in as a value. What succeeded is kept, all else runs again.
"""

from __future__ import annotations

from collections.abc import Iterator

from tako.config.schema import Workflow, all_steps
from tako.engine.run.retries import NEVER
from tako.engine.run.spec import RunSpec
from tako.engine.scheduler.instructions import Tally
from tako.engine.scheduler.limits import needs_of, quota_claim
from tako.engine.scheduler.stimuli import NewRun
from tako.errors import UsageError
from tako.journal.records import RunResumed
from tako.journal.run_state import ChildState, FanOutState, RunState
from tako.journal.statuses import (
    CANCELLED,
    INTERRUPTED,
    RUNNING,
    SKIPPED,
    SUCCEEDED,
    is_failure,
    is_good,
)
from tako.values import evolve, value


@value
class Decision:
    """What runs again: steps and children by id."""

    reset: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    #: Why the whole run begins again; empty if it goes on.
    starts_over: str = ""
    time_anew: bool = False
    #: Steps that would run twice although they may have taken effect.
    forbidden: tuple[str, ...] = ()


class NotRepeatableError(UsageError):
    """A run would have to begin again that holds a step with `rerun: never`."""


def decide_resume(
    workflow: Workflow,
    state: RunState,
    lost: str = "",
    *,
    failed_only: bool = False,
    may_repeat: bool = True,
) -> Decision:
    """Say what of a run that did not succeed, or whose subtree did not, runs again.

    `lost` is why its workspace is not what the journal says, empty if it is. Without `may_repeat` steps that
    say `rerun: never` stay as they ended; raises `NotRepeatableError` if the run has to start over then.
    """
    over = lost if _has_work_left(state) and _began(state) else ""
    reset = _all_steps(workflow, state) if over else tuple(_failed_steps(workflow, state))
    steps = {step.id: step for step in all_steps(workflow.steps)}
    never = tuple(name for name in reset if steps[name].rerun == NEVER and state.step(name).attempts)
    if never and not may_repeat:
        if over:
            message = f"{over}: it would repeat {', '.join(never)}, which `rerun: never` forbids"
            raise NotRepeatableError(message)
        kept = {cleanup.id for name in never for cleanup in steps[name].on_failure} | set(never)
        reset = tuple(name for name in reset if name not in kept)
    open_ones = (fan_out for name, fan_out in state.fan_outs.items() if over or _is_open(state, name, reset))
    return Decision(
        reset=reset,
        children=tuple(
            child.plan.run_id
            for fan_out in open_ones
            for child in fan_out.children.values()
            if _runs_again(child, failed_only=failed_only)
        ),
        starts_over=over,
        time_anew=state.finished is not None and state.finished.status != INTERRUPTED,
        forbidden=never,
    )


def _has_work_left(state: RunState) -> bool:
    return state.finished is None or state.finished.status != SUCCEEDED


def _began(state: RunState) -> bool:
    return any(step.attempts for step in state.steps.values())


def _all_steps(workflow: Workflow, state: RunState) -> tuple[str, ...]:
    return tuple(
        step.id for step in all_steps(workflow.steps) if step.id in state.steps and _ran(state, step.id)
    )


def _ran(state: RunState, step: str) -> bool:
    return state.step(step).finished is not None or state.step(step).started is not None


def _failed_steps(workflow: Workflow, state: RunState) -> Iterator[str]:
    """Steps that ended badly or were cut off, each with what was run because of that."""
    for step in workflow.steps:
        if _ran(state, step.id) and not state.step(step.id).allows_next_step:
            yield step.id
            yield from (cleanup.id for cleanup in step.on_failure if _ran(state, cleanup.id))


def _is_open(state: RunState, name: str, reset: tuple[str, ...]) -> bool:
    return name in reset or not state.fan_outs[name].emitted.wait_for_children


def _runs_again(child: ChildState, *, failed_only: bool) -> bool:
    if child.finished is None:
        return False
    status = child.finished.status
    return is_failure(status) if failed_only else not is_good(status)


def resumed(decision: Decision, state: RunState, *, now: float, version: str) -> RunResumed:
    """The record of a decision about a run in this state."""
    interrupted_at = state.last_at if state.interrupted_at is None else state.interrupted_at
    return RunResumed(
        at=now,
        interrupted_at=interrupted_at,
        reset=decision.reset,
        children=decision.children,
        starts_over=bool(decision.starts_over),
        time_anew=decision.time_anew,
        version=version,
    )


def fresh_run(spec: RunSpec) -> NewRun:
    """A run that has not begun."""
    turn = "" if spec.workflow.parallel else spec.repository.lower()
    return NewRun(
        spec.run_id,
        turn,
        spec.workflow.timeout_s,
        needs=needs_of(spec.workflow),
        quota=quota_claim(spec.repository, spec.limits, spec.quota, spec.workflow),
    )


def standing_run(spec: RunSpec, state: RunState, now: float) -> NewRun:
    """A run that is taken up, from the state after its `RunResumed`; `now` is seconds since the epoch."""
    new = fresh_run(spec)
    left_s = new.timeout_s
    if left_s is not None:
        left_s = max(0.0, left_s - state.active_s(state.since, now))
    finished = state.finished.status if state.finished else ""
    return evolve(
        new,
        timeout_s=left_s,
        segment=state.segment + 1,
        fan_out="" if finished or state.rebuilds else _stands_at(spec.workflow, state),
        open_fan_outs=tuple(_open_fan_outs(state)),
        finished=finished,
        late_failure=any(map(_failed_late, state.fan_outs.values())),
    )


def _failed_late(fan_out: FanOutState) -> bool:
    """Whether nobody waits for it, all of it has ended, and not all of it well."""
    emitted = fan_out.emitted
    if emitted.wait_for_children or emitted.on_child_failure == "ignore":
        return False
    ended = [child.finished for child in fan_out.children.values()]
    well = (SUCCEEDED, SKIPPED)
    return all(ended) and any(child is not None and child.status not in well for child in ended)


def _stands_at(workflow: Workflow, state: RunState) -> str:
    """The fan-out at which the run waits; empty if a worker has to go on."""
    for step in workflow.steps:
        if not state.step(step.id).allows_next_step:
            return step.id if state.step(step.id).status == RUNNING and step.id in state.fan_outs else ""
    return ""


def _open_fan_outs(state: RunState) -> Iterator[str]:
    """Fan-outs that nobody waits for and whose step is over, with children that have not settled."""
    for name, fan_out in state.fan_outs.items():
        over = not fan_out.emitted.wait_for_children and state.step(name).finished is not None
        if over and any(child.finished is None for child in fan_out.children.values()):
            yield name


def ended_children(fan_out: FanOutState) -> Tally:
    """How the children ended that are not to run again; one that was interrupted counts as cancelled."""
    tally = Tally()
    for child in fan_out.children.values():
        if child.finished is not None:
            status = child.finished.status
            tally = tally.with_one(CANCELLED if status == INTERRUPTED else status)
    return tally
