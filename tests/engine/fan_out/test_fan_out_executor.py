from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tako.config.schema import Artifact, Config, Input, Step, Subscription, Workflow
from tako.engine.fan_out.deliveries import CHILDREN_MAX
from tako.engine.fan_out.fan_out_executor import FanOutExecutor
from tako.engine.fan_out.plan import FanOutPlan, PlannedChild
from tako.engine.fan_out.refusals import StrictError, failure_kind
from tako.engine.run.run_ids import RunIds
from tako.engine.run.spec import RunSpec
from tako.errors import (
    ConfigError,
    DiskFullError,
    InputsInvalidError,
    MachineError,
    NotFoundError,
    Problem,
    TakoError,
    UnexpectedError,
    UsageError,
)
from tako.journal.records import EventEmitted
from tako.repositories.caveats import INCOMPLETE, LEFT_OUT, NESTED, NO_SUBSCRIBERS, STALE, Caveat, Caveats
from tako.repositories.discovery import Candidate
from tako.repositories.reference import parse_repository
from tako.values import evolve
from tests.support.fake_repositories import NOW, FakeRepositories
from tests.support.records import T0, event
from tests.support.segments import run_spec

CHECK = Workflow(
    name="check", on=("event",), steps=(Step(id="a", run="true", key="k"),), key="workflows.check"
)


def _subscription(**changes: Any) -> Subscription:  # noqa: ANN401 - any field
    whole = Subscription(
        artifact="acme/lib:default", events=("built",), workflow="check", key="subscriptions[0]"
    )
    return evolve(whole, **changes)


def _config(*subscriptions: Subscription, **changes: Any) -> Config:  # noqa: ANN401
    whole = Config(version="0.1.0", workflows={"check": CHECK}, subscriptions=subscriptions, digest="d1")
    return evolve(whole, **changes)


def _candidates(name: str, *subscriptions: Subscription, **config: Any) -> list[Candidate]:  # noqa: ANN401
    whole = _config(*subscriptions, **config)
    return [Candidate(parse_repository(name), "main", whole, None, one) for one in subscriptions]


@pytest.fixture
def parent(tmp_path: Path) -> RunSpec:
    """Give the run that emits: `release` of acme/lib."""
    return run_spec(tmp_path, repository="acme/lib", workflow=Workflow(name="release"))


def _ids() -> RunIds:
    numbers = iter(range(1 << 20))
    return RunIds(lambda: f"{next(numbers):08x}", lambda: T0)


def _executor(*candidates: Candidate, **vanished: TakoError) -> tuple[FanOutExecutor, FakeRepositories]:
    names: dict[str, Exception] = {name.replace("__", "/"): error for name, error in vanished.items()}
    repositories = FakeRepositories(list(candidates), vanished=names)
    return FanOutExecutor(repositories, _ids(), clock=lambda: T0), repositories


def _plan(parent: RunSpec, *candidates: Candidate, **changes: Any) -> FanOutPlan:  # noqa: ANN401
    executor, _ = _executor(*candidates)
    return executor.plan(parent, EventEmitted(T0, "fan", event(**changes)))


EMITTED = EventEmitted(T0, "fan", event())


def _only(plan: FanOutPlan) -> PlannedChild:
    [child] = plan.children
    return child


def _error(plan: FanOutPlan) -> tuple[str, str]:
    error = _only(plan).error
    assert error is not None
    assert (error.repository, error.workflow, error.run_id) == (
        _only(plan).record.repository,
        _only(plan).record.workflow,
        _only(plan).record.run_id,
    )
    return error.kind, error.message


# --- who runs ---


def test_a_subscriber_becomes_a_child_with_everything_pinned(parent: RunSpec) -> None:
    inputs = {"version": "{{ .event.payload.version }}", "from": "{{ .event.source.repository }}"}
    workflow = evolve(CHECK, inputs={name: Input(name) for name in inputs})
    candidates = _candidates(
        "acme/app",
        _subscription(inputs=inputs),
        workflows={"check": workflow},
        artifacts={"wheel": Artifact("wheel")},
    )
    plan = _plan(parent, *candidates)
    child = _only(plan)
    assert (plan.found, plan.filtered, child.error) == (1, (), None)
    assert (child.record.repository, child.record.branch, child.record.commit) == ("acme/app", "main", NOW)
    assert child.record.inputs == {"version": "1.2.3", "from": "acme/lib"}
    assert (child.record.step, child.record.workflow, child.record.at) == ("fan", "check", T0)
    assert (child.workflow, child.source) == (workflow, Path("/snapshots/acme/app", NOW))
    assert (child.config_digest, child.artifact_names) == ("d1", ("wheel",))


