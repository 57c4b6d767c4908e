"""What of a run that has ended can be entered again; `tests/e2e/test_shell.py` enters real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tako.config.schema import Step, Workflow
from tako.engine.run.spec import RunSpec
from tako.engine.shell.past_run import Surroundings, spec_from_journal, step_to_enter
from tako.errors import MachineError, NotFoundError
from tako.journal.run_state import RunState
from tako.sandbox.isolation import Isolation
from tako.sandbox.policy import Limits, Mount
from tests.support.isolations import isolation
from tests.support.segments import ENVIRONMENT, run, run_spec

CONFIG = "version: 0.1.0\nworkflows: {check: {workspace: %s, steps: [{id: step-1, run: exit 3}]}}\n"


def _now(level: Isolation) -> Surroundings:
    return Surroundings(
        isolation=lambda _name: level,
        environment=ENVIRONMENT,
        limits=Limits(),
        mounts=lambda repository, _workflow: (Mount(f"/{repository.text}", "/more"),),
    )


def _failed(directory: Path, level: Isolation, *, workspace: str = "auto") -> tuple[RunSpec, RunState]:
    source = directory / "source"
    source.mkdir()
    (source / "tako.yml").write_text(CONFIG % workspace)
    ran = run(run_spec(directory, "exit 3", isolation=level, parent_run_id="exec-20231114-221320-00000000"))
    assert ran.end.status == "failed"
    return ran.spec, ran.state


def test_the_spec_is_the_one_that_the_run_had(tmp_path: Path) -> None:
    level = isolation("process")
    before, state = _failed(tmp_path, level)
    spec = spec_from_journal(before.paths, state, _now(level))
    for name in ("run_id", "root_run_id", "directory", "repository", "commit", "source", "inputs", "event"):
        assert getattr(spec, name) == getattr(before, name)
    assert spec.workflow.steps[0].run == "exit 3"
    assert spec.received_from == before.directory.parents[1] / "artifacts"
    assert spec.mounts == (Mount("/acme/app", "/more"),)


def test_a_copy_stays_a_copy_where_overlays_work_by_now(tmp_path: Path) -> None:
    before, state = _failed(tmp_path, isolation("process"))
    assert not spec_from_journal(before.paths, state, _now(Isolation(overlays=True))).overlaid


def test_an_overlay_that_cannot_be_mounted_any_more_is_told(tmp_path: Path) -> None:
    level = isolation("namespace")
    if not level.overlays:
        pytest.skip("no overlay can be mounted here")
    before, state = _failed(tmp_path, level)
    assert spec_from_journal(before.paths, state, _now(level)).overlaid
    with pytest.raises(MachineError, match="is an overlay"):
        spec_from_journal(before.paths, state, _now(Isolation("namespace")))


def test_a_workflow_that_its_snapshot_does_not_have_is_told(tmp_path: Path) -> None:
    level = isolation("process")
    before, state = _failed(tmp_path, level)
    (before.source / "tako.yml").write_text("version: 0.1.0\nworkflows: {other: {steps: [{run: echo}]}}\n")
    with pytest.raises(NotFoundError, match="no workflow 'check'"):
        spec_from_journal(before.paths, state, _now(level))


def test_a_run_that_never_began_cannot_be_entered(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="never began"):
        spec_from_journal(run_spec(tmp_path).paths, RunState(), _now(isolation("process")))


WORKFLOW = Workflow(name="check", steps=(Step(id="one"), Step(id="two"), Step(id="three")))


def test_the_step_that_failed_is_entered_else_the_last_that_began(tmp_path: Path) -> None:
    ran = run(run_spec(tmp_path, "true", "exit 1", "true"))
    steps = ran.spec.workflow
    assert step_to_enter(steps, ran.state).id == "step-2"
    assert step_to_enter(steps, ran.state, "step-3").id == "step-3"
    assert step_to_enter(WORKFLOW, RunState()).id == "one"
    (tmp_path / "all").mkdir()
    kept = run(run_spec(tmp_path / "all", "true", "true", keep=True))
    assert step_to_enter(kept.spec.workflow, kept.state).id == "step-2"
