"""Deadlines: the earliest counts, each passes once, and a rest is none of them."""

from __future__ import annotations

from tako.engine.scheduler.deadlines import Deadlines
from tako.engine.scheduler.state import Run
from tako.engine.scheduler.stimuli import NewRun


def _run(name: str, deadline: float | None) -> Run:
    return Run(NewRun(name, name), None, deadline=deadline)


def test_nothing_is_due_where_nothing_has_a_deadline() -> None:
    deadlines = Deadlines()
    deadlines.watch("a", _run("a", None))
    assert deadlines.next is None
    assert deadlines.passed(9.0) == []


def test_the_earliest_of_timeouts_and_rests_is_next() -> None:
    deadlines = Deadlines()
    deadlines.watch("late", _run("late", 7.0))
    assert deadlines.next == 7.0
    deadlines.rest("resting", 3.0)
    assert deadlines.next == 3.0
    deadlines.end_rest("resting")
    assert deadlines.next == 7.0


def test_a_deadline_passes_once() -> None:
    deadlines, run = Deadlines(), _run("a", 2.0)
    deadlines.watch("a", run)
    assert deadlines.passed(1.9) == []
    assert deadlines.passed(2.0) == [run]
    assert deadlines.passed(2.0) == []
    deadlines.drop("a")
    deadlines.drop("a")


def test_a_rest_ends_once() -> None:
    deadlines = Deadlines()
    deadlines.rest("a", 1.0)
    assert deadlines.rested(0.9) == []
    assert deadlines.rested(1.0) == ["a"]
    assert deadlines.rested(1.0) == []
