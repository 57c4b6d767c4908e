from __future__ import annotations

from typing import Any

import pytest

from tako.engine.scheduler.instructions import (
    CancelSegment,
    CloseFanOut,
    FinishRun,
    Instruction,
    PlanFanOut,
    ReportChild,
    SettleTree,
    StartSegment,
    StopPlanning,
    Tally,
)
from tako.engine.scheduler.machine import Machine
from tako.engine.scheduler.stimuli import (
    Began,
    FanOutFailed,
    FanOutPlanned,
    NewRun,
    RoomChanged,
    SegmentEnded,
    Stimulus,
    StopAsked,
    TimePassed,
    WorkerLost,
)
from tako.values import evolve

FIRST = StartSegment("root", 0, 1)


def _begun(*, slots: int = 9, timeout_s: float | None = None, turn: str = "lib") -> Machine:
    """Give a machine whose root runs its first segment since 100."""
    machine = Machine(slots)
    assert machine.handle(Began(NewRun("root", turn, timeout_s), 100.0)) == [FIRST]
    return machine


def _planned(
    run_id: str,
    *children: str | NewRun,
    step: str = "fan",
    now: float = 100.0,
    wait: bool = True,
    timeout_s: float | None = None,
    limit: int | None = None,
    on_child_failure: str = "fail",
) -> FanOutPlanned:
    whole = tuple(NewRun(child, "") if isinstance(child, str) else child for child in children)
    return FanOutPlanned(run_id, step, whole, now, wait, timeout_s, limit, on_child_failure)


def _fan_out(machine: Machine, planned: FanOutPlanned) -> list[Instruction]:
    """Let the run's segment end at the fan-out, and the fan-out be planned."""
    reached = SegmentEnded(planned.run_id, step=planned.step)
    assert machine.handle(reached) == [PlanFanOut(planned.run_id, planned.step)]
    return machine.handle(planned)


def _started(*run_ids: str) -> list[Instruction]:
    return [StartSegment(run_id, 0, 1) for run_id in run_ids]


def _report(run_id: str, status: str, parent: str = "root", step: str = "fan") -> ReportChild:
    return ReportChild(parent, step, run_id, status)


def _close(status: str, run_id: str = "root", step: str = "fan", **tally: int) -> CloseFanOut:
    return CloseFanOut(run_id, step, status, Tally(**tally))


def _settles(machine: Machine, stimulus: Stimulus, status: str, *, late: bool = False) -> None:
    assert machine.handle(stimulus) == [SettleTree(status, late)]


# --- a plain run ---


@pytest.mark.parametrize("status", ["succeeded", "failed", "timed_out"])
def test_a_run_without_fan_out_ends_with_its_segment(status: str) -> None:
    _settles(_begun(), SegmentEnded("root", status), status)


def test_a_root_whose_first_segment_runs_already_is_not_started_again() -> None:
    machine = Machine(1)
    assert machine.handle(Began(NewRun("root", "lib"), 100.0, running=True)) == []
    assert machine.handle(SegmentEnded("root", step="fan")) == [PlanFanOut("root", "fan")]
    assert machine.handle(_planned("root", "a")) == _started("a")


# --- fan-outs ---


def test_a_waiting_run_goes_on_when_its_children_have_settled() -> None:
    machine = _begun()
    assert _fan_out(machine, _planned("root", "a", "b")) == _started("a", "b")
    assert machine.handle(SegmentEnded("b", "succeeded")) == [_report("b", "succeeded")]
    assert machine.handle(SegmentEnded("a", "succeeded")) == [
        _report("a", "succeeded"),
        _close("succeeded", succeeded=2),
        StartSegment("root", 1, 1),
    ]
    _settles(machine, SegmentEnded("root", "succeeded"), "succeeded")


def test_a_fan_out_without_children_is_over_at_once() -> None:
    machine = _begun()
    assert _fan_out(machine, _planned("root")) == [_close("succeeded"), StartSegment("root", 1, 1)]