def test_it_asks_for_the_subscribers_of_exactly_this_event(parent: RunSpec) -> None:
    executor, repositories = _executor()
    executor.plan(parent, EventEmitted(T0, "fan", event(artifact="wheel", type="released")))
    assert repositories.asked == [("acme/lib", "wheel", "released")]


def test_nobody_who_listens_is_worth_a_warning(parent: RunSpec) -> None:
    caveats = Caveats()
    plan = FanOutExecutor(FakeRepositories(), _ids(), caveats=caveats).plan(parent, EMITTED)
    assert (plan.found, plan.children) == (0, ())
    reason = "nobody subscribes to built of acme/lib:default"
    assert caveats.new() == (Caveat(NO_SUBSCRIBERS, "", reason),)


def _strict(kind: str, *candidates: Candidate) -> FanOutExecutor:
    caveats = Caveats()
    caveats.add(kind, "acme/other", "acme/other is not as it should be")
    repositories = FakeRepositories(list(candidates))
    return FanOutExecutor(repositories, _ids(), caveats=caveats, strict=True)


@pytest.mark.parametrize("kind", [STALE, LEFT_OUT])
def test_strictly_there_is_no_plan_while_somebody_may_have_been_missed(parent: RunSpec, kind: str) -> None:
    executor = _strict(kind, *_candidates("acme/app", _subscription()))
    with pytest.raises(StrictError, match=r"^--strict: acme/other is not as it should be$"):
        executor.plan(parent, EMITTED)
    # Also for the next event, although this was told before.
    with pytest.raises(StrictError):
        executor.plan(parent, evolve(EMITTED, event=event(type="released")))


def test_strictly_somebody_has_to_listen_to_each_event(parent: RunSpec) -> None:
    repositories = FakeRepositories()
    executor = FanOutExecutor(repositories, _ids(), strict=True)
    with pytest.raises(StrictError, match="nobody subscribes to built"):
        executor.plan(parent, EMITTED)
    # To another event somebody does.
    repositories.candidates[:] = _candidates("acme/app", _subscription())
    assert executor.plan(parent, EMITTED).found == 1


def test_what_was_refused_strictly_does_not_count_as_delivered(parent: RunSpec) -> None:
    executor = _strict(STALE, *_candidates("acme/app", _subscription()))
    with pytest.raises(StrictError):
        executor.plan(parent, EMITTED)
    executor._strict = False
    assert _only(executor.plan(parent, EMITTED)).error is None


@pytest.mark.parametrize("kind", [INCOMPLETE, NESTED])
def test_other_warnings_are_in_nobodys_way(parent: RunSpec, kind: str) -> None:
    assert _strict(kind, *_candidates("acme/app", _subscription())).plan(parent, EMITTED).found == 1


def test_of_many_reasons_the_first_are_told(parent: RunSpec) -> None:
    caveats = Caveats()
    for number in range(9):
        caveats.add(STALE, "", f"number {number}")
    with pytest.raises(StrictError, match=r"number 3; and 5 more$"):
        FanOutExecutor(FakeRepositories(), _ids(), caveats=caveats, strict=True).plan(parent, EMITTED)


def test_every_child_has_an_id_of_its_own(parent: RunSpec) -> None:
    plan = _plan(parent, *(c for n in range(20) for c in _candidates(f"acme/app{n}", _subscription())))
    assert len({child.record.run_id for child in plan.children}) == 20
    assert [child.record.repository for child in plan.children] == [f"acme/app{n}" for n in range(20)]


# --- who does not ---


def test_another_schema_version_is_filtered_with_its_reason(parent: RunSpec) -> None:
    plan = _plan(parent, *_candidates("acme/app", _subscription(schema_version="[2.0.0...3.0.0)")))
    [filtered] = plan.filtered
    assert (plan.found, plan.children, filtered.skipped) == (1, (), False)
    assert (filtered.repository, filtered.workflow) == ("acme/app", "check")
    assert filtered.reason == "schema version 1.0.0 is outside [2.0.0...3.0.0)"


