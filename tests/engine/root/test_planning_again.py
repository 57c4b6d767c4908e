"""The children of a fan-out that is taken up again: as they were pinned, or with what is there now."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tako.config.schema import Workflow
from tako.engine.fan_out.deliveries import Deliveries, Delivery
from tako.engine.fan_out.fan_out_executor import FanOutExecutor
from tako.engine.fan_out.plan import FanOutPlan
from tako.engine.run.events import from_value
from tako.engine.run.run_ids import RunIds
from tako.engine.run.spec import RunSpec
from tako.errors import ConfigError, DiskFullError, NotFoundError, Problem, UsageError
from tako.events.event import fingerprint
from tako.journal.fold import fold
from tako.journal.log import line_of
from tako.journal.records import ChildFinished, ChildPlanned, EventEmitted, FanOutPlanned
from tako.journal.run_state import FanOutState
from tako.journal.stored import Values
from tako.repositories.discovery import Candidate
from tako.repositories.reference import Repository, parse_repository
from tako.values import evolve
from tests.support.fake_repositories import NOW, FakeRepositories
from tests.support.git import write_files
from tests.support.records import T0, event, run_id, run_started
from tests.support.scenes import subscription, tako_yml, workflow
from tests.support.segments import run_spec

_OLD = "0" * 40


@pytest.fixture
def repositories(tmp_path: Path) -> FakeRepositories:
    return FakeRepositories(directory=tmp_path / "snapshots")


@pytest.fixture
def parent(tmp_path: Path) -> RunSpec:
    """Give the run whose fan-out is taken up."""
    return run_spec(tmp_path, repository="acme/lib", workflow=Workflow(name="release"))


def _config(*names: str, **subscribed: Any) -> str:  # noqa: ANN401 - any key
    flows = {name: workflow("true", inputs={"version": {"required": False}}) for name in names}
    return tako_yml(flows, [subscription(name=name, **subscribed) for name in names])


def _plan(number: int, name: str, commit: str = _OLD, **changes: Any) -> ChildPlanned:  # noqa: ANN401
    whole = ChildPlanned(T0, "fan", run_id(number), f"acme/{name}", "main", commit, "check", {"version": "1"})
    return evolve(whole, **changes)


def _fan_out(*plans: ChildPlanned, ended: Mapping[int, str] | None = None) -> FanOutState:
    """A fan-out with these children, of which some ended so."""
    state = fold(
        [
            run_started(),
            EventEmitted(T0, "fan", event()),
            *plans,
            FanOutPlanned(T0, "fan", 7, len(plans)),
            *(ChildFinished(T0, "fan", run_id(number), status) for number, status in (ended or {}).items()),
        ]
    )
    return state.fan_outs["fan"]


def _again(
    parent: RunSpec,
    repositories: FakeRepositories,
    fan_out: FanOutState,
    **more: Any,  # noqa: ANN401 - what a `FanOutExecutor` takes
) -> FanOutPlan:
    numbers = iter(range(1 << 20))
    ids = RunIds(lambda: f"{next(numbers):08x}", lambda: T0)
    return FanOutExecutor(repositories, ids, clock=lambda: T0 + 9, **more).plan_again(parent, fan_out)


def _failures(plan: FanOutPlan) -> dict[str, str]:
    return {child.record.repository: child.error.kind for child in plan.children if child.error is not None}


# --- what was pinned ---


def test_children_that_have_not_ended_are_planned_as_they_were(
    parent: RunSpec, repositories: FakeRepositories
) -> None:
    for name in ("app", "well"):
        repositories.has(f"acme/{name}", _OLD, _config("check"))
    repositories.subscribes("acme/app", _config("other"))
    repositories.subscribes("acme/new", _config("check"))
    app, well = _plan(1, "app"), _plan(2, "well")
    plan = _again(parent, repositories, _fan_out(app, well, ended={2: "succeeded"}))
    [child] = plan.children
    assert (child.record, child.error) == (app, None)
    assert child.source == repositories.directory / "acme/app" / _OLD
    assert child.workflow is not None
    assert (child.workflow.name, child.artifact_names) == ("check", ())
    assert (plan.again, plan.found, plan.filtered, plan.gone) == (True, 7, (), ())
    assert repositories.asked == []


def test_a_snapshot_that_is_gone_fails_its_child_alone(
    parent: RunSpec, repositories: FakeRepositories
) -> None:
    repositories.has("acme/app", _OLD, _config("check"))
    repositories.broken["acme/gone"] = NotFoundError("it is gone")
    plan = _again(parent, repositories, _fan_out(_plan(1, "gone"), _plan(2, "app")))
    assert [child.record.run_id for child in plan.children] == [run_id(1), run_id(2)]
    assert _failures(plan) == {"acme/gone": "not_found"}


def test_a_secret_that_is_missing_now_fails_its_child_alone(
    parent: RunSpec, repositories: FakeRepositories
) -> None:
    for name in ("app", "well"):
        repositories.has(f"acme/{name}", _OLD, _config("check"))

    def require(_workflow: Workflow, repository: Repository) -> None:
        if repository.text == "acme/app":
            message = "TOKEN is not set"
            raise UsageError(message)

    plan = _again(parent, repositories, _fan_out(_plan(1, "app"), _plan(2, "well")), require_secrets=require)
    assert _failures(plan) == {"acme/app": "config_invalid"}


def test_a_full_disk_is_no_childs_failure(parent: RunSpec, repositories: FakeRepositories) -> None:
    repositories.broken["acme/app"] = DiskFullError("no space left")
    with pytest.raises(DiskFullError):
        _again(parent, repositories, _fan_out(_plan(1, "app")))


# --- what was not ---


def test_a_child_that_could_not_be_pinned_is_planned_now_under_its_id(
    parent: RunSpec, repositories: FakeRepositories
) -> None:
    repositories.subscribes("acme/app", _config("check", inputs={"version": "{{ .event.payload.version }}"}))
    unpinned = _plan(1, "App", commit="", inputs={})
    # It is known to have been planned for this event: that is no reason to leave it out.
    heard = fingerprint(from_value(event(), Values(parent.paths)))
    deliveries = Deliveries(lambda: [Delivery(heard, unpinned)])
    plan = _again(parent, repositories, _fan_out(unpinned), deliveries=deliveries)
    [child] = plan.children
    assert child.error is None
    assert (child.record.run_id, child.record.commit) == (run_id(1), NOW)
    assert (child.record.inputs, child.record.at) == ({"version": "1.2.3"}, T0 + 9)
    assert child.source == repositories.directory / "acme/app" / NOW
    assert repositories.asked == [("acme/lib", "default", "built")]


def test_of_several_subscriptions_it_is_the_one_that_it_was(
    parent: RunSpec, repositories: FakeRepositories
) -> None:
    repositories.subscribes("acme/app", _config("lint", "check"))
    plan = _again(parent, repositories, _fan_out(_plan(1, "app", commit="", subscription=1)))
    [child] = plan.children
    assert (child.record.workflow, child.record.run_id) == ("check", run_id(1))
    gone = _again(parent, repositories, _fan_out(_plan(1, "app", commit="", subscription=0)))
    assert [record.run_id for record in gone.gone] == [run_id(1)]


def test_one_whose_tako_yml_was_broken_stands_for_all_that_it_subscribes_to_now(
    parent: RunSpec, repositories: FakeRepositories
) -> None:
    repositories.subscribes("acme/app", _config("lint", "check"))
    plan = _again(parent, repositories, _fan_out(_plan(1, "app", commit="", workflow="")))
    assert [child.record.workflow for child in plan.children] == ["lint", "check"]
    first, second = (child.record.run_id for child in plan.children)
    assert first == run_id(1)
    assert second != run_id(1)


def test_one_that_is_still_broken_fails_again(parent: RunSpec, repositories: FakeRepositories) -> None:
    error = ConfigError((Problem("tako.yml", 1, 1, "workflows", "expected a mapping"),))
    repositories.candidates.append(Candidate(parse_repository("acme/app"), "main", None, error, None))
    plan = _again(parent, repositories, _fan_out(_plan(1, "app", commit="", workflow="")))
    assert _failures(plan) == {"acme/app": "config_invalid"}
    assert [child.record.run_id for child in plan.children] == [run_id(1)]


@pytest.mark.parametrize("config", [None, _config("check", schema_version="[2.0.0...3.0.0)")])
def test_one_that_nobody_wants_any_more_is_gone(
    parent: RunSpec, repositories: FakeRepositories, config: str | None
) -> None:
    if config is not None:
        repositories.subscribes("acme/app", config)
    plan = _again(parent, repositories, _fan_out(_plan(1, "app", commit="")))
    assert plan.children == ()
    assert [record.run_id for record in plan.gone] == [run_id(1)]


# --- what the child's own journal knows better ---


def test_a_child_that_has_begun_is_pinned_as_it_began(
    parent: RunSpec, repositories: FakeRepositories
) -> None:
    """Its parent's plan, recorded again when it was pinned, was cut off."""
    repositories.has("acme/app", _OLD, _config("check"))
    began = run_started(
        1, repository="acme/app", commit=_OLD, branch="next", workflow="check", inputs={"version": "2"}
    )
    journal = parent.paths.child(run_id(1)).journal
    write_files(journal.parent, {journal.name: line_of(began)})
    plan = _again(parent, repositories, _fan_out(_plan(1, "app", commit="", workflow="", inputs={})))
    [child] = plan.children
    assert child.error is None
    assert (child.record.commit, child.record.branch, child.record.workflow) == (_OLD, "next", "check")
    assert child.record.inputs == {"version": "2"}
    assert repositories.asked == []


@pytest.mark.parametrize("content", [b"", b"damaged\n"])
def test_a_journal_that_tells_nothing_changes_nothing(
    parent: RunSpec, repositories: FakeRepositories, content: bytes
) -> None:
    repositories.subscribes("acme/app", _config("check"))
    journal = parent.paths.child(run_id(1)).journal
    write_files(journal.parent, {journal.name: content})
    plan = _again(parent, repositories, _fan_out(_plan(1, "app", commit="")))
    assert [child.record.commit for child in plan.children] == [NOW]