def test_a_waiting_run_holds_no_slot_so_that_one_is_enough_for_any_depth() -> None:
    machine = _begun(slots=1)
    assert _fan_out(machine, _planned("root", "a")) == _started("a")
    assert _fan_out(machine, _planned("a", "b")) == _started("b")
    assert _fan_out(machine, _planned("b", "c")) == _started("c")
    assert machine.handle(SegmentEnded("c", "succeeded")) == [
        _report("c", "succeeded", "b"),
        _close("succeeded", "b", succeeded=1),
        StartSegment("b", 1, 1),
    ]
    assert machine.handle(SegmentEnded("b", "succeeded")) == [
        _report("b", "succeeded", "a"),
        _close("succeeded", "a", succeeded=1),
        StartSegment("a", 1, 1),
    ]


def test_what_goes_on_comes_first_then_what_is_deep() -> None:
    machine = _begun(slots=1)
    assert _fan_out(machine, _planned("root", "a", "b", "c")) == _started("a")
    # While it is planned, the slot is not left empty.
    assert machine.handle(SegmentEnded("a", step="fan")) == [PlanFanOut("a", "fan"), *_started("b")]
    assert machine.handle(_planned("a", "a.a")) == []
    # The grandchild before the other child, and then its parent before that.
    assert machine.handle(SegmentEnded("b", "succeeded"))[-1] == StartSegment("a.a", 0, 1)
    assert machine.handle(SegmentEnded("a.a", "succeeded"))[-1] == StartSegment("a", 1, 1)
    assert machine.handle(SegmentEnded("a", "succeeded"))[-1] == StartSegment("c", 0, 1)


def test_one_run_may_have_one_fan_out_after_the_other() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a", step="one"))
    assert machine.handle(SegmentEnded("a", "succeeded"))[-1] == StartSegment("root", 1, 1)
    assert _fan_out(machine, _planned("root", "b", step="two")) == _started("b")
    assert machine.handle(SegmentEnded("b", "succeeded")) == [
        _report("b", "succeeded", step="two"),
        _close("succeeded", step="two", succeeded=1),
        StartSegment("root", 2, 1),
    ]


def test_a_fan_out_runs_no_more_children_at_once_than_it_allows() -> None:
    machine = _begun()
    assert _fan_out(machine, _planned("root", "a", "b", "c", limit=2)) == _started("a", "b")
    assert machine.handle(SegmentEnded("a", "succeeded")) == [_report("a", "succeeded"), *_started("c")]


def test_a_child_that_waits_holds_no_place_in_its_fan_out() -> None:
    machine = _begun()
    assert _fan_out(machine, _planned("root", "a", "b", limit=1)) == _started("a")
    assert machine.handle(SegmentEnded("a", step="fan")) == [PlanFanOut("a", "fan"), *_started("b")]


def test_a_repository_runs_once_at_a_time_and_one_that_waits_gives_up_its_turn() -> None:
    machine = _begun(turn="lib")
    assert _fan_out(
        machine, _planned("root", NewRun("a", "app"), NewRun("b", "app"), NewRun("c", "lib"))
    ) == [*_started("a", "c")]
    assert machine.handle(SegmentEnded("a", step="fan")) == [PlanFanOut("a", "fan"), *_started("b")]


def test_a_workflow_may_waive_its_turn() -> None:
    machine = _begun(turn="")
    assert _fan_out(machine, _planned("root", NewRun("a", ""), NewRun("b", ""))) == _started("a", "b")


def test_how_many_segments_are_wanted_soon_is_known() -> None:
    machine = _begun(slots=1)
    _fan_out(machine, _planned("root", "a", "b", "c"))
    assert machine.wanted_soon == 2


# --- children that fail ---


def test_a_failed_child_fails_the_step_and_the_others_run_on() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a", "b"))
    assert machine.handle(SegmentEnded("a", "failed")) == [_report("a", "failed")]
    assert machine.handle(SegmentEnded("b", "succeeded"))[:2] == [
        _report("b", "succeeded"),
        _close("failed", succeeded=1, failed=1),
    ]


def test_ignored_failures_are_reported_and_counted_but_do_not_fail_the_step() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a", on_child_failure="ignore"))
    assert machine.handle(SegmentEnded("a", "failed"))[:2] == [
        _report("a", "failed"),
        _close("succeeded", failed=1),
    ]