def test_a_filter_that_is_false_is_the_reason(parent: RunSpec) -> None:
    filters = ("semver.major(event.payload.version) > 0", "semver.major(event.payload.version) > 1")
    [filtered] = _plan(parent, *_candidates("acme/app", _subscription(filters=filters))).filtered
    assert filtered.reason == f"filter `{filters[1]}` is false"


def test_a_filter_that_reads_a_missing_field_is_false(parent: RunSpec) -> None:
    plan = _plan(parent, *_candidates("acme/app", _subscription(filters=("event.payload.nobody == 1",))))
    assert "reads a missing field" in plan.filtered[0].reason
    assert plan.children == ()


def test_a_filter_that_is_wrong_is_that_childs_failure(parent: RunSpec) -> None:
    kind, message = _error(_plan(parent, *_candidates("acme/app", _subscription(filters=("1 +",)))))
    assert kind == "config_invalid"
    assert "filter `1 +` failed" in message


# --- children that fail before they can run ---


def test_a_broken_tako_yml_is_that_childs_failure_and_the_others_run(parent: RunSpec) -> None:
    error = ConfigError((Problem("acme/broken/tako.yml", 3, 1, "workflows", "expected a mapping"),))
    broken = Candidate(parse_repository("acme/broken"), "main", None, error, None)
    plan = _plan(parent, broken, *_candidates("acme/app", _subscription()))
    assert [(child.record.repository, child.error is None) for child in plan.children] == [
        ("acme/broken", False),
        ("acme/app", True),
    ]
    failed = plan.children[0].error
    assert failed is not None
    assert (failed.kind, failed.message) == (
        "config_invalid",
        "acme/broken/tako.yml:3:1: workflows: expected a mapping",
    )


def test_a_candidate_of_which_nothing_could_be_read_is_a_failure(parent: RunSpec) -> None:
    nothing = Candidate(parse_repository("acme/app"), "main")
    assert _error(_plan(parent, nothing)) == ("not_found", "its tako.yml cannot be read")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "version"),
        ({"version": "1", "unknown": "x"}, "unknown"),
        ({"version": "1", "count": "x"}, "count"),
    ],
)
def test_inputs_that_do_not_fit_are_that_childs_failure(
    parent: RunSpec, given: dict[str, Any], said: str
) -> None:
    workflow = evolve(
        CHECK, inputs={"version": Input("version", required=True), "count": Input("count", "integer")}
    )
    candidates = _candidates("acme/app", _subscription(inputs=given), workflows={"check": workflow})
    kind, message = _error(_plan(parent, *candidates))
    assert kind == "inputs_invalid"
    assert said in message


def test_an_input_whose_template_finds_nothing_is_that_childs_failure(parent: RunSpec) -> None:
    candidates = _candidates("acme/app", _subscription(inputs={"v": "{{ .event.payload.nobody }}"}))
    kind, message = _error(_plan(parent, *candidates))
    assert kind == "config_invalid"
    assert "nobody" in message


def test_a_workflow_that_does_not_exist_is_named_with_the_nearest(parent: RunSpec) -> None:
    kind, message = _error(_plan(parent, *_candidates("acme/app", _subscription(workflow="chekc"))))
    assert kind == "not_found"
    assert "'chekc'" in message
    assert "check" in message


def test_a_workflow_that_does_not_run_on_events_is_refused(parent: RunSpec) -> None:
    workflows = {"check": evolve(CHECK, on=("exec",))}
    kind, message = _error(_plan(parent, *_candidates("acme/app", _subscription(), workflows=workflows)))
    assert kind == "config_invalid"
    assert "does not run on event; its `on` is exec" in message


