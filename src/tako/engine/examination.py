"""Looks through the tree of a run that may be taken up again: what is kept, what runs again, and why.

In: the root's spec and state, and what plans and makes children, as the driver would use them. Out: one
`Finding` for each step and child, in the order of the tree. Nothing is run and no journal is written; the
states that were read are brought to where the resume would begin.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from attrs import frozen

from tako.engine.child_runner_factory import ChildRunnerFactory
from tako.engine.fanout import FanOutExecutor, PlannedChild
from tako.engine.segment import RunSpec
from tako.engine.standing import Decision, NotRepeatableError, decide, resumed
from tako.engine.taking_up import Resumption
from tako.engine.workspace import why_lost
from tako.errors import NotFoundError
from tako.journal.fold import RUNNING, ChildState, FanOutState, RunState, fold
from tako.journal.log import JournalDamagedError, read_records
from tako.journal.records import CANCELLED, INTERRUPTED, SKIPPED, SUCCEEDED, TIMED_OUT
from tako.values import FrozenValue
from tako.version import VERSION

KEPT, AGAIN, FIRST, LEFT_OUT = "kept", "runs again", "runs", "left out"


@frozen(eq=False, repr=False)
class Finding(FrozenValue):
    """One step, or with an empty `step` one child: what becomes of it, and why."""

    depth: int
    repository: str
    run_id: str
    step: str
    verdict: str
    why: str
    #: A step that may have taken effect already, and says `rerun: never`.
    forbidden: bool = False


class Examination:
    """Of one tree."""

    def __init__(self, planner: FanOutExecutor, factory: ChildRunnerFactory, resumption: Resumption) -> None:
        self._planner = planner
        self._factory = factory
        self._resumption = resumption

    def findings(self, spec: RunSpec, state: RunState, depth: int = 0) -> Iterator[Finding]:
        """Give what becomes of each step of a run, and of each child below it."""
        try:
            decision = decide(
                spec.workflow,
                state,
                why_lost(spec, state),
                failed_only=self._resumption.failed_only,
                may_repeat=self._resumption.may_repeat,
            )
        except NotRepeatableError as error:
            if not depth:
                raise
            # A child's failure, as it will be when its turn comes.
            for left in spec.workflow.steps:
                yield Finding(depth, spec.repository, spec.run_id, left.id, LEFT_OUT, error.message)
            return
        told = {step.id: self._step(spec, state, decision, step.id, depth) for step in spec.workflow.steps}
        state.apply(resumed(decision, state, now=time.time(), version=VERSION))
        for step, finding in told.items():
            yield finding
            if step in state.fan_outs:
                yield from self._children(spec, state, state.fan_outs[step], depth + 1)

    def _step(self, spec: RunSpec, state: RunState, decision: Decision, step: str, depth: int) -> Finding:
        verdict, why = _verdict(state, decision, step)
        forbidden = step in decision.forbidden
        return Finding(depth, spec.repository, spec.run_id, step, verdict, why, forbidden)

    def _children(
        self, spec: RunSpec, state: RunState, fan_out: FanOutState, depth: int
    ) -> Iterator[Finding]:
        if fan_out.planned is None:
            return
        reopened = state.step(fan_out.emitted.step).finished is None
        if not reopened and fan_out.emitted.wait_for_children:
            return
        plan = self._planner.plan_again(spec, fan_out)
        again = {child.record.run_id: child for child in plan.children}
        for child in fan_out.children.values():
            planned = again.get(child.plan.run_id)
            if child.plan.run_id in {gone.run_id for gone in plan.gone}:
                yield self._child(
                    child.plan.repository, child, LEFT_OUT, "it does not subscribe any more", depth
                )
            elif planned is None:
                yield self._child(child.plan.repository, child, *_kept(child), depth)
            elif planned.error is not None:
                why = f"it cannot run: {planned.error.message}"
                yield self._child(child.plan.repository, child, FIRST, why, depth)
            else:
                yield from self._of_child(spec, fan_out, child, planned, depth)

    def _of_child(
        self, spec: RunSpec, fan_out: FanOutState, child: ChildState, planned: PlannedChild, depth: int
    ) -> Iterator[Finding]:
        own = self._factory.spec(spec, fan_out.emitted, planned)
        try:
            state = fold(read_records(own.paths.journal))
        except NotFoundError:
            state = RunState()
        except JournalDamagedError as damage:
            yield self._child(own.repository, child, AGAIN, f"it cannot go on: {damage.message}", depth)
            return
        if state.started is None:
            left_out = self._resumption.failed_only
            verdict = LEFT_OUT if left_out else FIRST
            yield self._child(own.repository, child, verdict, "it had not begun", depth)
            return
        if state.finished is not None and state.finished.status == SUCCEEDED and not state.fan_outs:
            yield self._child(own.repository, child, KEPT, "it succeeded", depth)
            return
        if self._resumption.failed_only and state.status in (RUNNING, INTERRUPTED, CANCELLED):
            yield self._child(own.repository, child, LEFT_OUT, "it was cut off", depth)
            return
        ended = state.finished.status if state.finished else INTERRUPTED
        yield self._child(own.repository, child, AGAIN, f"it {_said(ended)}", depth)
        yield from self.findings(own, state, depth + 1)

    def _child(self, repository: str, child: ChildState, verdict: str, why: str, depth: int) -> Finding:
        return Finding(depth, repository, child.plan.run_id, "", verdict, why)


def _verdict(state: RunState, decision: Decision, step: str) -> tuple[str, str]:
    known = state.steps.get(step)
    if decision.starts_over:
        return AGAIN if known is not None and known.attempts else FIRST, decision.starts_over
    if known is None or (known.started is None and known.finished is None):
        return FIRST, "it had not begun"
    if known.was_cut_off:
        waits = step in state.fan_outs
        return AGAIN, "its children had not all ended" if waits else "it was interrupted"
    assert known.finished is not None
    if known.lets_go_on:
        why = (
            "its failure was tolerated" if known.finished.tolerated else f"it {_said(known.finished.status)}"
        )
        return KEPT, why
    return AGAIN, known.finished.message or f"it {_said(known.finished.status)}"


def _said(status: str) -> str:
    words = {
        SKIPPED: "was skipped",
        TIMED_OUT: "timed out",
        CANCELLED: "was cancelled",
        INTERRUPTED: "was interrupted",
    }
    return words.get(status, status)


def _kept(child: ChildState) -> tuple[str, str]:
    assert child.finished is not None
    status = child.finished.status
    return KEPT if status in (SUCCEEDED, SKIPPED) else LEFT_OUT, f"it {_said(status)}"