def test_fail_fast_ends_what_runs_and_never_starts_the_rest() -> None:
    machine = _begun(slots=2)
    _fan_out(machine, _planned("root", "a", "b", "c", on_child_failure="fail_fast"))
    assert machine.handle(SegmentEnded("a", "failed")) == [
        _report("a", "failed"),
        CancelSegment("b", "cancelled"),
        FinishRun("c", "cancelled", "cancelled"),
        _report("c", "cancelled"),
    ]
    assert machine.handle(SegmentEnded("b", "cancelled"))[:2] == [
        _report("b", "cancelled"),
        _close("failed", failed=1, cancelled=2),
    ]


def test_fail_fast_ends_thousands_that_wait() -> None:
    machine = _begun(slots=1)
    _fan_out(machine, _planned("root", *map(str, range(5000)), on_child_failure="fail_fast"))
    done = machine.handle(SegmentEnded("0", "failed"))
    assert sum(isinstance(instruction, ReportChild) for instruction in done) == 5000
    assert done[-2:] == [_close("failed", failed=1, cancelled=4999), StartSegment("root", 1, 1)]


def test_a_child_that_failed_before_it_could_run_counts_and_is_not_started() -> None:
    machine = _begun()
    broken = NewRun("broken", "", failed=True)
    assert _fan_out(machine, _planned("root", broken, "b")) == _started("b")
    assert machine.handle(SegmentEnded("b", "succeeded"))[1] == _close("failed", succeeded=1, failed=1)


def test_only_children_that_failed_before_close_the_fan_out_at_once() -> None:
    machine = _begun()
    broken = NewRun("broken", "", failed=True)
    assert _fan_out(machine, _planned("root", broken)) == [
        _close("failed", failed=1),
        StartSegment("root", 1, 1),
    ]


def test_with_fail_fast_such_a_child_keeps_the_others_from_starting() -> None:
    machine = _begun()
    broken = NewRun("broken", "", failed=True)
    assert _fan_out(machine, _planned("root", broken, "b", on_child_failure="fail_fast")) == [
        FinishRun("b", "cancelled", "cancelled"),
        _report("b", "cancelled"),
        _close("failed", failed=1, cancelled=1),
        StartSegment("root", 1, 1),
    ]


def test_a_fan_out_that_cannot_be_planned_lets_its_run_go_on_to_handle_it() -> None:
    machine = _begun()
    machine.handle(SegmentEnded("root", step="fan"))
    assert machine.handle(FanOutFailed("root", "fan")) == [StartSegment("root", 1, 1)]


# --- not waiting ---


def test_without_waiting_the_run_goes_on_and_the_tree_settles_after_all() -> None:
    machine = _begun()
    assert _fan_out(machine, _planned("root", "a", wait=False)) == [
        _close("succeeded"),
        StartSegment("root", 1, 1),
        StartSegment("a", 0, 1),
    ]
    assert machine.handle(SegmentEnded("root", "succeeded")) == []
    assert machine.handle(SegmentEnded("a", "succeeded")) == [
        _report("a", "succeeded"),
        SettleTree("succeeded", late_failure=False),
    ]


def test_without_waiting_and_without_children_the_run_goes_on() -> None:
    machine = _begun()
    assert _fan_out(machine, _planned("root", wait=False)) == [
        _close("succeeded"),
        StartSegment("root", 1, 1),
    ]
    _settles(machine, SegmentEnded("root", "succeeded"), "succeeded")


def test_a_late_failure_changes_the_end_of_the_tree_but_not_of_the_run() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a", wait=False))
    machine.handle(SegmentEnded("a", "failed"))
    _settles(machine, SegmentEnded("root", "succeeded"), "succeeded", late=True)


def test_an_ignored_late_failure_is_none() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a", wait=False, on_child_failure="ignore"))
    machine.handle(SegmentEnded("a", "failed"))
    _settles(machine, SegmentEnded("root", "succeeded"), "succeeded")


