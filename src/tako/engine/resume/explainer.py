"""Looks through the tree of a run that may be taken up again: what is kept, what runs again, and why.

In: the root's spec and state, and what plans and makes children, as the driver would use them. Out: one
`ResumeVerdict` for each step and child, in the order of the tree. Nothing is run and no journal is written;
the states that were read are brought to where the resume would begin.
"""

from __future__ import annotations

from collections.abc import Iterator

from tako.config.schema import Step, all_steps
from tako.engine.fan_out.child_runner_factory import ChildRunnerFactory
from tako.engine.fan_out.fan_out_executor import FanOutExecutor
from tako.engine.fan_out.plan import PlannedChild
from tako.engine.resume.decision import Decision, NotRepeatableError, decide_resume, resumed
from tako.engine.resume.resumer import Resumption
from tako.engine.resume.verdicts import (
    NOT_BEGUN,
    Read,
    ResumeVerdict,
    Verdict,
    as_it_ended,
    child_as_it_ended,
    read_journal,
    said,
    untouched_child,
)
from tako.engine.run.spec import RunSpec
from tako.engine.steps.workspace import why_lost
from tako.errors import NotFoundError
from tako.journal.fold import apply
from tako.journal.log import JournalDamagedError
from tako.journal.run_state import ChildState, FanOutState, RunState
from tako.journal.statuses import INTERRUPTED, SUCCEEDED
from tako.system import clock
from tako.version import VERSION