def test_what_is_not_supported_yet_is_refused_and_named(parent: RunSpec) -> None:
    steps = (evolve(CHECK.steps[0], image="debian", long_running=True),)
    workflows = {"check": evolve(CHECK, steps=steps)}
    kind, message = _error(_plan(parent, *_candidates("acme/app", _subscription(), workflows=workflows)))
    assert kind == "config_invalid"
    assert message.splitlines() == [
        "tako.yml:1:1: k.image: image is not supported yet",
        "tako.yml:1:1: k.long_running: long_running is not supported yet",
    ]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(NotFoundError("it is gone"), "not_found"), (MachineError("git cannot be run"), "sandbox_failed")],
)
def test_a_repository_that_vanished_is_that_childs_failure(
    parent: RunSpec, error: TakoError, kind: str
) -> None:
    both = [*_candidates("acme/gone", _subscription()), *_candidates("acme/app", _subscription())]
    executor, _ = _executor(*both, acme__gone=error)
    plan = executor.plan(parent, EventEmitted(T0, "fan", event()))
    gone, app = plan.children
    assert gone.error is not None
    assert (gone.error.kind, gone.error.message, app.error) == (kind, error.message, None)


# --- guards ---


def test_a_circle_is_that_childs_failure_and_its_way_is_told(parent: RunSpec) -> None:
    below = evolve(parent, ancestors=(("acme/top", "ship"), ("acme/app", "check")))
    kind, message = _error(_plan(below, *_candidates("Acme/App", _subscription())))
    assert kind == "config_invalid"
    assert message == (
        "this would run in a circle: acme/top ship → acme/app check → acme/lib release → acme/app check"
    )


def test_the_run_that_emits_is_part_of_the_circle(parent: RunSpec) -> None:
    itself = evolve(parent, repository="acme/app", workflow=CHECK)
    assert "in a circle" in _error(_plan(itself, *_candidates("acme/app", _subscription())))[1]


def test_another_workflow_of_the_same_repository_is_no_circle(parent: RunSpec) -> None:
    below = evolve(parent, ancestors=(("acme/app", "release"),))
    assert _only(_plan(below, *_candidates("acme/app", _subscription()))).error is None


def _deep(parent: RunSpec, depth: int) -> RunSpec:
    return evolve(parent, ancestors=tuple((f"acme/r{n}", "w") for n in range(depth)))


@pytest.mark.parametrize(("depth", "warned"), [(5, False), (6, True), (9, True)])
def test_depth_is_warned_about_before_it_ends(parent: RunSpec, depth: int, warned: bool) -> None:
    caveats = Caveats()
    repositories = FakeRepositories(_candidates("acme/app", _subscription()))
    FanOutExecutor(repositories, _ids(), caveats=caveats).plan(_deep(parent, depth), EMITTED)
    found = [caveat.reason for caveat in caveats.new()]
    assert found == [f"fan-outs are nested {depth + 1} deep; 10 is the most"] * warned


def test_beyond_the_depth_nothing_is_planned(parent: RunSpec) -> None:
    with pytest.raises(UsageError, match="nested deeper than 10"):
        _plan(_deep(parent, 10))


