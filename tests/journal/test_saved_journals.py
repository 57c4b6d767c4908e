"""A journal of each version of the format is kept and read forever; these files are never written again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tako.engine.root.results import fan_out_result
from tako.engine.run.events import from_value
from tako.journal.fold import fold
from tako.journal.log import line_of, read_ends, read_records
from tako.journal.outcomes import blamed_step
from tako.journal.parts import ChildExecutionError, CollectedFile, Usage
from tako.journal.records import RunSettled, RunStarted, StopRequested
from tako.journal.stored import Values
from tako.layout.run import RunDirectory
from tako.values import evolve
from tests.support.records import IDENTITY, KINDS, T0, event, run_id

SAVED = Path(__file__).parents[1] / "journals"
ROOT, CHILD = SAVED / "v1" / "root.jsonl", SAVED / "v1" / "child.jsonl"


@pytest.mark.parametrize(
    "path", sorted(SAVED.rglob("*.jsonl")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_every_record_is_still_written_as_it_was(path: Path) -> None:
    assert b"".join(map(line_of, read_records(path))) == path.read_bytes()


def test_every_kind_of_record_stands_in_one_of_them() -> None:
    saved = {type(record) for path in SAVED.rglob("*.jsonl") for record in read_records(path)}
    assert saved == set(KINDS)


def test_of_version_1_the_root_run_is_read() -> None:
    state = fold(read_records(ROOT))
    assert state.started is not None
    assert state.started.inputs == {"version-bump": "minor", "dry": False, "parts": 3}
    assert state.started.identity == IDENTITY
    assert state.identity == evolve(IDENTITY, pid=4250)
    assert (state.temporary, state.segment, state.attempt) == ("/tmp/t2", 1, 1)
    assert state.status == "cancelled"
    assert state.stop == StopRequested(T0 + 6.9, "SIGINT")
    assert state.settled == RunSettled(T0 + 7.2, "cancelled", 130)
    assert [note.message for note in state.notes] == ["fan-outs are nested 7 deep; 10 is the most"]


def test_of_version_1_the_steps_are_read() -> None:
    state = fold(read_records(ROOT))
    assert {
        step.id: (step.status, step.allows_next_step, step.attempts) for step in state.steps.values()
    } == {
        "build": ("succeeded", True, 1),
        "notes": ("skipped", True, 1),
        "dependents": ("failed", True, 1),
        "announce": ("cancelled", False, 1),
    }
    build = state.steps["build"].finished
    assert build is not None
    assert build.usage == Usage(0.25, 20971520)
    assert state.environment == {"VERSION": "1.2.3"}
    assert state.outputs_of("build") == {"version": "1.2.3"}
    [file] = state.artifacts["wheel"].files
    assert evolve(file, sha256="") == CollectedFile("dist/lib-1.2.3.whl", "", 4096)
    assert blamed_step(state) == state.steps["announce"].finished


def test_of_version_1_the_fan_out_is_read() -> None:
    state = fold(read_records(ROOT))
    emitted = state.fan_outs["dependents"].emitted
    assert emitted.event == event()
    assert (emitted.wait_for_children, emitted.timeout_s, emitted.concurrency_limit) == (True, 7200.0, 2)
    result = fan_out_result(state, "dependents")
    assert (result.found, result.filtered, result.skipped, result.triggered) == (4, 1, 1, 2)
    assert (result.succeeded, result.failed, result.timed_out, result.cancelled) == (0, 2, 0, 0)
    assert not result.success
    assert result.duration_s == 3.1
    assert [(error.repository, error.kind) for error in result.errors] == [
        ("acme/app", "step_failed"),
        ("acme/broken", "config_invalid"),
    ]
    assert result.errors[0] == ChildExecutionError(
        repository="acme/app",
        workflow="check",
        run_id=run_id(1),
        kind="step_failed",
        message="step test: exit code 3",
        step="test",
        exit_code=3,
        started=T0 + 3.2,
        duration_s=2.75,
        attempts=2,
        last_lines=("collecting", "FAILED test_it"),
    )


def test_of_version_1_the_child_is_read() -> None:
    state = fold(read_records(CHILD))
    assert state.started is not None
    assert state.started.event == event()
    assert state.started.ancestors == (("acme/lib", "release"),)
    assert [(death.attempt, death.message) for death in state.deaths] == [(1, "its worker died")]
    assert (state.attempt, state.steps["test"].attempts, state.status) == (2, 2, "failed")


def test_of_version_1_a_run_that_changed_its_checkout_is_read() -> None:
    """The journal of a real run; only whose machine it was and where is left out."""
    state = fold(read_records(SAVED / "v1" / "checkout.jsonl"))
    assert state.started is not None
    assert state.started.in_place
    # Known before: no changes. Its first step made one, which was seen at the fan-out.
    assert (state.started.commit[:8], state.started.tracked_changes[:8]) == ("770d6b0d", "b241b570")
    assert state.step("dependents").finished is not None
    assert (state.status, state.attempts, len(state.steps)) == ("succeeded", 1, 3)


def test_of_version_2_the_event_and_the_inputs_of_a_child_are_read() -> None:
    values = Values(RunDirectory(SAVED / "v2"))
    state = fold(read_records(SAVED / "v2" / "root.jsonl"))
    emitted = state.fan_outs["dependents"].emitted
    payload = {"version": "1.2.3", "notes": ["a line of the release notes, ünïcode"] * 110}
    assert from_value(emitted.event, values).payload == payload
    plan = state.fan_outs["dependents"].children[run_id(1)].plan
    child = fold(read_records(SAVED / "v2" / "child.jsonl")).started
    assert child is not None
    assert (child.event, child.inputs) == (emitted.event, plan.inputs)
    assert values.read(child.inputs) == {
        "version": "1.2.3",
        "notes": "a line of the release notes\n" * 160,
    }


def test_of_version_2_only_records_that_refer_to_a_value_are_marked() -> None:
    lines = [line for path in (SAVED / "v2").glob("*.jsonl") for line in path.read_bytes().splitlines()]
    marked = [line for line in lines if b'"sha256:' in line]
    assert len(marked) == 3
    assert marked == [line for line in lines if line.split(b",")[0].endswith(b'/2"')]


def test_of_version_2_warnings_are_read() -> None:
    state = fold(read_records(SAVED / "v2" / "warned.jsonl"))
    assert state.started is not None
    assert state.started.strict
    assert [(found.about, found.repository, found.step) for found in state.warnings] == [
        ("stale", "acme/app", "dependents"),
        ("no_subscribers", "", "dependents"),
    ]
    assert state.warnings[0].reason.startswith("acme/app cannot be fetched")


def test_of_version_1_the_ends_are_read() -> None:
    first, last = read_ends(ROOT)
    assert isinstance(first, RunStarted)
    assert isinstance(last, RunSettled)


def test_of_version_1_a_run_that_was_restarted_and_taken_up_is_read() -> None:
    state = fold(read_records(SAVED / "v1" / "resumed.jsonl"))
    assert state.started is not None
    assert state.started.keep
    assert (state.status, state.resumes, state.attempts, state.rebuilds) == ("succeeded", 1, 2, False)
    assert [(one.attempt, one.status) for one in state.step("test").earlier] == [
        (1, "failed"),
        (2, "interrupted"),
    ]
    assert [one.attempt for one in state.step("prepare").earlier] == [1]
    assert (state.step("test").attempts, state.step("test").log_offset) == (3, 56)
    assert state.away_s == 990.0
    assert state.active_s(T0, T0 + 1004) == 14.0