def test_a_child_is_reported_when_its_own_fan_outs_have_settled_and_a_late_failure_fails_it() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a"))
    _fan_out(machine, _planned("a", "a.a", wait=False))
    assert machine.handle(SegmentEnded("a", "succeeded")) == []
    assert machine.handle(SegmentEnded("a.a", "failed")) == [
        _report("a.a", "failed", "a"),
        _report("a", "failed"),
        _close("failed", failed=1),
        StartSegment("root", 1, 1),
    ]


# --- workers that die ---


def _replaced(machine: Machine, run_id: str, start: StartSegment) -> None:
    """Lose a worker and wait for the next one."""
    assert machine.handle(WorkerLost(run_id)) == []
    due = machine.next_deadline
    assert due is not None
    assert machine.handle(TimePassed(due)) == [start]


def test_a_lost_worker_is_replaced_twice_and_then_the_run_has_failed() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a", "b"))
    _replaced(machine, "a", StartSegment("a", 0, 2))
    _replaced(machine, "a", StartSegment("a", 0, 3))
    assert machine.handle(WorkerLost("a")) == [
        FinishRun("a", "failed", "worker_died"),
        _report("a", "failed"),
    ]
    assert machine.handle(SegmentEnded("b", "succeeded"))[0] == _report("b", "succeeded")


def test_each_segment_has_its_own_attempts() -> None:
    machine = _begun()
    _replaced(machine, "root", StartSegment("root", 0, 2))
    _replaced(machine, "root", StartSegment("root", 0, 3))
    assert _fan_out(machine, _planned("root")) == [_close("succeeded"), StartSegment("root", 1, 1)]
    _replaced(machine, "root", StartSegment("root", 1, 2))


def test_it_is_replaced_after_a_pause_that_doubles_in_which_others_have_its_place() -> None:
    machine = _begun(slots=1)
    _fan_out(machine, _planned("root", "a", "b"))
    assert machine.handle(WorkerLost("a"), 110.0) == _started("b")
    assert machine.next_deadline == pytest.approx(110.2)
    assert machine.handle(TimePassed(110.1)) == []
    # Its pause is over, but there is no slot.
    assert machine.handle(TimePassed(110.3)) == []
    assert machine.next_deadline is None
    assert machine.handle(SegmentEnded("b", "succeeded"))[-1] == StartSegment("a", 0, 2)
    assert machine.handle(WorkerLost("a"), 120.0) == []
    assert machine.next_deadline == pytest.approx(120.4)


def test_a_run_that_waits_for_its_next_worker_can_be_stopped_and_timed_out() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", NewRun("a", "", 10.0), "b"))
    assert machine.handle(WorkerLost("a"), 109.9) == []
    assert machine.next_deadline == 110.0
    assert machine.handle(TimePassed(110.0)) == [
        FinishRun("a", "timed_out", "timed_out"),
        _report("a", "timed_out"),
    ]
    assert machine.handle(WorkerLost("b")) == []
    assert machine.handle(StopAsked())[:2] == [
        FinishRun("b", "cancelled", "cancelled"),
        _report("b", "cancelled"),
    ]
    assert machine.next_deadline is None


def test_the_root_itself_may_lose_its_worker_for_good() -> None:
    machine = _begun()
    _replaced(machine, "root", StartSegment("root", 0, 2))
    _replaced(machine, "root", StartSegment("root", 0, 3))
    assert machine.handle(WorkerLost("root")) == [
        FinishRun("root", "failed", "worker_died"),
        SettleTree("failed", late_failure=False),
    ]


def test_a_run_that_is_to_end_is_not_tried_again() -> None:
    machine = _begun()
    machine.handle(StopAsked())
    assert machine.handle(WorkerLost("root")) == [
        FinishRun("root", "cancelled", "cancelled"),
        SettleTree("cancelled", late_failure=False),
    ]


# --- stopping ---


def test_a_stop_ends_the_running_segment_once() -> None:
    machine = _begun()
    assert machine.handle(StopAsked()) == [CancelSegment("root", "cancelled")]
    assert machine.handle(StopAsked()) == []
    _settles(machine, SegmentEnded("root", "cancelled"), "cancelled")


