from __future__ import annotations

import pytest

from tako.journal.fold import fold
from tako.journal.records import (
    ChildFinished,
    EventEmitted,
    FanOutPlanned,
    Record,
    RunFinished,
    RunSettled,
    StepFinished,
    StepStarted,
    StopRequested,
)
from tako.journal.run_state import RunState
from tako.recovery.missing_records import RUN_MESSAGE, STEP_MESSAGE, missing, settled, subtree_status
from tests.support.dead_runs import began, plan, run_id
from tests.support.records import T0, event


def _late(*ended: Record, on_failure: str = "fail", finished: str = "succeeded") -> RunState:
    """Give a run that did not wait for its child, and has ended itself."""
    emitted = EventEmitted(T0, "fan", event(), wait_for_children=False, on_child_failure=on_failure)
    return fold(
        [
            began(steps=("fan",)),
            emitted,
            plan(1, "app"),
            FanOutPlanned(T0, "fan", 1, 1),
            StepFinished(T0, "fan", 1, "succeeded"),
            RunFinished(T0 + 1, finished, 1.0),
            *ended,
        ]
    )


def _ended(status: str) -> ChildFinished:
    return ChildFinished(T0 + 2, "fan", run_id(1), status)


def test_a_step_that_ran_and_its_run_are_told_as_interrupted_at_the_last_sign_of_life() -> None:
    state = fold([began(steps=("one", "two")), StepStarted(T0 + 1, "one", 3, "k")])
    assert missing(state, [], T0 + 5) == [
        StepFinished(T0 + 5, "one", 3, "interrupted", 4.0, message=STEP_MESSAGE),
        RunFinished(T0 + 5, "interrupted", 5.0, RUN_MESSAGE),
    ]


def test_an_open_fan_out_gets_no_made_up_result() -> None:
    state = fold([began(steps=("fan",)), EventEmitted(T0, "fan", event()), plan(1, "app")])
    child = _ended("succeeded")
    [told, step, run] = missing(state, [child], T0 + 2)
    assert told is child
    assert isinstance(step, StepFinished)
    assert (step.status, step.counts, step.attempt) == ("interrupted", {}, 1)
    assert isinstance(run, RunFinished)


def test_nothing_is_missing_where_everything_has_ended() -> None:
    assert missing(_late(_ended("succeeded")), [], T0) == []


def test_a_run_that_wrote_nothing_has_not_started_and_needs_no_end() -> None:
    assert missing(RunState(), [], T0) == []
    assert settled(RunState(), T0) == RunSettled(T0, "interrupted", 4)


def test_a_clock_that_was_set_back_makes_no_negative_duration() -> None:
    state = fold([began(at=T0 + 100, steps=("one",)), StepStarted(T0 + 100, "one", 1, "k")])
    [step, run] = missing(state, [], T0)
    assert isinstance(step, StepFinished)
    assert isinstance(run, RunFinished)
    assert (step.duration_s, run.duration_s) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("child", "on_failure", "own", "status", "code"),
    [
        ("succeeded", "fail", "succeeded", "succeeded", 0),
        ("failed", "fail", "succeeded", "failed", 1),
        ("failed", "ignore", "succeeded", "succeeded", 0),
        ("skipped", "fail", "succeeded", "succeeded", 0),
        ("interrupted", "fail", "succeeded", "interrupted", 4),
        ("interrupted", "ignore", "succeeded", "interrupted", 4),
        ("succeeded", "fail", "failed", "failed", 1),
        ("succeeded", "fail", "timed_out", "timed_out", 124),
    ],
)
def test_a_run_comes_to_what_it_and_all_below_it_came_to(
    child: str, on_failure: str, own: str, status: str, code: int
) -> None:
    state = _late(_ended(child), on_failure=on_failure, finished=own)
    assert subtree_status(state) == status
    record = settled(state, T0 + 9)
    assert record.exit_code == code
    # The root run's own status stands, as its tako would have said it; a late failure is in the exit code.
    assert record.status == ("interrupted" if status == "interrupted" else own)


def test_a_child_that_was_planned_and_never_began_leaves_its_tree_interrupted() -> None:
    assert subtree_status(_late()) == "interrupted"


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGNONSENSE", 1)])
def test_a_run_that_somebody_stopped_has_the_exit_code_of_the_signal(name: str, code: int) -> None:
    state = fold([began(), StopRequested(T0, name), RunFinished(T0, "cancelled")])
    assert settled(state, T0) == RunSettled(T0, "cancelled", code)
