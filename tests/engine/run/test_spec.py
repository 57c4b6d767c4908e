from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tako.config.schema import EventSpec, Input, Produces, Retry, Step, Validation, Workflow
from tako.engine.run.spec import Secrets, Segment, SegmentEnd, Segments, secrets_of
from tako.errors import DiskFullError, HeldError, MachineError
from tako.layout.run import RunDirectory
from tako.sandbox.policy import Limits
from tako.values import evolve
from tests.support.records import event, run_id
from tests.support.segments import run_spec

STEP = Step(
    id="build",
    run="make",
    env={"A": "b"},
    timeout_s=1.5,
    retry=Retry(3, 2.0, (1, 2)),
    produces=Produces(
        "wheel",
        {"wheel": ("*.whl",)},
        {"v": "from_stdout"},
        (EventSpec("built", "1.0.0", {"x": [1, {}]}),),
    ),
    on_failure=(Step(id="clean", run="rm -r ."),),
)


def test_a_segment_crosses_a_process_boundary_as_it_was(tmp_path: Path) -> None:
    spec = run_spec(
        tmp_path,
        STEP,
        inputs={"n": 1, "f": 0.5, "b": True, "s": "ü"},
        limits=Limits(1, 2, 3, 4),
        event=event(),
        ancestors=(("acme/lib", "release"),),
        received_from=tmp_path,
        git_identity=("Ada", "ada@example.org"),
    )
    declared = {"n": Input("n", "integer", validation=Validation(enum=(1, 2), minimum=0.0))}
    spec = evolve(spec, workflow=evolve(spec.workflow, inputs=declared, timeout_s=3.0))
    segment = Segment(spec, 2, 3, "/tmp/t", 5.0)
    assert pickle.loads(pickle.dumps(segment)) == segment  # noqa: S301 - our own


def test_the_end_of_a_segment_crosses_it_too() -> None:
    end = SegmentEnd("finished", "failed", "fan", machine_fault=True, message="full")
    assert pickle.loads(pickle.dumps(end)) == end  # noqa: S301 - our own


@pytest.mark.parametrize("kind", [DiskFullError, HeldError, MachineError])
def test_an_error_crosses_it_with_its_hint(kind: type[MachineError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what happened", hint="what to do")))  # noqa: S301 - our own
    assert (type(error), str(error), error.message, error.hint) == (
        kind,
        "what happened",
        "what happened",
        "what to do",
    )


def test_a_run_knows_its_directory_and_depth(tmp_path: Path) -> None:
    spec = run_spec(tmp_path, ancestors=(("a/b", "x"), ("a/c", "y")))
    assert spec.paths == RunDirectory(tmp_path / "runs" / run_id(1))
    assert (spec.depth, run_spec(tmp_path).depth) == (2, 0)


def test_each_segment_gets_a_private_directory_of_its_own(tmp_path: Path) -> None:
    spec = run_spec(tmp_path)
    segments = Segments(tmp_path, lambda _spec: Secrets())
    first, second = (segments.new(spec, number, 2) for number in (0, 1))
    assert (first.run, second.number, second.attempt) == (spec, 1, 2)
    assert first.temporary != second.temporary
    for segment in (first, second):
        assert Path(segment.temporary).parent == tmp_path
        assert Path(segment.temporary).stat().st_mode & 0o777 == 0o700


def test_a_private_directory_that_is_gone_is_trouble_of_the_machine(tmp_path: Path) -> None:
    segments = Segments(tmp_path / "gone", lambda _spec: Secrets())
    with pytest.raises(MachineError, match=f"{tmp_path}/gone/0 cannot be made: No such file or directory"):
        segments.new(run_spec(tmp_path), 0, 1)


def test_a_segment_carries_the_secrets_of_its_run_and_shows_them_to_nobody(tmp_path: Path) -> None:
    secrets = secrets_of({"TOKEN": "hunter2-hunter2"})
    segment = Segments(tmp_path, lambda _spec: secrets).new(run_spec(tmp_path), 0, 1)
    copy = pickle.loads(pickle.dumps(segment))  # noqa: S301 - our own
    step = Step(id="publish", run="true", secrets=("TOKEN",))
    assert copy.secrets.of(Workflow(name="w"), step) == {"TOKEN": "hunter2-hunter2"}
    assert copy.secrets.of(Workflow(name="w"), Step(id="other", run="true")) == {}
    assert "hunter2" not in repr(segment) + repr(copy.secrets)
    assert "TOKEN" in repr(secrets)


def test_secrets_are_compared_by_name_alone() -> None:
    assert secrets_of({"A": "one"}) == secrets_of({"A": "two"})
    assert hash(secrets_of({"A": "one"})) == hash(secrets_of({"A": "two"}))
    assert secrets_of({"A": "one"}) != secrets_of({"B": "one"})


def test_the_path_of_the_ssh_agent_is_not_hidden() -> None:
    assert secrets_of({"SSH_AUTH_SOCK": "/tmp/agent", "A": "v"}).hidden == (b"v",)
