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
from tako.config.schema import Config, Subscription, Workflow
from tako.engine.fan_out.deliveries import Deliveries
from tako.engine.fan_out.judge import Judge, PlanningStoppedError, TooExpensiveError
from tako.engine.run.events import from_value
from tako.engine.run.run_ids import RunIds
from tako.engine.run.runnable import runnable
from tako.engine.run.spec import RunSpec
from tako.engine.scheduler.limits import DoesNotFitError
from tako.errors import (
    ConfigError,
    InputsInvalidError,
    NotFoundError,
    TakoError,
    UnexpectedError,
    UsageError,
)
from tako.events.event import Event, fingerprint
from tako.events.matching import Filtered, match
from tako.events.scope import event_scope
from tako.journal.log import JournalDamagedError, read_ends
from tako.journal.parts import ChildExecutionError
from tako.journal.records import ChildPlanned, EventEmitted, RunStarted, SubscriptionFiltered
from tako.journal.run_state import FanOutState
from tako.journal.stored import Values
from tako.layout.names import CONFIG_NAME
from tako.repositories.cache import Resolved
from tako.repositories.caveats import NESTED, NO_SUBSCRIBERS, STRICT, Caveats
from tako.repositories.discovery import Candidate
from tako.repositories.reference import Reference, Repository, parse_repository
from tako.repositories.upstream.faults import own_failure
from tako.sandbox.policy import Mount
from tako.system import clock
from tako.values import evolve, value

DEPTH_MAX = 10
DEPTH_WARNING = 7
#: So many reasons say enough.
_TOLD_MAX = 5
T = TypeVar("T")


class StrictError(TakoError):
    """What was asked for cannot be tested as strictly as it was asked for."""


class Repositories(Protocol):
    """What planning needs of the cache."""

    def discover(
        self, source: str, artifact: str, event_type: str, *, check: Callable[[], None]
    ) -> Iterable[Candidate]:
        """All subscriptions to that event of that artifact, in a fixed order; `check` may end the search."""

    def resolve(self, reference: Reference) -> Resolved:
        """Pin what will run."""

    def pinned(self, repository: Repository, branch: str, commit: str) -> Resolved:
        """What was pinned when the run was planned."""

    def snapshot(self, resolved: Resolved) -> Path:
        """The immutable tree of what was pinned."""


@value
class PlannedChild:
    """One child: its record, and what running it needs; with an error, what went wrong before."""

    record: ChildPlanned
    workflow: Workflow | None = None
    source: Path | None = None
    config_digest: str = ""
    artifact_names: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    error: ChildExecutionError | None = None


@value
class FanOutPlan:
    """All that a fan-out will run, and all that it will not."""

    found: int
    children: tuple[PlannedChild, ...]
    filtered: tuple[SubscriptionFiltered, ...]
    #: Only the children of an earlier plan that have not ended.
    again: bool = False
    #: Of these, those that nobody wants to run any more.
    gone: tuple[ChildPlanned, ...] = ()


