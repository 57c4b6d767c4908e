from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.journal.fold import apply, fold
from tako.journal.parts import CollectedFile, Usage
from tako.journal.records import (
    ArtifactCollected,
    ChildFinished,
    ChildPlanned,
    EventEmitted,
    FanOutPlanned,
    Noted,
    Record,
    RunFinished,
    RunSettled,
    SegmentStarted,
    StepFinished,
    StepStarted,
    StopRequested,
    SubscriptionFiltered,
    WorkerDied,
)
from tako.journal.run_state import RunState
from tako.values import evolve
from tests.support.records import IDENTITY, T0, event, run_id, run_started


def _planned(number: int, repository: str) -> ChildPlanned:
    return ChildPlanned(T0, "fan", run_id(number), repository, "main", "c", "check", {})


def _settled(number: int, status: str = "succeeded", **outputs: object) -> ChildFinished:
    return ChildFinished(T0 + 9, "fan", run_id(number), status, outputs=outputs)


FAN_OUT: tuple[Record, ...] = (
    run_started(steps=("fan",)),
    EventEmitted(T0 + 1, "fan", event()),
    SubscriptionFiltered(T0 + 1, "fan", "acme/c", "check", "no"),
    _planned(1, "acme/a"),
    _planned(2, "acme/b"),
    FanOutPlanned(T0 + 1, "fan", 3, 2),
)


def test_a_run_that_has_just_begun_runs_and_its_steps_are_pending() -> None:
    state = fold([run_started(steps=("one", "two"))])
    assert state.status == "running"
    assert [(step.id, step.status, step.allows_next_step) for step in state.steps.values()] == [
        ("one", "pending", False),
        ("two", "pending", False),
    ]
    assert (state.identity, state.temporary, state.last_at) == (IDENTITY, "/tmp/t", T0)


def test_no_record_is_a_run_that_nobody_knows() -> None:
    state = fold([])
    assert (state.started, state.status, state.steps) == (None, "running", {})


@pytest.mark.parametrize(
    ("finished", "status", "allows_next_step"),
    [
        (StepFinished(T0, "one", 1, "succeeded"), "succeeded", True),
        (StepFinished(T0, "one", 1, "skipped"), "skipped", True),
        (StepFinished(T0, "one", 1, "failed"), "failed", False),
        (StepFinished(T0, "one", 1, "failed", tolerated=True), "failed", True),
        (StepFinished(T0, "one", 1, "timed_out"), "timed_out", False),
        (StepFinished(T0, "one", 1, "cancelled"), "cancelled", False),
    ],
)
def test_a_step_lets_the_run_go_on_if_it_went_well_or_is_tolerated(
    finished: StepFinished, status: str, allows_next_step: bool
) -> None:
    step = fold([run_started(), StepStarted(T0, "one", 1, "k"), finished]).step("one")
    assert (step.status, step.allows_next_step, step.attempts) == (status, allows_next_step, 1)


def test_a_new_attempt_forgets_how_the_last_one_ended() -> None:
    state = fold(
        [
            run_started(),
            StepStarted(T0 + 1, "one", 1, "k"),
            StepFinished(T0 + 2, "one", 1, "failed"),
            StepStarted(T0 + 3, "one", 2, "k"),
        ]
    )
    assert (state.step("one").status, state.step("one").attempts, state.step("one").started) == (
        "running",
        2,
        T0 + 3,
    )


def test_what_a_run_used_is_what_its_steps_used_each_time_they_ran() -> None:
    state = fold(
        [
            run_started(),
            StepFinished(T0 + 1, "one", 1, "failed", usage=Usage(1.5, 10, 300, 2, 7)),
            StepFinished(T0 + 2, "one", 2, "succeeded", usage=Usage(0.25, 20, 100, 9, 5)),
            StepFinished(T0 + 3, "two", 1, "skipped"),
        ]
    )
    assert state.usage == Usage(1.75, 20, 300, 9, 7)


