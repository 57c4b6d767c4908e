from __future__ import annotations

from pathlib import Path

from tako.config.schema import Workflow
from tako.engine.fan_out.child_runner_factory import ChildRunnerFactory
from tako.engine.fan_out.plan import PlannedChild
from tako.journal.records import ChildPlanned, EventEmitted
from tako.sandbox.isolation import Isolation
from tako.sandbox.policy import Limits
from tests.support.records import T0, event, run_id
from tests.support.segments import run_spec

WORKFLOW = Workflow(name="check")
RECORD = ChildPlanned(T0, "fan", run_id(7), "acme/dep", "main", "beef", "check", {"v": "1"})


def test_a_child_gets_all_that_is_pinned_and_a_directory_below_its_parents(tmp_path: Path) -> None:
    parent = run_spec(tmp_path, ancestors=(("acme/lib", "release"),), root_run_id=run_id(0))
    limits = Limits(open_files=5)
    factory = ChildRunnerFactory({"PATH": "/bin"}, limits, Isolation(), lambda: ("Ada", "a@b.c"), keep=True)
    child = PlannedChild(RECORD, WORKFLOW, tmp_path / "snapshot", "digest", ("wheel",))
    spec = factory.spec(parent, EventEmitted(T0, "fan", event()), child)
    assert (spec.run_id, spec.root_run_id, spec.parent_run_id, spec.parent_step) == (
        run_id(7),
        run_id(0),
        run_id(1),
        "fan",
    )
    assert spec.directory == parent.directory / "children" / run_id(7)
    assert (spec.repository, spec.branch, spec.commit, spec.source) == (
        "acme/dep",
        "main",
        "beef",
        tmp_path / "snapshot",
    )
    assert (spec.workflow, spec.inputs, spec.config_digest, spec.artifact_names) == (
        WORKFLOW,
        {"v": "1"},
        "digest",
        ("wheel",),
    )
    assert spec.ancestors == (("acme/lib", "release"), ("acme/app", "check"))
    assert (spec.event, spec.received_from) == (event(), parent.paths.artifacts)
    assert (spec.environment, spec.limits, spec.isolation) == ({"PATH": "/bin"}, limits, Isolation())
    assert (spec.git_identity, spec.keep, spec.in_place) == (("Ada", "a@b.c"), True, False)


def test_planning_a_child_makes_no_directory(tmp_path: Path) -> None:
    factory = ChildRunnerFactory({}, Limits(), Isolation())
    parent = run_spec(tmp_path)
    spec = factory.spec(parent, EventEmitted(T0, "fan", event()), PlannedChild(RECORD, WORKFLOW, tmp_path))
    assert not parent.directory.exists()
    assert (spec.git_identity, spec.keep) == (("", ""), False)