def test_a_run_that_was_told_to_stop_and_reached_a_fan_out_instead_is_ended_there() -> None:
    machine = _begun()
    machine.handle(StopAsked())
    assert machine.handle(SegmentEnded("root", step="fan")) == [
        _close("cancelled"),
        FinishRun("root", "cancelled", "cancelled"),
        SettleTree("cancelled", late_failure=False),
    ]


def test_a_stop_while_planning_waits_for_the_plan_and_starts_none_of_it() -> None:
    machine = _begun()
    machine.handle(SegmentEnded("root", step="fan"))
    assert machine.handle(StopAsked()) == [StopPlanning("root")]
    assert machine.handle(_planned("root", "a", "b")) == [
        FinishRun("a", "cancelled", "cancelled"),
        _report("a", "cancelled"),
        FinishRun("b", "cancelled", "cancelled"),
        _report("b", "cancelled"),
        _close("cancelled", cancelled=2),
        FinishRun("root", "cancelled", "cancelled"),
        SettleTree("cancelled", late_failure=False),
    ]


def test_planning_that_was_stopped_ends_the_run_and_its_step_can_be_taken_up() -> None:
    machine = _begun()
    machine.handle(SegmentEnded("root", step="fan"))
    machine.handle(StopAsked())
    assert machine.handle(FanOutFailed("root", "fan", stopped=True)) == [
        _close("cancelled"),
        FinishRun("root", "cancelled", "cancelled"),
        SettleTree("cancelled", late_failure=False),
    ]


@pytest.mark.parametrize("children", [(), ("a",)])
def test_a_stop_while_planning_what_is_not_waited_for_ends_the_run(children: tuple[str, ...]) -> None:
    machine = _begun()
    machine.handle(SegmentEnded("root", step="fan"))
    machine.handle(StopAsked())
    done = machine.handle(_planned("root", *children, wait=False))
    assert done[:2] == [_close("succeeded"), FinishRun("root", "cancelled", "cancelled")]
    assert done[-1] == SettleTree("cancelled", late_failure=bool(children))
    assert [one for one in done if isinstance(one, ReportChild)] == [
        _report(a, "cancelled") for a in children
    ]


def test_a_stop_while_planning_fails_ends_the_run() -> None:
    machine = _begun()
    machine.handle(SegmentEnded("root", step="fan"))
    machine.handle(StopAsked())
    assert machine.handle(FanOutFailed("root", "fan")) == [
        FinishRun("root", "cancelled", "cancelled"),
        SettleTree("cancelled", late_failure=False),
    ]


def test_a_stop_while_waiting_ends_the_subtree_first() -> None:
    machine = _begun(slots=1)
    _fan_out(machine, _planned("root", "a", "b"))
    assert machine.handle(StopAsked()) == [
        CancelSegment("a", "cancelled"),
        FinishRun("b", "cancelled", "cancelled"),
        _report("b", "cancelled"),
    ]
    assert machine.handle(SegmentEnded("a", "cancelled")) == [
        _report("a", "cancelled"),
        _close("cancelled", cancelled=2),
        FinishRun("root", "cancelled", "cancelled"),
        SettleTree("cancelled", late_failure=False),
    ]


def test_what_a_stop_cancelled_is_not_ignored() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a", on_child_failure="ignore"))
    machine.handle(StopAsked())
    assert machine.handle(SegmentEnded("a", "cancelled"))[1] == _close("cancelled", cancelled=1)


def test_a_stop_reaches_the_whole_depth() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a"))
    _fan_out(machine, _planned("a", "a.a"))
    assert machine.handle(StopAsked()) == [CancelSegment("a.a", "cancelled")]
    assert machine.handle(SegmentEnded("a.a", "succeeded")) == [
        _report("a.a", "cancelled", "a"),
        _close("cancelled", "a", cancelled=1),
        FinishRun("a", "cancelled", "cancelled"),
        _report("a", "cancelled"),
        _close("cancelled", cancelled=1),
        FinishRun("root", "cancelled", "cancelled"),
        SettleTree("cancelled", late_failure=False),
    ]