def test_a_step_that_was_never_started_may_end() -> None:
    step = fold([run_started(), StepFinished(T0, "one", 1, "skipped")]).step("one")
    assert (step.started, step.attempts, step.status) == (None, 1, "skipped")


def test_a_later_segment_has_another_process() -> None:
    other = evolve(IDENTITY, pid=7)
    state = fold([run_started(), WorkerDied(T0, 1, "gone"), SegmentStarted(T0, 2, 3, other, "/tmp/u")])
    assert (state.segment, state.attempt, state.identity, state.temporary) == (2, 3, other, "/tmp/u")
    assert [death.message for death in state.deaths] == ["gone"]


def test_what_steps_export_is_kept_and_the_last_one_counts() -> None:
    ends = [
        StepFinished(T0, "one", 1, "succeeded", environment={"A": "1", "B": "1"}),
        StepFinished(T0, "two", 1, "succeeded", environment={"B": "2"}),
    ]
    assert fold([run_started(), *ends]).environment == {"A": "1", "B": "2"}


def test_a_fan_out_is_running_once_its_event_was_emitted() -> None:
    state = fold(FAN_OUT)
    assert (state.step("fan").status, state.step("fan").attempts) == ("running", 1)
    fan_out = state.fan_outs["fan"]
    assert [child.plan.repository for child in fan_out.children.values()] == ["acme/a", "acme/b"]
    assert [record.repository for record in fan_out.filtered] == ["acme/c"]
    assert fan_out.planned == FAN_OUT[-1]


def test_the_outputs_of_a_fan_out_are_those_of_its_children() -> None:
    state = fold([*FAN_OUT, _settled(1, version="1"), StepFinished(T0, "fan", 1, "succeeded")])
    assert state.outputs_of("fan") == {"acme/a": {"version": "1"}}


def test_the_outputs_of_a_step_that_has_not_ended_are_none() -> None:
    state = fold([run_started(), StepStarted(T0, "one", 1, "k")])
    assert state.outputs_of("one") == state.outputs_of("nobody") == {}


def test_artifacts_notes_and_the_wish_to_stop_are_kept() -> None:
    collected = ArtifactCollected(T0, "one", "wheel", (CollectedFile("a", "b", 1),))
    state = fold([run_started(), collected, Noted(T0, "look"), StopRequested(T0, "SIGTERM")])
    assert state.artifacts == {"wheel": collected}
    assert state.notes == [Noted(T0, "look")]
    assert state.stop == StopRequested(T0, "SIGTERM")


def test_a_settled_tree_tells_more_than_the_end_of_its_root() -> None:
    state = fold([run_started(), RunFinished(T0 + 1, "succeeded")])
    assert state.status == "succeeded"
    apply(state, RunSettled(T0 + 2, "cancelled", 130))
    assert (state.status, state.last_at) == ("cancelled", T0 + 2)


@given(st.integers(0, len(FAN_OUT)))
def test_it_does_not_matter_where_reading_was_interrupted(cut: int) -> None:
    story = [*FAN_OUT, _settled(1), _settled(2, "failed"), RunFinished(T0, "failed")]
    state = RunState()
    for record in story[:cut]:
        apply(state, record)
    for record in story[cut:]:
        apply(state, record)
    assert state == fold(story)


def test_a_fan_out_that_nobody_waits_for_has_no_outputs() -> None:
    emitted = EventEmitted(T0 + 1, "fan", event(), wait_for_children=False)
    state = fold([FAN_OUT[0], emitted, *FAN_OUT[2:], _settled(1, version="1")])
    assert state.outputs_of("fan") == {}


def test_the_outputs_of_two_children_of_one_repository_are_put_together() -> None:
    plans = (_planned(1, "acme/a"), _planned(2, "acme/a"))
    state = fold([*FAN_OUT[:2], *plans, _settled(1, version="1"), _settled(2, other="2")])
    assert state.outputs_of("fan") == {"acme/a": {"version": "1", "other": "2"}}
