"""What of a run that is taken up again runs again, and from where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tako.config.schema import Step, Workflow
from tako.engine.resume.decision import (
    Decision,
    NotRepeatableError,
    decide_resume,
    ended_children,
    resumed,
    standing_run,
)
from tako.engine.run.spec import RunSpec
from tako.engine.scheduler.instructions import Tally
from tako.journal.fold import apply, fold
from tako.journal.records import (
    ChildFinished,
    ChildPlanned,
    EventEmitted,
    FanOutPlanned,
    Record,
    RunFinished,
    RunSettled,
    StepFinished,
    StepStarted,
)
from tako.journal.run_state import RunState
from tako.values import evolve
from tests.support.records import T0, event, run_id, run_started
from tests.support.segments import run_spec

FAN = Step(id="fan", uses="tako/fan-out@v1", with_={"event_type": "built"})
CLEANUP = Step(id="tidy", run="true")
WORKFLOW = Workflow(
    name="release",
    steps=(Step(id="build", run="true"), FAN, Step(id="after", run="true", on_failure=(CLEANUP,))),
)
BEGUN = run_started(steps=("build", "fan", "after"))
BUILT: list[Record] = [StepStarted(T0 + 1, "build", 1, "k"), StepFinished(T0 + 2, "build", 1, "succeeded")]


def _planned(number: int, at: float = 4) -> ChildPlanned:
    return ChildPlanned(T0 + at, "fan", run_id(number), "acme/app", "main", "beef", "check", {})


def _child(number: int, status: str, at: float = 6) -> ChildFinished:
    return ChildFinished(T0 + at, "fan", run_id(number), status)


def _fan_out(*children: str, wait: bool = True, timeout_s: float | None = None) -> list[Record]:
    """A planned fan-out whose children ended so; an empty status for one that has not ended."""
    records: list[Record] = [EventEmitted(T0 + 3, "fan", event(), wait, timeout_s)]
    records += [_planned(number) for number, _ in enumerate(children, 1)]
    records.append(FanOutPlanned(T0 + 4, "fan", len(children), len(children)))
    return [*records, *(_child(number, status) for number, status in enumerate(children, 1) if status)]


def _state(*records: Record) -> RunState:
    return fold([BEGUN, *records])


def _resume(
    state: RunState,
    now: float = T0 + 100,
    **changes: Any,  # noqa: ANN401 - what `decide_resume` takes
) -> Decision:
    decision = decide_resume(WORKFLOW, state, **changes)
    apply(state, resumed(decision, state, now=now, version="0"))
    return decision


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    """Give the root run."""
    return run_spec(tmp_path, workflow=WORKFLOW, repository="acme/lib")


# --- what runs again ---


def test_what_has_succeeded_is_kept_and_what_has_not_begun_needs_no_decision() -> None:
    decision = decide_resume(WORKFLOW, _state(*BUILT))
    assert decision == Decision()


@pytest.mark.parametrize("status", ["failed", "timed_out", "cancelled", "interrupted"])
def test_a_step_that_ended_badly_runs_again(status: str) -> None:
    state = _state(StepStarted(T0 + 1, "build", 1, "k"), StepFinished(T0 + 2, "build", 1, status))
    assert decide_resume(WORKFLOW, state).reset == ("build",)


def test_a_step_without_an_end_runs_again() -> None:
    assert decide_resume(WORKFLOW, _state(BUILT[0])).reset == ("build",)


@pytest.mark.parametrize(("status", "tolerated"), [("skipped", False), ("failed", True)])
def test_a_step_that_lets_go_on_is_kept(status: str, tolerated: bool) -> None:
    state = _state(BUILT[0], StepFinished(T0 + 2, "build", 1, status, tolerated=tolerated))
    assert decide_resume(WORKFLOW, state).reset == ()


def test_what_was_run_because_of_a_failure_runs_again_with_it() -> None:
    state = _state(
        *BUILT,
        StepStarted(T0 + 3, "after", 1, "k"),
        StepFinished(T0 + 4, "after", 1, "failed"),
        StepStarted(T0 + 5, "tidy", 1, "k"),
        StepFinished(T0 + 6, "tidy", 1, "succeeded"),
        RunFinished(T0 + 7, "failed"),
    )
    assert decide_resume(WORKFLOW, state).reset == ("after", "tidy")


def test_of_a_fan_out_that_failed_only_the_children_that_did_not_succeed_run_again() -> None:
    state = _state(
        *BUILT,
        *_fan_out("succeeded", "failed", "cancelled", "timed_out", "interrupted", "skipped"),
        StepFinished(T0 + 7, "fan", 1, "failed"),
        RunFinished(T0 + 8, "failed"),
        RunSettled(T0 + 8, "failed", 1),
    )
    decision = _resume(state)
    assert decision.reset == ("fan",)
    assert decision.children == tuple(run_id(number) for number in (2, 3, 4, 5))
    assert (state.finished, state.settled, state.step("fan").status) == (None, None, "running")
    assert ended_children(state.fan_outs["fan"]) == Tally(succeeded=1, skipped=1)


def test_failed_only_leaves_out_what_was_ended_from_outside() -> None:
    ended = ("failed", "cancelled", "interrupted", "timed_out", "")
    state = _state(*BUILT, *_fan_out(*ended), StepFinished(T0 + 7, "fan", 1, "failed"))
    decision = _resume(state, failed_only=True)
    assert decision.children == (run_id(1), run_id(4))
    assert ended_children(state.fan_outs["fan"]) == Tally(cancelled=2)


def test_children_nobody_waited_for_run_again_although_the_run_succeeded() -> None:
    state = _state(
        *BUILT,
        *_fan_out("failed", "succeeded", wait=False),
        StepFinished(T0 + 5, "fan", 1, "succeeded"),
        StepFinished(T0 + 6, "after", 1, "succeeded"),
        RunFinished(T0 + 7, "succeeded"),
        RunSettled(T0 + 8, "succeeded", 1),
    )
    decision = _resume(state)
    assert (decision.reset, decision.children) == ((), (run_id(1),))
    assert state.finished is not None
    assert state.settled is None


def test_children_of_a_fan_out_that_tolerates_failures_are_kept() -> None:
    state = _state(*BUILT, *_fan_out("failed"), StepFinished(T0 + 7, "fan", 1, "succeeded"))
    assert decide_resume(WORKFLOW, state).children == ()


# --- from the beginning ---


def test_a_run_whose_workspace_is_lost_starts_over() -> None:
    state = _state(*BUILT, *_fan_out("succeeded", "failed"), StepFinished(T0 + 7, "fan", 1, "failed"))
    decision = _resume(state, lost="the machine was restarted")
    assert decision.starts_over == "the machine was restarted"
    assert decision.reset == ("build", "fan")
    assert decision.children == (run_id(2),)
    assert state.rebuilds
    assert (state.step("build").status, state.step("fan").status) == ("pending", "pending")


def test_a_run_that_succeeded_or_did_not_begin_does_not_start_over() -> None:
    done = _state(*BUILT, RunFinished(T0 + 7, "succeeded"))
    assert decide_resume(WORKFLOW, done, "gone").starts_over == ""
    assert decide_resume(WORKFLOW, _state(), "gone").starts_over == ""


# --- what must not run twice ---


def _once(**changes: Any) -> Workflow:  # noqa: ANN401 - fields of a step
    step = evolve(WORKFLOW.steps[0], rerun="never", **changes)
    return evolve(WORKFLOW, steps=(step, *WORKFLOW.steps[1:]))


def test_a_step_that_may_have_taken_effect_is_told_and_left_as_it_is_without_leave() -> None:
    state = _state(BUILT[0], StepFinished(T0 + 2, "build", 1, "interrupted"))
    assert decide_resume(_once(), state) == Decision(reset=("build",), forbidden=("build",))
    assert decide_resume(_once(), state, may_repeat=False) == Decision(forbidden=("build",))


def test_one_that_did_not_run_is_no_question() -> None:
    assert decide_resume(_once(), _state(), may_repeat=False).forbidden == ()


def test_a_run_that_would_have_to_start_over_is_refused_without_leave() -> None:
    with pytest.raises(NotRepeatableError, match="gone: it would repeat build"):
        decide_resume(_once(), _state(*BUILT), "gone", may_repeat=False)
    assert decide_resume(_once(), _state(*BUILT), "gone").forbidden == ("build",)


# --- where it stands ---


def test_a_run_goes_on_in_a_new_segment(spec: RunSpec) -> None:
    state = _state(*BUILT)
    _resume(state)
    new = standing_run(spec, state, T0 + 100)
    assert (new.segment, new.fan_out, new.open_fan_outs, new.finished) == (1, "", (), "")


def test_a_run_that_waits_for_children_needs_no_worker(spec: RunSpec) -> None:
    state = _state(*BUILT, *_fan_out("succeeded", ""), StepFinished(T0 + 9, "fan", 1, "interrupted"))
    _resume(state)
    assert standing_run(spec, state, T0 + 100).fan_out == "fan"


def test_a_run_that_starts_over_does_not_wait_anywhere(spec: RunSpec) -> None:
    state = _state(*BUILT, *_fan_out("succeeded", ""))
    _resume(state, lost="gone")
    assert standing_run(spec, state, T0 + 100).fan_out == ""


def test_a_run_that_only_waits_to_settle_is_told_so(spec: RunSpec) -> None:
    state = _state(
        *BUILT,
        *_fan_out("failed", wait=False),
        StepFinished(T0 + 5, "fan", 1, "succeeded"),
        RunFinished(T0 + 7, "succeeded"),
    )
    _resume(state)
    new = standing_run(spec, state, T0 + 100)
    assert (new.finished, new.open_fan_outs, new.fan_out) == ("succeeded", ("fan",), "")


def test_the_time_between_crash_and_resume_does_not_count(spec: RunSpec) -> None:
    spec = evolve(spec, workflow=evolve(WORKFLOW, timeout_s=60.0))
    state = _state(*BUILT)
    _resume(state, now=T0 + 1000)
    assert standing_run(spec, state, T0 + 1000).timeout_s == 58.0
    apply(state, StepStarted(T0 + 1010, "after", 1, "k"))
    apply(state, StepFinished(T0 + 1013, "after", 1, "interrupted"))
    _resume(state, now=T0 + 2000)
    assert standing_run(spec, state, T0 + 2005).timeout_s == 40.0


def test_time_that_had_run_out_begins_anew(spec: RunSpec) -> None:
    spec = evolve(spec, workflow=evolve(WORKFLOW, timeout_s=60.0))
    state = _state(*BUILT, RunFinished(T0 + 60, "timed_out"))
    _resume(state, now=T0 + 1000)
    assert standing_run(spec, state, T0 + 1000).timeout_s == 60.0


def test_of_a_fan_out_that_was_cut_off_the_time_goes_on_of_one_that_ended_it_begins_anew() -> None:
    cut_off = _state(*BUILT, *_fan_out(""), StepFinished(T0 + 9, "fan", 1, "interrupted"))
    _resume(cut_off)
    assert cut_off.active_s(cut_off.fan_outs["fan"].since, T0 + 100) == 6.0
    ended = _state(*BUILT, *_fan_out("timed_out"), StepFinished(T0 + 9, "fan", 1, "timed_out"))
    _resume(ended)
    assert ended.active_s(ended.fan_outs["fan"].since, T0 + 102) == 2.0


def test_a_clock_set_back_gives_no_time_that_is_not_there(spec: RunSpec) -> None:
    spec = evolve(spec, workflow=evolve(WORKFLOW, timeout_s=60.0))
    state = _state(*BUILT)
    _resume(state, now=T0 - 500)
    before = state.since
    used = state.active_s(before, T0 - 500)
    assert 0 < used < 60
    assert standing_run(spec, state, T0 - 499).timeout_s == 59.0 - used
    assert state.duration_s(T0 - 499) == used + 1


def test_the_same_event_after_a_start_over_keeps_its_children() -> None:
    state = _state(*BUILT, *_fan_out("succeeded", "failed"), StepFinished(T0 + 7, "fan", 1, "failed"))
    _resume(state, lost="gone")
    apply(state, EventEmitted(T0 + 120, "fan", event()))
    assert {run_id(1), run_id(2)} == set(state.fan_outs["fan"].children)
    assert ended_children(state.fan_outs["fan"]) == Tally(succeeded=1)
    assert state.step("fan").status == "running"


def test_another_event_has_children_of_its_own() -> None:
    state = _state(*BUILT, *_fan_out("succeeded"), StepFinished(T0 + 7, "fan", 1, "failed"))
    _resume(state, lost="gone")
    apply(state, EventEmitted(T0 + 120, "fan", event(payload={"version": "9"})))
    assert state.fan_outs["fan"].children == {}


def test_a_fan_out_whose_plan_broke_off_is_planned_anew() -> None:
    state = _state(*BUILT, EventEmitted(T0 + 3, "fan", event()), _planned(1))
    apply(state, EventEmitted(T0 + 3, "fan", event()))
    assert state.fan_outs["fan"].children == {}


def test_each_taking_up_is_an_attempt() -> None:
    state = _state(*BUILT)
    assert state.attempts == 1
    _resume(state)
    assert state.attempts == 2


def test_what_the_checkout_is_now_is_what_counts_from_now_on() -> None:
    state = _state(*BUILT)
    assert state.started is not None
    record = resumed(Decision(), state, now=T0 + 9, version="0")
    apply(state, evolve(record, commit="f00d", config_digest="d2", tracked_changes="aa"))
    pinned = (state.started.commit, state.started.config_digest, state.started.tracked_changes)
    assert pinned == ("f00d", "d2", "aa")


def test_children_nobody_waits_for_that_ended_badly_and_are_left_out_make_it_a_failure(spec: RunSpec) -> None:
    state = _state(
        *BUILT,
        *_fan_out("cancelled", "succeeded", wait=False),
        StepFinished(T0 + 5, "fan", 1, "succeeded"),
        RunFinished(T0 + 7, "succeeded"),
        RunSettled(T0 + 8, "succeeded", 130),
    )
    _resume(state, failed_only=True)
    new = standing_run(spec, state, T0 + 100)
    assert (new.finished, new.open_fan_outs, new.late_failure) == ("succeeded", (), True)


def test_the_time_of_children_nobody_waits_for_begins_anew_too() -> None:
    records = [*BUILT, *_fan_out("timed_out", wait=False, timeout_s=5.0)]
    ended = _state(*records, StepFinished(T0 + 5, "fan", 1, "succeeded"), RunFinished(T0 + 7, "succeeded"))
    _resume(ended)
    assert ended.active_s(ended.fan_outs["fan"].since, T0 + 102) == 2.0


def test_a_fan_out_that_is_come_to_again_has_its_time_again() -> None:
    state = _state(*BUILT, *_fan_out("succeeded", ""), StepFinished(T0 + 9, "fan", 1, "interrupted"))
    _resume(state, lost="gone")
    apply(state, EventEmitted(T0 + 120, "fan", event()))
    assert state.active_s(state.fan_outs["fan"].since, T0 + 122) == 2.0


def test_with_a_step_that_may_not_run_twice_stays_what_was_done_after_it() -> None:
    step = evolve(WORKFLOW.steps[2], rerun="never")
    flow = evolve(WORKFLOW, steps=(*WORKFLOW.steps[:2], step))
    state = _state(
        StepStarted(T0 + 3, "after", 1, "k"),
        StepFinished(T0 + 4, "after", 1, "failed"),
        StepStarted(T0 + 5, "tidy", 1, "k"),
        StepFinished(T0 + 6, "tidy", 1, "succeeded"),
    )
    assert decide_resume(flow, state, may_repeat=False).reset == ()


def test_an_end_before_the_beginning_is_forgotten() -> None:
    state = fold([RunFinished(T0, "failed", error_kind="worker_died"), BEGUN])
    assert (state.finished, state.status) == (None, "running")


def test_the_end_of_a_child_of_an_earlier_event_counts_no_more() -> None:
    state = _state(
        *BUILT, *_fan_out("", wait=False), EventEmitted(T0 + 9, "fan", event(payload={"other": 1}))
    )
    apply(state, _child(1, "succeeded", 10))
    assert state.fan_outs["fan"].children == {}
