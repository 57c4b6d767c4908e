"""Steps that are tried again: when, how often, and what of it is told."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tako.config.schema import Produces, Retry, Step
from tako.engine.run import retries
from tako.journal.fold import apply, fold
from tako.journal.log import Writer, read_records
from tako.journal.records import (
    Noted,
    RunRestarted,
    SegmentStarted,
    StepFinished,
    StepStarted,
    WorkspaceRebuilt,
)
from tako.journal.run_state import RunState, StepState
from tako.values import evolve
from tests.support.isolations import LEVELS, isolation
from tests.support.records import IDENTITY, T0, run_started
from tests.support.segments import Ran, run, run_spec, started

COUNTING = "echo x >> tries; echo try $(wc -l < tries)\n"


def _failed(state: StepState | None = None, **changes: Any) -> StepState:  # noqa: ANN401 - fields of a record
    finished = evolve(StepFinished(T0, "a", 1, "failed", exit_code=3, message="exit code 3"), **changes)
    return state or StepState("a", 1, T0, finished, failures=1)


def _step(**retry: Any) -> Step:  # noqa: ANN401 - fields of a retry
    return Step(id="a", run="true", retry=Retry(**{"max_attempts": 3, "backoff_s": 2.0} | retry))


# --- whether and when ---


@pytest.mark.parametrize(("failures", "wait_s"), [(1, 2.0), (2, 4.0), (3, None), (7, None)])
def test_each_wait_is_twice_the_one_before_until_no_attempt_is_left(
    failures: int, wait_s: float | None
) -> None:
    state = _failed()
    state.failures = failures
    assert retries.wait_s(_step(), state) == wait_s


def test_no_wait_is_longer_than_an_hour() -> None:
    state = _failed()
    state.failures = 99
    assert retries.wait_s(_step(max_attempts=100), state) == 3600.0


@pytest.mark.parametrize(
    ("on", "changes", "again"),
    [
        ((), {}, True),
        ((3, 4), {}, True),
        ((4,), {}, False),
        ((), {"status": "timed_out", "exit_code": None}, True),
        ((3,), {"status": "timed_out", "exit_code": None}, False),
        ((), {"status": "cancelled"}, False),
        ((), {"status": "succeeded"}, False),
        ((), {"message": retries.CUT_OFF}, False),
    ],
)
def test_what_counts_is_a_failure_of_the_steps_own(
    on: tuple[int, ...], changes: dict[str, Any], again: bool
) -> None:
    assert (retries.wait_s(_step(on=on), _failed(**changes)) is not None) is again


def test_a_step_without_retry_or_without_an_end_is_not_tried_again() -> None:
    assert retries.wait_s(Step(id="a", run="true"), _failed()) is None
    assert retries.wait_s(_step(), StepState("a")) is None


# --- done ---


def _tried(directory: Path, script: str, **retry: Any) -> Ran:  # noqa: ANN401 - fields of a retry
    step = Step(id="a", run=COUNTING + script, retry=Retry(**{"max_attempts": 3, "backoff_s": 0.01} | retry))
    return run(run_spec(directory, step, "cat tries"))


def test_a_step_that_fails_once_succeeds_in_its_second_attempt(tmp_path: Path) -> None:
    ran = _tried(tmp_path, "[ $(wc -l < tries) = 2 ]")
    assert ran.end.status == "succeeded"
    assert ran.step("a").attempt == 2
    assert ran.log("step-2") == "x\nx\n"
    [earlier] = ran.state.step("a").earlier
    assert (earlier.attempt, earlier.status, earlier.message, earlier.exit_code) == (
        1,
        "failed",
        "exit code 1",
        1,
    )
    assert [note.message for note in ran.state.notes] == ["attempt 1 of 3 failed: exit code 1; again in 10ms"]


def test_attempts_are_bounded_and_all_of_them_told(tmp_path: Path) -> None:
    ran = _tried(tmp_path, "exit 7")
    assert ran.end.status == "failed"
    assert ran.step("a").attempt == 3
    assert [earlier.attempt for earlier in ran.state.step("a").earlier] == [1, 2]
    assert ran.log("a") == "try 1\ntry 2\ntry 3\n"


def test_the_log_tells_where_each_attempt_begins(tmp_path: Path) -> None:
    ran = _tried(tmp_path, "exit 7")
    begun = [record for record in read_records(ran.spec.paths.journal) if isinstance(record, StepStarted)]
    assert [record.log_offset for record in begun] == [0, len("try 1\n"), len("try 1\ntry 2\n")]
    assert len({record.idempotency_key for record in begun}) == 1


def test_an_exit_code_that_is_not_named_ends_the_run_at_once(tmp_path: Path) -> None:
    ran = _tried(tmp_path, "exit 7", on=(75,))
    assert (ran.step("a").attempt, ran.end.status) == (1, "failed")


def test_only_the_last_failure_is_tolerated(tmp_path: Path) -> None:
    step = Step(id="a", run="exit 1", continue_on_error=True, retry=Retry(max_attempts=2, backoff_s=0.01))
    ran = run(run_spec(tmp_path, step, "true"))
    ends = [
        record
        for record in read_records(ran.spec.paths.journal)
        if isinstance(record, StepFinished) and record.step == "a"
    ]
    assert [end.tolerated for end in ends] == [False, True]
    assert ran.end.status == "succeeded"


def test_a_run_that_is_stopped_while_it_waits_tries_no_more(tmp_path: Path) -> None:
    step = Step(id="a", run="exit 1", retry=Retry(max_attempts=2, backoff_s=600.0))
    spec = run_spec(tmp_path, step)
    with started(spec) as cell:
        while not any(isinstance(record, Noted) for record in _records(spec.paths.journal)):
            pass
        cell.worker.send(signal.SIGUSR2)
        end = cell.wait()
    assert end.status == "cancelled"


def _records(journal: Path) -> list[Any]:
    return list(read_records(journal)) if journal.exists() else []


def test_steps_after_a_failure_are_tried_again_too(tmp_path: Path) -> None:
    cleanup = Step(
        id="tidy", run=COUNTING + "[ $(wc -l < tries) = 2 ]", retry=Retry(max_attempts=2, backoff_s=0.01)
    )
    ran = run(run_spec(tmp_path, Step(id="a", run="exit 1", on_failure=(cleanup,))))
    assert (ran.step("tidy").status, ran.step("tidy").attempt, ran.end.status) == ("succeeded", 2, "failed")


# --- from the beginning ---


CLEAN = Retry(max_attempts=2, backoff_s=0.01, clean=True)


@pytest.mark.parametrize("level", LEVELS)
def test_a_clean_retry_begins_with_the_first_step_in_a_new_workspace(tmp_path: Path, level: str) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("old\n")
    spec = run_spec(
        tmp_path,
        "cat file; echo new > file; echo made > made",
        Step(
            id="b",
            run="cat file made; exit $(cat $TAKO_WORKSPACE/tmp/code 2>/dev/null || echo 1)",
            retry=CLEAN,
        ),
        isolation=isolation(level),
    )
    first = run(spec)
    assert (first.end.kind, first.state.restarting, first.state.rebuilds) == ("restarted", True, True)
    assert first.state.step("step-1").finished is None
    second = run(spec, number=1)
    assert second.end.status == "failed"
    assert second.log("step-1") == "old\nold\n"
    kinds = [type(record) for record in read_records(spec.paths.journal)]
    assert kinds.count(RunRestarted) == kinds.count(WorkspaceRebuilt) == 1
    assert [earlier.attempt for earlier in second.state.step("step-1").earlier] == [1]
    assert (second.step("step-1").attempt, second.step("b").attempt) == (2, 2)


def test_artifacts_of_the_attempt_before_are_gone(tmp_path: Path) -> None:
    produced = Step(
        id="a",
        run="mkdir out; echo x > out/a; [ -e again ] || echo y > out/only-once",
        produces=Produces(artifacts={"files": ("out/*",)}),
    )
    spec = run_spec(tmp_path, produced, Step(id="b", run="exit 1", retry=CLEAN))
    assert run(spec).end.kind == "restarted"
    (tmp_path / "source" / "again").write_text("")
    ran = run(spec, number=1)
    assert [path.name for path in (ran.spec.paths.artifacts / "files" / "out").iterdir()] == ["a"]
    assert [file.path for file in ran.state.artifacts["files"].files] == ["out/a"]


def test_in_the_users_own_checkout_a_clean_retry_is_an_ordinary_one(tmp_path: Path) -> None:
    step = Step(id="a", run=COUNTING + "[ $(wc -l < tries) = 2 ]", retry=CLEAN)
    ran = run(run_spec(tmp_path, step, in_place=True))
    assert (ran.end.kind, ran.end.status) == ("finished", "succeeded")


def test_a_clean_retry_does_not_repeat_what_must_not_be_repeated(tmp_path: Path) -> None:
    once = Step(id="publish", run="true", rerun="never")
    ran = run(run_spec(tmp_path, once, Step(id="b", run="exit 1", retry=CLEAN)))
    assert (ran.end.kind, ran.end.status) == ("finished", "failed")
    assert [note.message for note in ran.state.notes] == [
        "not tried again: `clean` would repeat publish, which `rerun: never` forbids"
    ]


# --- cut off ---


def _cut_off(directory: Path, step: Step) -> Ran:
    """Run a step whose first attempt has begun in a worker that died."""
    spec = run_spec(directory, step)
    spec.paths.logs.mkdir(parents=True)
    with Writer(spec.paths.journal) as journal:
        journal.append(run_started(1, steps=("a",)))
        journal.append(StepStarted(T0, "a", 1, "key"))
        journal.append(StepFinished(T0 + 1, "a", 1, "interrupted", message="its worker died"))
    return run(spec, attempt=2)


def test_a_step_that_was_cut_off_runs_again(tmp_path: Path) -> None:
    ran = _cut_off(tmp_path, Step(id="a", run="true"))
    assert (ran.step("a").status, ran.step("a").attempt) == ("succeeded", 2)


def test_a_step_that_was_cut_off_and_may_not_run_twice_fails(tmp_path: Path) -> None:
    retry = Retry(max_attempts=3, backoff_s=0.01)
    ran = _cut_off(tmp_path, Step(id="a", run="touch ran", rerun="never", retry=retry))
    assert (ran.step("a").status, ran.step("a").message) == ("failed", retries.CUT_OFF)
    assert not (ran.spec.paths.repo / "ran").exists()


def test_a_restart_is_over_once_a_worker_has_taken_the_run_on() -> None:
    state: RunState = fold(
        [
            run_started(1, steps=("a",)),
            StepStarted(T0, "a", 1, "k"),
            RunRestarted(T0 + 1, "a", "exit code 1"),
        ]
    )
    assert (state.restarting, state.rebuilds, state.step("a").status) == (True, True, "pending")
    apply(state, SegmentStarted(T0 + 2, 1, 1, IDENTITY, "/tmp/t"))
    assert (state.restarting, state.rebuilds) == (False, True)
    apply(state, WorkspaceRebuilt(T0 + 3))
    assert not state.rebuilds