class FanOutExecutor:
    """Plans the fan-outs of one execution tree."""

    def __init__(  # noqa: PLR0913 - all that planning asks
        self,
        repositories: Repositories,
        run_ids: RunIds,
        *,
        mounts: Callable[[Repository, Workflow], tuple[Mount, ...]] = lambda _repository, _workflow: (),
        secrets: Callable[[Repository, Workflow], object] = lambda _repository, _workflow: None,
        judge: Callable[[], Judge] = Judge,
        clock: Callable[[], float] = clock.now,
        deliveries: Deliveries | None = None,
        caveats: Caveats | None = None,
        strict: bool = False,
    ) -> None:
        """`mounts` says what a run sees beyond its workspace; raises `TakoError` for what is not granted.

        `secrets` raises it for a secret that the run may or can not have; what it gives is not looked at.
        `judge` makes what evaluates the filters of one plan. `deliveries` holds what a tree that is taken up
        again has planned before, `caveats` what its results have to be read with. With `strict` there is no
        plan while one of these says that somebody was missed.
        """
        self._repositories = repositories
        self._mounts = mounts
        self._secrets = secrets
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
            self._check_depth(parent)
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
                [self._guarded(plan, partial(self._pin_again, plan))]
                if heard is None or plan.commit
                else self._reconsider(parent, heard, plan, found)
            )
            children += again
            gone += [] if again else [plan]
        return FanOutPlan(fan_out.planned.found, tuple(children), (), gone=tuple(gone), again=True)

    def _pin_again(self, plan: ChildPlanned) -> PlannedChild:
        repository = parse_repository(plan.repository)
        resolved = self._repositories.pinned(repository, plan.branch, plan.commit)
        source = self._repositories.snapshot(resolved)
        config = load_config_file(source / CONFIG_NAME)
        workflow = runnable(config, plan.workflow, "event")
        self._secrets(repository, workflow)
        return _planned(plan, workflow, source, config, self._mounts(repository, workflow))

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
            candidates = [one for one in candidates if (_workflow_of(one), _position(one)) == wanted]
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
        found = [nobody] if nobody else []
        found += [caveat.reason for caveat in self._caveats.all() if caveat.kind in STRICT]
        if self._strict and found:
            more = f"; and {len(found) - _TOLD_MAX} more" if len(found) > _TOLD_MAX else ""
            message = f"--strict: {'; '.join(found[:_TOLD_MAX])}{more}"
            raise StrictError(message, hint="--no-strict runs those that there are")

    def _check_depth(self, parent: RunSpec) -> None:
        depth = parent.depth + 1
        if depth > DEPTH_MAX:
            message = f"fan-outs are nested deeper than {DEPTH_MAX}"
            raise UsageError(message)
        if depth >= DEPTH_WARNING:
            reason = f"fan-outs are nested {depth} deep; {DEPTH_MAX} is the most"
            self._caveats.add(NESTED, parent.repository, reason)

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
            return PlannedChild(record, error=self._error(record, error))
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
            return PlannedChild(record, error=self._error(record, UsageError(matched.reason)))
        return self._filtered(record, matched.reason)

    def _guarded(self, record: ChildPlanned, work: Callable[[], T]) -> T | PlannedChild:
        """Turn what goes wrong for one child into a child that failed."""
        try:
            return work()
        except PlanningStoppedError:
            raise
        except Exception as error:  # noqa: BLE001 - one repository's data must not fail the others
            return PlannedChild(record, error=self._error(record, own_failure(error)))

    def _record(self, step: str, candidate: Candidate, run_id: str) -> ChildPlanned:
        return ChildPlanned(
            at=self._clock(),
            step=step,
            run_id=run_id,
            repository=candidate.repository.text,
            branch=candidate.branch,
            commit="",
            workflow=_workflow_of(candidate),
            inputs={},
            subscription=_position(candidate),
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
        _refuse_cycle(parent, candidate.repository.key, subscription.workflow)
        workflow = runnable(config, subscription.workflow, "event")
        inputs = heard.values.keep(heard.judge.inputs(record.repository, workflow, subscription.inputs))
        mounts = self._mounts(candidate.repository, workflow)
        self._secrets(candidate.repository, workflow)
        resolved = self._repositories.resolve(Reference(candidate.repository, candidate.branch))
        source = self._repositories.snapshot(resolved)
        pinned = evolve(record, commit=resolved.commit, branch=resolved.branch, inputs=inputs)
        return _planned(pinned, workflow, source, config, mounts)

    def _error(self, record: ChildPlanned, error: TakoError) -> ChildExecutionError:
        return ChildExecutionError(
            repository=record.repository,
            workflow=record.workflow,
            run_id=record.run_id,
            kind=kind_of(error),
            message=error.message,
        )


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


def _planned(
    record: ChildPlanned, workflow: Workflow, source: Path, config: Config, mounts: tuple[Mount, ...]
) -> PlannedChild:
    return PlannedChild(
        record,
        workflow=workflow,
        source=source,
        config_digest=config.digest,
        artifact_names=tuple(config.artifacts),
        mounts=mounts,
    )


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


def _workflow_of(candidate: Candidate) -> str:
    return candidate.subscription.workflow if candidate.subscription else ""


def _position(candidate: Candidate) -> int:
    """Which of its tako.yml's subscriptions it is; 0 where that cannot be read."""
    if candidate.config is None or candidate.subscription is None:
        return 0
    return candidate.config.subscriptions.index(candidate.subscription)


def kind_of(error: TakoError) -> str:
    """The kind of `ChildExecutionError` that a failure before the start is."""
    match error:
        case InputsInvalidError():
            return "inputs_invalid"
        case NotFoundError():
            return "not_found"
        case DoesNotFitError() | TooExpensiveError():
            return "limit_exceeded"
        case ConfigError() | UsageError():
            return "config_invalid"
        case UnexpectedError():
            return "internal_error"
        case _:
            return "sandbox_failed"


def _refuse_cycle(parent: RunSpec, repository: str, workflow: str) -> None:
    lineage = (*parent.ancestors, (parse_repository(parent.repository).key, parent.workflow.name))
    if (repository, workflow) in lineage:
        way = " → ".join(f"{name} {flow}" for name, flow in (*lineage, (repository, workflow)))
        message = f"this would run in a circle: {way}"
        raise UsageError(message)