def test_a_stop_reaches_below_a_run_that_has_finished_its_own_steps() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a", wait=False))
    machine.handle(SegmentEnded("root", "succeeded"))
    assert machine.handle(StopAsked()) == [CancelSegment("a", "cancelled")]
    assert machine.handle(SegmentEnded("a", "cancelled")) == [
        _report("a", "cancelled"),
        SettleTree("succeeded", late_failure=True),
    ]


def test_a_stop_before_the_root_got_its_slot_ends_it() -> None:
    machine = _begun(slots=1)
    _fan_out(machine, _planned("root", "a", wait=False))
    # The root's second segment runs; its child is queued.
    assert machine.handle(StopAsked()) == [
        FinishRun("a", "cancelled", "cancelled"),
        _report("a", "cancelled"),
        CancelSegment("root", "cancelled"),
    ]


def test_nothing_is_started_any_more_after_a_stop() -> None:
    machine = _begun(slots=1)
    _fan_out(machine, _planned("root", "a", "b", "c"))
    machine.handle(StopAsked())
    assert machine.wanted_soon == 0


def test_a_run_that_succeeded_in_spite_of_the_stop_still_counts_as_cancelled() -> None:
    machine = _begun()
    machine.handle(StopAsked())
    _settles(machine, SegmentEnded("root", "succeeded"), "cancelled")


# --- the machine is at fault ---


def test_a_fault_of_the_machine_fails_that_run_and_stops_all_others() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a", "b"))
    assert machine.handle(SegmentEnded("a", "failed", machine_fault=True)) == [
        _report("a", "failed"),
        CancelSegment("b", "cancelled"),
    ]
    assert machine.handle(SegmentEnded("b", "cancelled")) == [
        _report("b", "cancelled"),
        _close("cancelled", failed=1, cancelled=1),
        FinishRun("root", "cancelled", "cancelled"),
        SettleTree("cancelled", late_failure=False),
    ]


def test_a_fault_in_the_last_child_does_not_let_the_run_go_on() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a"))
    assert machine.handle(SegmentEnded("a", "failed", machine_fault=True)) == [
        _report("a", "failed"),
        _close("failed", failed=1),
        FinishRun("root", "cancelled", "cancelled"),
        SettleTree("cancelled", late_failure=False),
    ]


def test_a_fault_in_the_root_ends_the_tree() -> None:
    _settles(_begun(), SegmentEnded("root", "failed", machine_fault=True), "failed")


# --- time ---


def test_a_running_workflow_that_is_out_of_time_is_ended() -> None:
    machine = _begun(timeout_s=10.0)
    assert machine.next_deadline == 110.0
    assert machine.handle(TimePassed(109.9)) == []
    assert machine.handle(TimePassed(110.0)) == [CancelSegment("root", "timed_out")]
    assert not machine.next_deadline
    _settles(machine, SegmentEnded("root", "timed_out"), "timed_out")


def test_the_time_of_a_root_that_runs_already_counts_from_its_beginning() -> None:
    machine = Machine(1)
    machine.handle(Began(NewRun("root", "", 10.0), 100.0, running=True))
    assert machine.next_deadline == 110.0
    assert machine.handle(TimePassed(110.0)) == [CancelSegment("root", "timed_out")]


def test_the_time_of_a_child_counts_from_its_start_not_from_its_planning() -> None:
    machine = _begun(slots=1)
    _fan_out(machine, _planned("root", NewRun("a", "", 10.0), NewRun("b", "", 10.0)))
    machine.handle(TimePassed(105.0))
    machine.handle(SegmentEnded("a", "succeeded"))
    assert machine.next_deadline == 115.0


def test_the_time_of_a_workflow_runs_on_while_it_waits() -> None:
    machine = _begun(timeout_s=10.0)
    _fan_out(machine, _planned("root", "a"))
    assert machine.handle(TimePassed(111.0)) == [CancelSegment("a", "timed_out")]
    assert machine.handle(SegmentEnded("a", "timed_out")) == [
        _report("a", "timed_out"),
        _close("failed", timed_out=1),
        FinishRun("root", "timed_out", "timed_out"),
        SettleTree("timed_out", late_failure=False),
    ]