def test_the_number_of_children_is_limited_over_the_whole_tree(
    parent: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert CHILDREN_MAX == 10_000
    monkeypatch.setattr("tako.engine.fan_out.deliveries.CHILDREN_MAX", 3)
    executor, _ = _executor(*_candidates("acme/a", _subscription()), *_candidates("acme/b", _subscription()))
    executor.plan(parent, EventEmitted(T0, "fan", event()))
    with pytest.raises(UsageError, match="more than 3 children"):
        executor.plan(parent, EventEmitted(T0, "fan", event(payload={"version": "2.0.0"})))


def test_the_same_event_reaches_a_subscription_once_in_a_tree(parent: RunSpec) -> None:
    executor, _ = _executor(*_candidates("acme/app", _subscription()))
    first = executor.plan(parent, EventEmitted(T0, "fan", event()))
    assert len(first.children) == 1
    # From another run of the tree: who emitted it is no part of what an event is.
    again = executor.plan(parent, EventEmitted(T0, "other", event(run_id="exec-20231114-221320-000000ff")))
    assert (again.children, again.found) == ((), 1)
    assert again.filtered[0].skipped
    assert again.filtered[0].reason == "the same event reached it already in this run"
    other = executor.plan(parent, EventEmitted(T0, "fan", event(payload={"version": "2.0.0"})))
    assert len(other.children) == 1


def test_two_subscriptions_of_one_repository_are_two_children(parent: RunSpec) -> None:
    subscriptions = (_subscription(), _subscription(key="subscriptions[1]", inputs={}))
    assert len(_plan(parent, *_candidates("acme/app", *subscriptions)).children) == 2


def test_equal_subscriptions_of_two_repositories_are_two_children(parent: RunSpec) -> None:
    both = [*_candidates("acme/a", _subscription()), *_candidates("acme/b", _subscription())]
    assert len(_plan(parent, *both).children) == 2


def test_an_emitted_value_that_is_no_event_plans_nothing(parent: RunSpec) -> None:
    with pytest.raises(UsageError, match="schema_version"):
        _plan(parent, schema_version="one")


def test_a_cache_that_cannot_be_used_plans_nothing(parent: RunSpec) -> None:
    class Broken(FakeRepositories):
        def discover(self, *_: str, check: Callable[[], None]) -> Iterator[Candidate]:
            check()
            message = "the cache cannot be read"
            raise MachineError(message)

    executor = FanOutExecutor(Broken([]), _ids())
    with pytest.raises(MachineError, match="cache cannot be read"):
        executor.plan(parent, EventEmitted(T0, "fan", event()))


@pytest.mark.parametrize("where", ["matched", "prepared"])
def test_a_bug_that_one_repository_brings_out_fails_that_child_alone(
    parent: RunSpec, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def broken(text: str, *_: object) -> bool:
        if text == "true":
            message = "what nobody foresaw"
            raise RuntimeError(message)
        return True

    if where == "matched":
        monkeypatch.setattr("tako.engine.fan_out.judge.Judge.holds", lambda _self, _name, text: broken(text))
        odd = _candidates("acme/odd", _subscription(filters=("true",)))
        executor, _ = _executor(*odd, *_candidates("acme/app", _subscription(filters=("1 == 1",))))
    else:
        odd = _candidates("acme/odd", _subscription())
        executor, repositories = _executor(*odd, *_candidates("acme/app", _subscription()))
        repositories.vanished["acme/odd"] = RuntimeError("what nobody foresaw")
    failed, app = executor.plan(parent, EventEmitted(T0, "fan", event())).children
    assert failed.error is not None
    assert (failed.error.kind, app.error) == ("internal_error", None)
    raised_in = Path(__file__).name if where == "matched" else "fake_repositories.py"
    assert f"RuntimeError: what nobody foresaw ({raised_in}, line " in failed.error.message


@pytest.mark.parametrize(
    ("number", "of_all"), [(errno.ENOSPC, True), (errno.EMFILE, True), (errno.EACCES, False)]
)
def test_an_error_of_the_machine_concerns_all_and_one_of_a_file_its_repository(
    parent: RunSpec, number: int, of_all: bool
) -> None:
    executor, repositories = _executor(*_candidates("acme/odd", _subscription()))
    repositories.vanished["acme/odd"] = OSError(number, os.strerror(number), "/some/file")
    if of_all:
        with pytest.raises(MachineError, match=r"no space left while writing /some/file|may open no more"):
            executor.plan(parent, EventEmitted(T0, "fan", event()))
    else:
        plan = executor.plan(parent, EventEmitted(T0, "fan", event()))
        assert _error(plan) == ("sandbox_failed", f"/some/file cannot be used: {os.strerror(number)}")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InputsInvalidError("x"), "inputs_invalid"),
        (UnexpectedError("x"), "internal_error"),
        (NotFoundError("x"), "not_found"),
        (ConfigError(()), "config_invalid"),
        (UsageError("x"), "config_invalid"),
        (MachineError("x"), "sandbox_failed"),
        (TakoError("x"), "sandbox_failed"),
    ],
)
def test_every_failure_before_the_start_has_its_kind(error: TakoError, kind: str) -> None:
    make: Callable[[TakoError], str] = failure_kind
    assert make(error) == kind


def test_a_full_disk_while_planning_is_no_childs_failure(parent: RunSpec) -> None:
    executor, _ = _executor(
        *_candidates("acme/app", _subscription()), acme__app=DiskFullError("no space left")
    )
    with pytest.raises(DiskFullError, match="no space left"):
        executor.plan(parent, EventEmitted(T0, "fan", event()))
