"""The root's half of a fan-out: event → subscriptions → children, each with everything pinned.

In: an `EventEmitted` record and the run that emitted it. Out: a `FanOutPlan`, which the driver
records before anything starts. A child that cannot run (broken tako.yml, inputs that do not fit, a
repository that vanished, a cycle) is a failed child in the plan, never a failed fan-out. So is one whose
planning comes upon a bug: only what the machine does wrong concerns all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from tako.config.loader import load_config_file
from tako.config.schema import Subscription, Workflow
from tako.engine.fan_out.deliveries import Deliveries
from tako.engine.fan_out.judge import Judge, PlanningStoppedError
from tako.engine.fan_out.plan import FanOutPlan, PlannedChild, ready_child
from tako.engine.fan_out.refusals import check_cycle, check_depth, child_failure, refuse_strictly
from tako.engine.run.events import from_value
from tako.engine.run.run_ids import RunIds
from tako.engine.run.runnable import runnable
from tako.engine.run.spec import RunSpec
from tako.errors import (
    NotFoundError,
    UsageError,
)
from tako.events.event import Event, fingerprint
from tako.events.matching import Filtered, match
from tako.events.scope import event_scope
from tako.journal.log import JournalDamagedError, read_ends
from tako.journal.records import ChildPlanned, EventEmitted, RunStarted, SubscriptionFiltered
from tako.journal.run_state import FanOutState
from tako.journal.stored import Values
from tako.layout.names import CONFIG_NAME
from tako.repositories.caveats import NO_SUBSCRIBERS, STRICT, Caveats
from tako.repositories.discovery import Candidate
from tako.repositories.pins import Resolved
from tako.repositories.reference import Reference, Repository, parse_repository
from tako.repositories.upstream.faults import own_failure
from tako.sandbox.policy import Mount
from tako.system import clock
from tako.values import evolve, value

T = TypeVar("T")


class Repositories(Protocol):
    """What planning needs of the cache."""

    def discover(
        self, source: str, artifact: str, event_type: str, *, check: Callable[[], None]
    ) -> Iterable[Candidate]:
        """All subscriptions to that event of that artifact, in a fixed order; `check` may end the search."""

    def resolve(self, reference: Reference, *, check: Callable[[], None]) -> Resolved:
        """Pin what will run; `check` may end that."""

    def pinned(self, repository: Repository, branch: str, commit: str) -> Resolved:
        """What was pinned when the run was planned."""

    def snapshot(self, resolved: Resolved, *, check: Callable[[], None]) -> Path:
        """The immutable tree of what was pinned."""


class FanOutExecutor:
    """Plans the fan-outs of one execution tree."""

    def __init__(  # noqa: PLR0913 - all that planning asks
        self,
        repositories: Repositories,
        run_ids: RunIds,
        *,
        mounts: Callable[[Repository, Workflow], tuple[Mount, ...]] = lambda _repository, _workflow: (),
        require_secrets: Callable[[Workflow, Repository], None] = lambda _workflow, _repository: None,
        judge: Callable[[], Judge] = Judge,
        clock: Callable[[], float] = clock.now,
        deliveries: Deliveries | None = None,
        caveats: Caveats | None = None,
        strict: bool = False,
    ) -> None:
        """`mounts` says what a run sees beyond its workspace; raises `TakoError` for what is not granted.

        `require_secrets` raises it for a secret that the run may not or cannot have.
        `judge` makes what evaluates the filters of one plan. `deliveries` holds what a tree that is taken up
        again has planned before, `caveats` what its results have to be read with. With `strict` there is no
        plan while one of these says that somebody was missed.
        """
        self._repositories = repositories
        self._mounts = mounts
        self._require_secrets = require_secrets
        self._run_ids = run_ids
        self._clock = clock
        self._deliveries = deliveries or Deliveries()
        self._make_judge = judge
        self._caveats = caveats or Caveats()
        self._strict = strict

    def new_judge(self) -> Judge:
        """What evaluates filters for one plan, and can stop it."""
        return self._make_judge()

    def plan(self, parent: RunSpec, emitted: EventEmitted, judge: Judge | None = None) -> FanOutPlan:
        """Decide who runs; may be called from any thread.

        Raises `TakoError` when nothing can be planned at all: depth, number of children, the cache; or
        because the `judge` was stopped.
        """
        judge = judge or self._make_judge()
        try:
            check_depth(parent, self._caveats)
            return self._plan(parent, emitted, _heard(parent, emitted, judge))
        finally:
            judge.close()

    def _plan(self, parent: RunSpec, emitted: EventEmitted, heard: _Heard) -> FanOutPlan:
        event = heard.event
        children: list[PlannedChild] = []
        filtered: list[SubscriptionFiltered] = []
        found = self._discovered(heard)
        nobody = "" if found else f"nobody subscribes to {event.type} of {event.source}:{event.artifact}"
        if nobody:
            self._caveats.add(NO_SUBSCRIBERS, "", nobody)
        # Before any of them counts as delivered.
        self._check_caveats(nobody)
        for candidate in found:
            record = self._record(emitted.step, candidate, self._run_ids.new())
            try:
                outcome = self._consider(parent, heard, candidate, record)
            except PlanningStoppedError:
                self._deliveries.forget(heard.fingerprint, [child.record for child in children])
                raise
            if isinstance(outcome, PlannedChild):
                children.append(outcome)
            else:
                filtered.append(outcome)
        self._deliveries.count(len(children))
        return FanOutPlan(len(found), tuple(children), tuple(filtered))

    def plan_again(self, parent: RunSpec, fan_out: FanOutState, judge: Judge | None = None) -> FanOutPlan:
        """Give the children of an earlier plan that have not ended, at the commits they were pinned to.

        Those that could not be pinned then are now. Raises `TakoError` as `plan` does.
        """
        judge = judge or self._make_judge()
        try:
            return self._plan_again(parent, fan_out, judge)
        finally:
            judge.close()

    def _plan_again(self, parent: RunSpec, fan_out: FanOutState, judge: Judge) -> FanOutPlan:
        assert fan_out.planned is not None
        left = [
            _as_begun(parent, child.plan) for child in fan_out.children.values() if child.finished is None
        ]
        found: list[Candidate] = []
        heard = None
        # Those that are pinned need nothing of the event: their inputs are recorded.
        if any(not plan.commit for plan in left):
            heard = _heard(parent, fan_out.emitted, judge)
            found = self._discovered(heard)
            self._check_caveats()
        children: list[PlannedChild] = []
        gone: list[ChildPlanned] = []
        for plan in left:
            judge.check()
            again = (
                [self._guarded(plan, partial(self._pin_again, plan, judge))]
                if heard is None or plan.commit
                else self._reconsider(parent, heard, plan, found)
            )
            children += again
            gone += [] if again else [plan]
        return FanOutPlan(fan_out.planned.found, tuple(children), (), gone=tuple(gone), again=True)

    def _pin_again(self, plan: ChildPlanned, judge: Judge) -> PlannedChild:
        repository = parse_repository(plan.repository)
        resolved = self._repositories.pinned(repository, plan.branch, plan.commit)
        source = self._repositories.snapshot(resolved, check=judge.check)
        config = load_config_file(source / CONFIG_NAME)
        workflow = runnable(config, plan.workflow, "event")
        self._require_secrets(workflow, repository)
        return ready_child(plan, workflow, source, config, self._mounts(repository, workflow))

    def _reconsider(
        self, parent: RunSpec, heard: _Heard, plan: ChildPlanned, found: list[Candidate]
    ) -> list[PlannedChild]:
        """Plan a child anew that could not be planned, under the id that it has.

        One whose tako.yml could not be read stands for all subscriptions that it has by now: the others
        get ids of their own. Empty if it does not subscribe, or not to this event, any more.
        """
        key = parse_repository(plan.repository).key
        candidates = [one for one in found if one.repository.key == key]
        if plan.workflow:
            wanted = (plan.workflow, plan.subscription)
            candidates = [one for one in candidates if (one.workflow, one.position) == wanted]
        children: list[PlannedChild] = []
        for candidate in candidates:
            run_id = self._run_ids.new() if children else plan.run_id
            record = self._record(plan.step, candidate, run_id)
            outcome = self._consider(parent, heard, candidate, record, again=True)
            children += [outcome] if isinstance(outcome, PlannedChild) else []
        return children

    def _discovered(self, heard: _Heard) -> list[Candidate]:
        event = heard.event
        check = heard.judge.check
        return list(self._repositories.discover(event.source, event.artifact, event.type, check=check))

    def _check_caveats(self, nobody: str = "") -> None:
        """Raise `StrictError` if it is wanted and somebody may have been missed, or there is `nobody`."""
        if self._strict:
            missed = [caveat.reason for caveat in self._caveats.all() if caveat.kind in STRICT]
            refuse_strictly([nobody, *missed] if nobody else missed)

    def _consider(
        self,
        parent: RunSpec,
        heard: _Heard,
        candidate: Candidate,
        record: ChildPlanned,
        *,
        again: bool = False,
    ) -> PlannedChild | SubscriptionFiltered:
        heard.judge.check()
        subscription = candidate.subscription
        if candidate.error or candidate.config is None or subscription is None:
            error = candidate.error or NotFoundError("its tako.yml cannot be read")
            return PlannedChild(record, error=child_failure(record, error))
        refused = self._guarded(record, partial(self._match, heard, subscription, record))
        if refused is not None:
            return refused
        if not again and not self._deliveries.is_first(heard.fingerprint, record):
            return self._filtered(record, "the same event reached it already in this run", skipped=True)
        try:
            return self._guarded(
                record, partial(self._prepare, parent, heard, candidate, subscription, record)
            )
        except PlanningStoppedError:
            self._deliveries.forget(heard.fingerprint, () if again else (record,))
            raise

    def _match(
        self, heard: _Heard, subscription: Subscription, record: ChildPlanned
    ) -> PlannedChild | SubscriptionFiltered | None:
        """Say what stands in its way; None if nothing does."""

        def holds(text: str, _scope: object) -> bool:
            return heard.judge.holds(record.repository, text)

        matched = match(heard.event, subscription, holds)
        if not isinstance(matched, Filtered):
            return None
        if matched.failed:
            return PlannedChild(record, error=child_failure(record, UsageError(matched.reason)))
        return self._filtered(record, matched.reason)

    def _guarded(self, record: ChildPlanned, work: Callable[[], T]) -> T | PlannedChild:
        """Turn what goes wrong for one child into a child that failed."""
        try:
            return work()
        except PlanningStoppedError:
            raise
        except Exception as error:  # noqa: BLE001 - one repository's data must not fail the others
            return PlannedChild(record, error=child_failure(record, own_failure(error)))

    def _record(self, step: str, candidate: Candidate, run_id: str) -> ChildPlanned:
        return ChildPlanned(
            at=self._clock(),
            step=step,
            run_id=run_id,
            repository=candidate.repository.text,
            branch=candidate.branch,
            commit="",
            workflow=candidate.workflow,
            inputs={},
            subscription=candidate.position,
        )

    def _filtered(self, record: ChildPlanned, reason: str, *, skipped: bool = False) -> SubscriptionFiltered:
        return SubscriptionFiltered(
            self._clock(), record.step, record.repository, record.workflow, reason, skipped
        )

    def _prepare(
        self,
        parent: RunSpec,
        heard: _Heard,
        candidate: Candidate,
        subscription: Subscription,
        record: ChildPlanned,
    ) -> PlannedChild:
        config = candidate.config
        assert config is not None
        check_cycle(parent, candidate.repository.key, subscription.workflow)
        workflow = runnable(config, subscription.workflow, "event")
        inputs = heard.values.keep(heard.judge.inputs(record.repository, workflow, subscription.inputs))
        mounts = self._mounts(candidate.repository, workflow)
        self._require_secrets(workflow, candidate.repository)
        reference = Reference(candidate.repository, candidate.branch)
        resolved = self._repositories.resolve(reference, check=heard.judge.check)
        source = self._repositories.snapshot(resolved, check=heard.judge.check)
        pinned = evolve(record, commit=resolved.commit, branch=resolved.branch, inputs=inputs)
        return ready_child(pinned, workflow, source, config, mounts)


@value
class _Heard:
    """An event that is being answered: whole, as what two of them are compared by, its values, a judge."""

    event: Event
    fingerprint: str
    values: Values
    judge: Judge


def _heard(parent: RunSpec, emitted: EventEmitted, judge: Judge) -> _Heard:
    values = Values(parent.paths)
    event = from_value(emitted.event, values)
    judge.see({"event": event_scope(event)})
    return _Heard(event, fingerprint(event), values, judge)


def _as_begun(parent: RunSpec, plan: ChildPlanned) -> ChildPlanned:
    """The plan of a child, as its own journal has it if it has begun: there it is pinned."""
    if plan.commit:
        return plan
    try:
        started, _ = read_ends(parent.paths.child(plan.run_id).journal)
    except JournalDamagedError:
        return plan
    if not isinstance(started, RunStarted):
        return plan
    return evolve(
        plan,
        commit=started.commit,
        branch=started.branch,
        workflow=started.workflow,
        inputs=started.inputs,
    )