def test_a_workflow_out_of_time_whose_children_are_all_queued_ends_at_once() -> None:
    machine = _begun(slots=1)
    _fan_out(machine, _planned("root", NewRun("a", "", 10.0), "b"))
    machine.handle(SegmentEnded("a", step="fan"))
    # The slot is b's meanwhile.
    assert machine.handle(_planned("a", "a.a", "a.b")) == []
    assert machine.handle(TimePassed(110.0)) == [
        FinishRun("a.a", "timed_out", "timed_out"),
        _report("a.a", "timed_out", "a"),
        FinishRun("a.b", "timed_out", "timed_out"),
        _report("a.b", "timed_out", "a"),
        _close("failed", "a", timed_out=2),
        FinishRun("a", "timed_out", "timed_out"),
        _report("a", "timed_out"),
    ]
    assert machine.handle(SegmentEnded("b", "succeeded"))[0] == _report("b", "succeeded")


def test_a_run_out_of_time_that_is_queued_for_its_next_segment_ends_without_it() -> None:
    machine = _begun(slots=1)
    _fan_out(machine, _planned("root", NewRun("a", "", 10.0), "b"))
    assert machine.handle(SegmentEnded("a", step="fan")) == [PlanFanOut("a", "fan"), *_started("b")]
    assert machine.handle(FanOutFailed("a", "fan")) == []
    assert machine.handle(TimePassed(110.0)) == [
        FinishRun("a", "timed_out", "timed_out"),
        _report("a", "timed_out"),
    ]


def test_a_fan_out_out_of_time_ends_its_children_and_its_step() -> None:
    machine = _begun(slots=1)
    _fan_out(machine, _planned("root", "a", "b", timeout_s=5.0))
    assert machine.next_deadline == 105.0
    assert machine.handle(TimePassed(106.0)) == [
        CancelSegment("a", "timed_out"),
        FinishRun("b", "timed_out", "timed_out"),
        _report("b", "timed_out"),
    ]
    assert machine.handle(SegmentEnded("a", "timed_out")) == [
        _report("a", "timed_out"),
        _close("timed_out", timed_out=2),
        StartSegment("root", 1, 1),
    ]


def test_a_fan_out_out_of_time_waits_for_what_is_being_planned_in_it() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a", "b", timeout_s=9.0))
    machine.handle(SegmentEnded("a", step="fan"))
    machine.handle(SegmentEnded("b", "succeeded"))
    assert machine.handle(TimePassed(110.0)) == [StopPlanning("a")]
    assert machine.handle(_planned("a", "a.a")) == [
        FinishRun("a.a", "timed_out", "timed_out"),
        _report("a.a", "timed_out", "a"),
        _close("failed", "a", timed_out=1),
        FinishRun("a", "timed_out", "timed_out"),
        _report("a", "timed_out"),
        _close("timed_out", succeeded=1, timed_out=1),
        StartSegment("root", 1, 1),
    ]


def test_the_time_of_a_fan_out_counts_also_if_nobody_waits_for_it() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a", wait=False, timeout_s=5.0))
    assert machine.handle(SegmentEnded("root", "succeeded")) == []
    assert machine.handle(TimePassed(105.0)) == [CancelSegment("a", "timed_out")]
    assert machine.handle(SegmentEnded("a", "timed_out")) == [
        _report("a", "timed_out"),
        SettleTree("succeeded", late_failure=True),
    ]


def test_the_time_of_a_fan_out_that_is_over_is_forgotten() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a", timeout_s=5.0))
    machine.handle(SegmentEnded("a", "succeeded"))
    assert machine.next_deadline is None
    assert machine.handle(TimePassed(200.0)) == []


def test_a_child_that_is_to_end_already_is_not_asked_again() -> None:
    machine = _begun(timeout_s=10.0)
    _fan_out(machine, _planned("root", "a", timeout_s=5.0))
    assert machine.handle(TimePassed(105.0)) == [CancelSegment("a", "timed_out")]
    assert machine.handle(TimePassed(110.0)) == []
    assert machine.handle(StopAsked()) == []


def test_what_happens_to_a_run_that_is_unknown_is_a_bug() -> None:
    machine = _begun()
    with pytest.raises(KeyError):
        machine.handle(WorkerLost("nobody"))


# --- taken up again ---


