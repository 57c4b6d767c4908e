from __future__ import annotations

import pickle
from pathlib import Path

import attrs
import pytest

from tako.config.schema import EventSpec, Input, Produces, Retry, Step, Validation
from tako.engine.segment import Segment, SegmentEnd, new_segment
from tako.errors import DiskFullError, HeldError, MachineError
from tako.layout import RunDirectory
from tako.sandbox.policy import Limits
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
    spec = attrs.evolve(spec, workflow=attrs.evolve(spec.workflow, inputs=declared, timeout_s=3.0))
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


def test_a_segment_gets_a_private_directory_of_its_own(tmp_path: Path) -> None:
    spec = run_spec(tmp_path)
    segment = new_segment(spec, 1, 2, tmp_path, 7)
    assert (segment.run, segment.number, segment.attempt) == (spec, 1, 2)
    assert Path(segment.temporary) == tmp_path / "7"
    assert (tmp_path / "7").stat().st_mode & 0o777 == 0o700
