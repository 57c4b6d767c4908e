from __future__ import annotations

from pathlib import Path

import pytest

from tako.config.schema import Step
from tako.engine.root.results import child_finished, fan_out_result, step_closed
from tako.engine.run.spec import RunSpec
from tako.engine.scheduler.instructions import Tally
from tako.journal.fold import apply, fold
from tako.journal.outcomes import blamed_step
from tako.journal.parts import Attempt, ChildExecutionError
from tako.journal.records import (
    ChildFinished,
    ChildPlanned,
    EventEmitted,
    FanOutPlanned,
    Record,
    RunFinished,
    StepFinished,
    StepStarted,
    SubscriptionFiltered,
    WorkerDied,
)
from tako.values import evolve
from tests.support.records import T0, event, run_id, run_started, write_journal
from tests.support.segments import run_spec

BEGUN = run_started(1, steps=("one", "two"))
FAILED_STEP = StepFinished(
    T0 + 1, "one", 1, "failed", exit_code=3, message="exit code 3", last_lines=("a", "b")
)


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    """Give a child."""
    return run_spec(tmp_path)


def _finished(spec: RunSpec, status: str, *records: Record, reason: str = "") -> ChildFinished:
    if records:
        write_journal(spec.paths.journal, *records)
    return child_finished(spec, "fan", status, reason, now=T0 + 9)


def _error(finished: ChildFinished) -> ChildExecutionError:
    assert finished.error is not None
    return finished.error


# --- a child ---


def test_of_a_child_that_succeeded_its_outputs_are_told(spec: RunSpec) -> None:
    end = RunFinished(T0 + 2, "succeeded", 2.0, outputs={"v": "1"})
    assert _finished(spec, "succeeded", BEGUN, end) == ChildFinished(
        T0 + 9, "fan", run_id(1), "succeeded", 2.0, {"v": "1"}
    )


def test_of_a_child_that_failed_the_step_at_fault_is_told(spec: RunSpec) -> None:
    end = RunFinished(T0 + 2, "failed", 2.0, "step one: exit code 3")
    finished = _finished(
        spec, "failed", BEGUN, StepStarted(T0, "one", 1, "k"), WorkerDied(T0, 1, "x"), FAILED_STEP, end
    )
    assert _error(finished) == ChildExecutionError(
        repository="acme/app",
        workflow="check",
        run_id=run_id(1),
        kind="step_failed",
        message="exit code 3",
        step="one",
        exit_code=3,
        started=T0,
        duration_s=2.0,
        attempts=2,
        last_lines=("a", "b"),
        earlier=(Attempt(1, T0, "interrupted", "its worker died: x"),),
    )


def _given_up(*deaths: Record) -> list[Record]:
    return [
        *deaths,
        RunFinished(T0 + 5, "failed", message="its worker died 3 times", error_kind="worker_died"),
    ]


def test_workers_that_died_before_the_first_step_are_all_told(spec: RunSpec) -> None:
    deaths = [WorkerDied(T0 + number, number, f"cause {number}") for number in (1, 2, 3)]
    error = _error(_finished(spec, "failed", *_given_up(*deaths)))
    assert (error.kind, error.message, error.attempts) == ("worker_died", "its worker died 3 times", 3)
    assert error.earlier == tuple(
        Attempt(number, T0 + number, "interrupted", f"its worker died: cause {number}")
        for number in (1, 2, 3)
    )


def test_a_step_whose_workers_died_is_told_once_for_each(spec: RunSpec) -> None:
    records: list[Record] = []
    for number in (1, 2, 3):
        at, why = T0 + number, f"cause {number}"
        records += [
            StepStarted(at, "one", number, "k"),
            StepFinished(at, "one", number, "interrupted", message=f"its worker died: {why}"),
            WorkerDied(at, number, why),
        ]
    error = _error(_finished(spec, "failed", BEGUN, *_given_up(*records)))
    assert (error.step, error.attempts) == ("one", 3)
    assert [(one.attempt, one.message) for one in error.earlier] == [
        (number, f"its worker died: cause {number}") for number in (1, 2, 3)
    ]


