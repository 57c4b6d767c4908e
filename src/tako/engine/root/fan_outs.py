"""The driver's fan-outs: planned in a thread, recorded, their children adopted, closed.

    fan-out reached ─▶ planner (thread) ─▶ records of the plan ─▶ FanOutPlanned for the machine
    fan-out of a run taken up again ─▶ the same, for the children that have not ended

In: runs that reached a fan-out. Out: stimuli. What goes wrong for one child is a failed child;
what goes wrong for all fails the fan-out's step. A bug or a disk that takes no more is told to the driver.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from tako.config.schema import Step
from tako.engine.resume.decision import ended_children
from tako.engine.resume.resumer import Resumer
from tako.engine.root.results import step_closed
from tako.engine.run.registry import Tree
from tako.engine.run.spec import RunSpec
from tako.engine.scheduler import instructions as i
from tako.engine.scheduler import stimuli as h
from tako.errors import TakoError, WriteFailedError
from tako.journal.parts import ChildExecutionError
from tako.journal.records import (
    CheckoutSeen,
    ChildFinished,
    ChildPlanned,
    EventEmitted,
    FanOutPlanned,
    Noted,
    StepFinished,
    Warned,
)
from tako.journal.run_state import FanOutState, RunState
from tako.journal.statuses import FAILED, SKIPPED
from tako.system import clock
from tako.system.storage.faults import fault_of
from tako.values import value

if TYPE_CHECKING:
    # A run without fan-out never needs them.
    from concurrent.futures import Future, ThreadPoolExecutor

    from tako.engine.fan_out.child_runner_factory import ChildRunnerFactory
    from tako.engine.fan_out.fan_out_executor import FanOutExecutor
    from tako.engine.fan_out.judge import Judge
    from tako.engine.fan_out.plan import FanOutPlan, PlannedChild
    from tako.engine.root.observer import Observer
    from tako.repositories.caveats import Caveats

PostToLoop = Callable[[Callable[[], h.Stimulus | None]], None]


@value
class PendingFanOut:
    """A fan-out at which a run stands; `timeout_s` is what is left of its time."""

    fan_out: FanOutState
    attempt: int
    #: When it was reached, later by the time in which nobody was there.
    began: float
    timeout_s: float | None
    #: Its step has ended: nobody waits for its children.
    closed: bool = False

    @property
    def emitted(self) -> EventEmitted:
        """The event, and how its children are to be run."""
        return self.fan_out.emitted


class Planning:
    """All fan-outs of one tree, as far as they are the root's work."""

    def __init__(  # noqa: PLR0913 - all that a tree's fan-outs are wired to
        self,
        tree: Tree,
        resumer: Resumer,
        *,
        planner: Callable[[], FanOutExecutor],
        factory: Callable[[], ChildRunnerFactory],
        observers: Sequence[Observer],
        post: PostToLoop,
        on_error: Callable[[BaseException], None],
        caveats: Caveats,
    ) -> None:
        """`planner`, `factory` are called at the first fan-out; `on_error` hears of bugs and full disks.

        `caveats` are what planning and its cache come upon.
        """
        self._caveats = caveats
        self._tree = tree
        self._taking_up = resumer
        self._make_planner = planner
        self._planner: FanOutExecutor | None = None
        self._make_factory = factory
        self._factory: ChildRunnerFactory | None = None
        self._observers = observers
        self._post = post
        self._on_error = on_error
        self._reached: dict[tuple[str, str], PendingFanOut] = {}
        #: What is being planned, or waits for it.
        self._judges: dict[tuple[str, str], Judge] = {}
        self._thread: ThreadPoolExecutor | None = None

    def reached(self, spec: RunSpec, step: str, state: RunState, *, closed: bool = False) -> None:
        """A run stands at a fan-out, from now on or again."""
        fan_out = state.fan_outs[step]
        now, left_s = clock.now(), fan_out.emitted.timeout_s
        if left_s is not None:
            left_s = max(0.0, left_s - state.active_s(fan_out.since, now))
        began = now - state.active_s(fan_out.began, now)
        self._reached[spec.run_id, step] = PendingFanOut(
            fan_out, state.step(step).attempts, began, left_s, closed
        )

    def plan(self, order: i.PlanFanOut) -> None:
        """Plan in a thread: reading repositories must not keep the loop from signals and deadlines."""
        from concurrent.futures import ThreadPoolExecutor

        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="planning")
        self._planner = self._planner or self._make_planner()
        spec, reached = self._tree.runs[order.run_id].spec, self._reached[order.run_id, order.step]
        if spec.in_place:
            self._look_at_checkout(spec)
        judge = self._judges[order.run_id, order.step] = self._planner.new_judge()
        if reached.fan_out.planned is not None:
            plan = self._thread.submit(self._planner.plan_again, spec, reached.fan_out, judge)
        else:
            plan = self._thread.submit(self._planner.plan, spec, reached.emitted, judge)
        plan.add_done_callback(lambda done: self._post(partial(self._planned, spec, order.step, done)))

    def stop(self, order: i.StopPlanning) -> None:
        """End the planning of a run's fan-outs; `FanOutFailed` follows, unless it was done before."""
        for (run_id, _), judge in self._judges.items():
            if run_id == order.run_id:
                judge.stop()

    def warn(self, spec: RunSpec, step: str = "") -> None:
        """Record and show what the results have to be read with, as far as it is new; raises as recording."""
        for caveat in self._caveats.new():
            for observer in self._observers:
                observer.warned(spec, step, caveat)
            warned = Warned(clock.now(), caveat.kind, caveat.reason, caveat.repository, step)
            self._tree.record(spec.run_id, warned)

    def close(self, *, at_once: bool) -> None:
        """Stop planning; waits for what is under way unless it is to end `at_once`."""
        if self._thread:
            self._thread.shutdown(wait=not at_once, cancel_futures=True)

    def close_fan_out(self, order: i.CloseFanOut) -> None:
        """Record how a fan-out step ended."""
        spec, reached = self._tree.runs[order.run_id].spec, self._reached.pop((order.run_id, order.step))
        step = _step_of(spec, order.step)
        record = step_closed(
            step,
            order.status,
            order.tally,
            now=clock.now(),
            began=reached.began,
            attempt=reached.attempt,
        )
        self._tree.record(order.run_id, record)

    # --- what the thread found ---

    def _look_at_checkout(self, spec: RunSpec) -> None:
        """Record what the run's own steps made of the user's checkout: a resume can then tell who did it."""
        from tako.repositories.upstream.git import CheckoutState, checkout_state

        assert self._thread is not None

        def seen(done: Future[CheckoutState]) -> None:
            with suppress(TakoError):
                found = done.result()
                record = CheckoutSeen(clock.now(), found.commit, found.tracked_changes)
                self._tree.record(spec.run_id, record)

        looking = self._thread.submit(checkout_state, spec.source)
        looking.add_done_callback(lambda done: self._post(partial(seen, done)))

    def _planned(self, spec: RunSpec, step: str, done: Future[FanOutPlan]) -> h.Stimulus:
        reached = self._reached[spec.run_id, step]
        del self._judges[spec.run_id, step]
        error = done.exception()
        if error is not None:
            return self._not_planned(spec, step, reached, error)
        plan = done.result()
        try:
            self.warn(spec, step)
            self._record_plan(spec, reached, plan)
        except WriteFailedError as failed:
            return self._not_planned(spec, step, reached, failed)
        for observer in self._observers:
            observer.planned(spec, step, plan)
        emitted = reached.emitted
        return h.FanOutPlanned(
            run_id=spec.run_id,
            step=step,
            children=tuple(self._adopt(spec, emitted, child) for child in plan.children),
            now=time.monotonic(),
            wait=emitted.wait_for_children,
            timeout_s=reached.timeout_s,
            limit=emitted.concurrency_limit,
            on_child_failure=emitted.on_child_failure,
            ended=ended_children(reached.fan_out),
            closed=reached.closed,
        )

    def _not_planned(
        self, spec: RunSpec, step: str, reached: PendingFanOut, error: BaseException
    ) -> h.Stimulus:
        from tako.engine.fan_out.judge import PlanningStoppedError

        with suppress(WriteFailedError):
            self.warn(spec, step)
        if isinstance(error, PlanningStoppedError):
            return h.FanOutFailed(spec.run_id, step, closed=reached.closed, stopped=True)
        self._on_error(error)
        error = fault_of(error) or error
        tolerated = _step_of(spec, step).continue_on_error
        failed = StepFinished(
            clock.now(), step, reached.attempt, FAILED, message=str(error), tolerated=tolerated
        )
        noted = Noted(clock.now(), f"its children cannot be taken up again: {error}", step)
        with suppress(WriteFailedError):
            self._tree.record(spec.run_id, noted if reached.closed else failed, final=True)
        return h.FanOutFailed(spec.run_id, step, closed=reached.closed)

    def _record_plan(self, spec: RunSpec, reached: PendingFanOut, plan: FanOutPlan) -> None:
        now, step = clock.now(), reached.emitted.step
        fan_out = reached.fan_out
        if fan_out.planned is None and (fan_out.children or fan_out.filtered):
            # Planned once before, up to somewhere: the event stands for the beginning of this plan.
            self._tree.record(spec.run_id, reached.emitted)
            fan_out.children.clear()
        for filtered in plan.filtered:
            self._tree.record(spec.run_id, filtered)
        for child in plan.children:
            known = fan_out.children.get(child.record.run_id)
            if known is None or known.plan != child.record:
                self._tree.record(spec.run_id, child.record)
            if child.error is not None:
                self._record_failure(spec, step, child.record.run_id, child.error)
        for plan_gone in plan.gone:
            ended = ChildFinished(now, step, plan_gone.run_id, SKIPPED)
            self._tree.record(spec.run_id, ended)
            fan_out.children[plan_gone.run_id].finished = ended
            told = f"{plan_gone.repository} does not subscribe to this event any more"
            self._tree.record(spec.run_id, Noted(now, told, step))
        if fan_out.planned is None:
            self._tree.record(spec.run_id, FanOutPlanned(now, step, plan.found, len(plan.children)))

    def _record_failure(self, spec: RunSpec, step: str, run_id: str, error: ChildExecutionError) -> None:
        with suppress(WriteFailedError):
            ended = ChildFinished(clock.now(), step, run_id, FAILED, error=error)
            self._tree.record(spec.run_id, ended, final=True)

    def _adopt(self, spec: RunSpec, emitted: EventEmitted, child: PlannedChild) -> h.NewRun:
        if child.error is not None:
            return h.NewRun(child.record.run_id, "", failed=True)
        self._factory = self._factory or self._make_factory()
        try:
            made = self._factory.spec(spec, emitted, child)
            self._tree.add(made)
            new, state = self._taking_up.enter(made)
        except Exception as error:  # noqa: BLE001 - one child's data must not fail the others
            return self._not_adopted(spec, emitted, child.record, error)
        if state is not None:
            self.stand(made, new, state)
        return new

    def _not_adopted(
        self, spec: RunSpec, emitted: EventEmitted, plan: ChildPlanned, error: Exception
    ) -> h.NewRun:
        """Fail that child alone: its journal cannot be read, or its workflow brings out a bug."""
        from tako.engine.fan_out.refusals import child_failure
        from tako.repositories.upstream.faults import own_failure

        self._tree.runs.pop(plan.run_id, None)
        try:
            failure = own_failure(error)
        except TakoError as fault:
            # A full disk stops all.
            self._on_error(fault)
            failure = fault
        self._record_failure(spec, emitted.step, plan.run_id, child_failure(plan, failure))
        return h.NewRun(plan.run_id, "", failed=True)

    def stand(self, spec: RunSpec, new: h.NewRun, state: RunState) -> None:
        """Remember the fan-outs of a run that was taken up."""
        if new.fan_out:
            self.reached(spec, new.fan_out, state)
        for name in new.open_fan_outs:
            self.reached(spec, name, state, closed=True)


def _step_of(spec: RunSpec, step_id: str) -> Step:
    return next(step for step in spec.workflow.steps if step.id == step_id)