def _standing(run_id: str, **where: Any) -> NewRun:  # noqa: ANN401 - where it stands
    return evolve(NewRun(run_id, "", segment=1), **where)


def test_a_run_that_waits_for_a_slot_loses_none_of_the_time_that_was_left() -> None:
    machine = _begun(slots=1)
    waiting = [_standing(name, timeout_s=3.0) for name in ("a", "b")]
    assert _fan_out(machine, _planned("root", *waiting)) == [StartSegment("a", 1, 1)]
    assert machine.next_deadline == 103.0
    machine.handle(SegmentEnded("a", "succeeded"), 102.5)
    assert machine.next_deadline == 105.5


def test_a_run_that_waits_at_a_fan_out_goes_on_with_its_time_at_once() -> None:
    machine = Machine(1)
    stands = _standing("root", timeout_s=3.0, fan_out="fan")
    assert machine.handle(Began(stands, 100.0)) == [PlanFanOut("root", "fan")]
    assert machine.next_deadline == 103.0


def test_a_run_that_begins_again_waits_for_its_children_first() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a", wait=False))
    assert machine.handle(SegmentEnded("root", restarted=True)) == []
    told = machine.handle(SegmentEnded("a", "succeeded"))
    assert told == [_report("a", "succeeded"), StartSegment("root", 2, 1)]


def test_so_does_one_whose_worker_died_right_after_it_said_so() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a", wait=False))
    assert machine.handle(WorkerLost("root", restarting=True)) == []
    assert machine.next_deadline is None
    told = machine.handle(SegmentEnded("a", "succeeded"))
    assert told == [_report("a", "succeeded"), StartSegment("root", 2, 1)]


def test_workers_that_die_before_they_begin_again_are_counted() -> None:
    machine = _begun()
    assert machine.handle(SegmentEnded("root", restarted=True)) == [StartSegment("root", 1, 1)]
    for attempt in (2, 3):
        assert machine.handle(WorkerLost("root", restarting=True)) == []
        due = machine.next_deadline
        assert due is not None
        assert machine.handle(TimePassed(due)) == [StartSegment("root", 1, attempt)]
    assert machine.handle(WorkerLost("root", restarting=True))[0] == FinishRun(
        "root", "failed", "worker_died"
    )


def test_one_that_waits_for_them_can_be_ended() -> None:
    machine = _begun()
    _fan_out(machine, _planned("root", "a", wait=False))
    machine.handle(SegmentEnded("root", restarted=True))
    assert machine.handle(StopAsked()) == [CancelSegment("a", "cancelled")]
    told = machine.handle(SegmentEnded("a", "cancelled"))
    assert told[1:] == [
        FinishRun("root", "cancelled", "cancelled"),
        SettleTree("cancelled", late_failure=True),
    ]


def test_children_left_out_make_it_a_failure() -> None:
    machine = Machine(1)
    stands = _standing("root", finished="succeeded", late_failure=True)
    assert machine.handle(Began(stands, 100.0)) == [SettleTree("succeeded", late_failure=True)]


def test_a_segment_that_ended_says_what_time_it_is() -> None:
    machine = _begun(slots=1)
    _fan_out(machine, _planned("root", "a", NewRun("b", "", 3.0)))
    machine.handle(SegmentEnded("a", "succeeded"), 150.0)
    assert machine.next_deadline == 153.0


def test_nothing_starts_while_the_disk_is_too_full() -> None:
    machine = _begun()
    assert machine.handle(RoomChanged(enough=False)) == []
    planned = _planned("root", "a", "b")
    assert _fan_out(machine, planned) == []
    assert machine.wanted_soon == 2
    assert machine.handle(RoomChanged(enough=True)) == [StartSegment("a", 0, 1), StartSegment("b", 0, 1)]


def test_what_waits_for_room_ends_with_the_tree() -> None:
    machine = _begun()
    machine.handle(RoomChanged(enough=False))
    _fan_out(machine, _planned("root", "a"))
    ended = machine.handle(StopAsked())
    assert ended[0] == FinishRun("a", "cancelled", "cancelled")
    assert SettleTree("cancelled", late_failure=False) in ended