def test_a_worker_that_died_before_the_run_began_counts(spec: RunSpec) -> None:
    records = (WorkerDied(T0, 1, "x"), BEGUN, FAILED_STEP, RunFinished(T0 + 2, "failed"))
    error = _error(_finished(spec, "failed", *records))
    assert (error.attempts, [one.message for one in error.earlier]) == (2, ["its worker died: x"])


@pytest.mark.parametrize(
    ("status", "records", "kind", "message"),
    [
        (
            "failed",
            (
                evolve(FAILED_STEP, limit="file size", signal="SIGXFSZ", exit_code=None),
                RunFinished(T0, "failed"),
            ),
            "limit_exceeded",
            "exit code 3",
        ),
        (
            "failed",
            (FAILED_STEP, RunFinished(T0, "failed", message="m", error_kind="worker_died")),
            "worker_died",
            "exit code 3",
        ),
        ("timed_out", (RunFinished(T0, "timed_out", message="too long"),), "timed_out", "too long"),
        ("cancelled", (RunFinished(T0, "cancelled", message="stopped"),), "cancelled", "stopped"),
        ("cancelled", (), "cancelled", "ended cancelled"),
        (
            "failed",
            (RunFinished(T0, "succeeded"),),
            "step_failed",
            "a fan-out that it did not wait for failed",
        ),
        ("failed", (), "sandbox_failed", "ended failed"),
        ("failed", (FAILED_STEP,), "step_failed", "exit code 3"),
        ("failed", (RunFinished(T0, "failed", message="m", error_kind="worker_died"),), "worker_died", "m"),
        ("cancelled", (RunFinished(T0, "succeeded"),), "cancelled", "ended cancelled"),
    ],
)
def test_every_end_has_its_kind(
    spec: RunSpec, status: str, records: tuple[Record, ...], kind: str, message: str
) -> None:
    error = _error(_finished(spec, status, BEGUN, *records))
    assert (error.kind, error.message) == (kind, message)


def test_of_a_child_that_never_started_the_reason_is_told(spec: RunSpec) -> None:
    finished = _finished(spec, "cancelled", reason="it had not started yet")
    assert (finished.status, finished.duration_s) == ("cancelled", 0.0)
    error = _error(finished)
    assert (error.kind, error.message, error.attempts, error.started) == (
        "cancelled",
        "it had not started yet",
        0,
        None,
    )


def test_a_child_that_succeeded_after_all_but_was_ended_keeps_no_outputs(spec: RunSpec) -> None:
    finished = _finished(spec, "cancelled", BEGUN, RunFinished(T0, "succeeded", outputs={"v": "1"}))
    assert (finished.status, finished.outputs) == ("cancelled", {})


def test_a_damaged_journal_of_a_child_is_that_childs_failure(spec: RunSpec) -> None:
    write_journal(spec.paths.journal, BEGUN, RunFinished(T0, "succeeded"))
    spec.paths.journal.write_bytes(spec.paths.journal.read_bytes().replace(b"acme", b"evil"))
    finished = _finished(spec, "succeeded")
    assert finished.status == "failed"
    assert _error(finished).kind == "sandbox_failed"
    assert "line 1: the checksum is wrong" in _error(finished).message


# --- the step at fault ---


@pytest.mark.parametrize(
    ("ends", "blamed"),
    [
        ((), None),
        ((StepFinished(T0, "one", 1, "succeeded"), StepFinished(T0, "two", 1, "skipped")), None),
        ((StepFinished(T0, "one", 1, "failed", tolerated=True), StepFinished(T0, "two", 1, "failed")), "two"),
        ((StepFinished(T0, "cleanup", 1, "failed"), StepFinished(T0, "two", 1, "timed_out")), "two"),
    ],
)
def test_the_first_step_that_stopped_the_run_is_to_blame(
    ends: tuple[Record, ...], blamed: str | None
) -> None:
    step = blamed_step(fold([BEGUN, *ends]))
    assert (step.step if step else None) == blamed