class ResumeExplainer:
    """Of one tree."""

    def __init__(
        self,
        planner: FanOutExecutor,
        factory: ChildRunnerFactory,
        resumption: Resumption,
        *,
        read: Read = read_journal,
        whole: bool = True,
    ) -> None:
        """Without `whole` the children that are not taken up are not looked at."""
        self._planner = planner
        self._factory = factory
        self._resumption = resumption
        self._read = read
        self._whole = whole

    def findings(self, spec: RunSpec, state: RunState, depth: int = 0) -> Iterator[ResumeVerdict]:
        """Give what becomes of each step of a run, and of each child below it."""
        try:
            decision = decide_resume(
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
            yield from self._refused(spec, state, error.message, depth)
            return
        told = list(_steps(spec, state, decision, depth))
        apply(state, resumed(decision, state, now=clock.now(), version=VERSION))
        for finding in told:
            yield finding
            if finding.step in state.fan_outs:
                yield from self._children(spec, state, state.fan_outs[finding.step], depth + 1)

    def _refused(self, spec: RunSpec, state: RunState, why: str, depth: int) -> Iterator[ResumeVerdict]:
        for step in all_steps(spec.workflow.steps):
            yield ResumeVerdict(depth, spec.repository, spec.run_id, step.id, Verdict.LEFT_OUT, why)
            if step.id in state.fan_outs:
                for child in state.fan_outs[step.id].children.values():
                    yield from self._untouched(spec, child, depth + 1, child_as_it_ended(child))

    def _children(
        self, spec: RunSpec, state: RunState, fan_out: FanOutState, depth: int
    ) -> Iterator[ResumeVerdict]:
        if fan_out.planned is None:
            return
        step = fan_out.emitted.step
        if fan_out.emitted.wait_for_children and state.step(step).finished is not None:
            for child in fan_out.children.values():
                yield from self._not_again(spec, child, f"{step} is not repeated", depth)
            return
        plan = self._planner.plan_again(spec, fan_out)
        again = {planned.record.run_id: planned for planned in plan.children}
        gone = {lost.run_id for lost in plan.gone}
        for run_id, child in fan_out.children.items():
            planned = again.pop(run_id, None)
            if run_id in gone:
                yield from self._untouched(
                    spec, child, depth, (Verdict.LEFT_OUT, "it does not subscribe any more")
                )
            elif planned is None:
                yield from self._not_again(spec, child, "--failed-only leaves it out", depth)
            elif planned.error is not None:
                why = f"it cannot run: {planned.error.message}"
                yield from self._untouched(spec, child, depth, (Verdict.LEFT_OUT, why))
            else:
                yield from self._of_child(spec, fan_out, child, planned, depth)
        for planned in again.values():
            # Their ids are drawn when they are planned.
            why = "its tako.yml could not be read before, and has this subscription too"
            yield ResumeVerdict(depth, planned.record.repository, "", "", Verdict.FIRST, why)

    def _not_again(
        self, spec: RunSpec, child: ChildState, reason: str, depth: int
    ) -> Iterator[ResumeVerdict]:
        verdict, why = child_as_it_ended(child)
        why = f"{why}, and {reason}" if verdict == Verdict.LEFT_OUT else why
        return self._untouched(spec, child, depth, (verdict, why))

    def _untouched(
        self, spec: RunSpec, child: ChildState, depth: int, told: tuple[Verdict, str]
    ) -> Iterator[ResumeVerdict]:
        if self._whole:
            yield from untouched_child(spec.paths, child, self._read, depth, told)

    def _of_child(
        self, spec: RunSpec, fan_out: FanOutState, child: ChildState, planned: PlannedChild, depth: int
    ) -> Iterator[ResumeVerdict]:
        own = self._factory.spec(spec, fan_out.emitted, planned)
        try:
            state = self._read(own.paths)
        except NotFoundError:
            state = RunState()
        except JournalDamagedError as damage:
            why = f"it cannot go on: {damage.message}"
            yield from self._untouched(spec, child, depth, (Verdict.LEFT_OUT, why))
            return
        if state.started is None and self._resumption.failed_only:
            yield from self._not_again(spec, child, "--failed-only leaves it out", depth)
            return
        verdict, why = (
            (Verdict.FIRST, NOT_BEGUN) if state.started is None else (Verdict.AGAIN, _why_again(state))
        )
        yield ResumeVerdict(depth, own.repository, own.run_id, "", verdict, why)
        yield from self.findings(own, state, depth + 1)


def _why_again(state: RunState) -> str:
    ended = state.finished.status if state.finished else INTERRUPTED
    return "it succeeded, but not all of its children did" if ended == SUCCEEDED else f"it {said(ended)}"


def _steps(spec: RunSpec, state: RunState, decision: Decision, depth: int) -> Iterator[ResumeVerdict]:
    """Give what becomes of a run's own steps, each followed by its `on_failure` steps."""

    def finding(step: Step, verdict: Verdict, why: str) -> ResumeVerdict:
        return ResumeVerdict(
            depth, spec.repository, spec.run_id, step.id, verdict, why, step.id in decision.forbidden
        )

    ends_at = ""
    for step in spec.workflow.steps:
        verdict, why = (
            (Verdict.LEFT_OUT, f"the run ends at {ends_at}") if ends_at else _verdict(state, decision, step)
        )
        yield finding(step, verdict, why)
        for cleanup in all_steps(step.on_failure):
            yield finding(cleanup, *_cleanup(state, decision, cleanup, step, verdict))
        if verdict == Verdict.LEFT_OUT:
            ends_at = ends_at or step.id


def _verdict(state: RunState, decision: Decision, step: Step) -> tuple[Verdict, str]:
    known = state.step(step.id)
    if decision.starts_over:
        return Verdict.AGAIN if known.attempts else Verdict.FIRST, decision.starts_over
    if known.started is None and known.finished is None:
        return Verdict.FIRST, NOT_BEGUN
    if known.allows_next_step:
        return as_it_ended(known)
    why = _why_cut_off(state, step) if known.was_cut_off else as_it_ended(known)[1]
    if step.id not in decision.reset:
        return Verdict.LEFT_OUT, f"{why}, and counts as failed"
    return Verdict.AGAIN, why


def _why_cut_off(state: RunState, step: Step) -> str:
    fan_out = state.fan_outs.get(step.id)
    if fan_out is None:
        return "it was interrupted"
    return "its children had not all " + ("been planned" if fan_out.planned is None else "ended")


def _cleanup(
    state: RunState, decision: Decision, cleanup: Step, step: Step, verdict: Verdict
) -> tuple[Verdict, str]:
    """What becomes of an `on_failure` step of a step with that verdict."""
    known = state.step(cleanup.id)
    if verdict in (Verdict.AGAIN, Verdict.FIRST):
        return Verdict.ON_FAILURE, f"only if {step.id} fails"
    if known.finished is not None and (not known.was_cut_off or cleanup.id in decision.forbidden):
        return as_it_ended(known)
    if verdict == Verdict.KEPT or step.id not in decision.forbidden:
        return Verdict.LEFT_OUT, f"it runs only if {step.id} fails"
    return Verdict.AGAIN if known.attempts else Verdict.FIRST, f"{step.id} counts as failed"