# --- the fan-out ---


def _planned(number: int) -> ChildPlanned:
    return ChildPlanned(T0 + 1, "fan", run_id(number), f"acme/r{number}", "main", "c", "check", {})


def _ended(number: int, status: str, at: float) -> ChildFinished:
    error = None
    if status != "succeeded":
        error = ChildExecutionError(f"acme/r{number}", "check", run_id(number), status, "why")
    return ChildFinished(at, "fan", run_id(number), status, error=error)


def test_the_result_of_a_fan_out_counts_everything() -> None:
    statuses = ("succeeded", "failed", "timed_out", "cancelled")
    state = fold(
        [
            run_started(),
            EventEmitted(T0 + 1, "fan", event()),
            SubscriptionFiltered(T0 + 1, "fan", "acme/x", "check", "no"),
            SubscriptionFiltered(T0 + 1, "fan", "acme/y", "check", "again", skipped=True),
            *map(_planned, range(1, 6)),
            FanOutPlanned(T0 + 1, "fan", 7, 5),
            *(_ended(number, status, T0 + 1 + number) for number, status in enumerate(statuses, 1)),
        ]
    )
    result = fan_out_result(state, "fan")
    assert (result.success, result.found, result.filtered, result.skipped, result.triggered) == (
        False,
        7,
        1,
        1,
        5,
    )
    assert (result.succeeded, result.failed, result.timed_out, result.cancelled) == (1, 1, 1, 1)
    assert [error.kind for error in result.errors] == ["failed", "timed_out", "cancelled"]
    assert (result.duration_s, result.event) == (4.0, event())
    apply(state, StepFinished(T0 + 7.5, "fan", 1, "succeeded"))
    assert fan_out_result(state, "fan").duration_s == 6.5
    assert fan_out_result(state, "fan").success


def test_a_fan_out_that_was_never_planned_has_a_result_too() -> None:
    result = fan_out_result(fold([run_started(), EventEmitted(T0 + 1, "fan", event())]), "fan")
    assert (result.found, result.triggered, result.duration_s, result.errors) == (0, 0, 0.0, ())


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("succeeded", ""),
        ("failed", "3 of 5 children did not succeed"),
        ("timed_out", "ended by the timeout of the fan-out"),
        ("cancelled", "3 of 5 children did not succeed"),
    ],
)
@pytest.mark.parametrize("tolerant", [True, False])
def test_the_end_of_a_fan_out_step(status: str, message: str, tolerant: bool) -> None:
    tally = Tally(succeeded=2, failed=1, timed_out=1, cancelled=1)
    step = Step(id="fan", continue_on_error=tolerant)
    record = step_closed(step, status, tally, now=T0 + 2.5, began=T0)
    assert record == StepFinished(
        at=T0 + 2.5,
        step="fan",
        attempt=1,
        status=status,
        duration_s=2.5,
        message=message,
        tolerated=tolerant and status in ("failed", "timed_out"),
        counts={"succeeded": 2, "failed": 1, "timed_out": 1, "cancelled": 1},
    )


@pytest.mark.parametrize("status", ["timed_out", "cancelled"])
def test_a_fan_out_that_its_workflow_was_ended_at_has_nothing_to_say(status: str) -> None:
    record = step_closed(Step(id="fan"), status, Tally(), now=T0, began=T0)
    assert (record.status, record.message) == (status, "")


def test_a_clock_that_went_back_gives_no_negative_duration() -> None:
    record = step_closed(Step(id="fan"), "succeeded", Tally(), now=T0 - 5, began=T0)
    assert record.duration_s == 0.0
