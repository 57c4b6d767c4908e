"""Durations of runs and fan-outs, also over resumes and a clock that was moved meanwhile."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from tako.engine.root.results import fan_out_result
from tako.journal.fold import fold
from tako.journal.records import (
    WORKSPACE_CHANGED,
    ChildFinished,
    ChildPlanned,
    EventEmitted,
    FanOutPlanned,
    Record,
    RunFinished,
    RunResumed,
    StepFinished,
    StepStarted,
    Warned,
)
from tests.support.records import T0, event, run_id, run_started
from tests.support.segments import run, run_spec


def test_a_run_takes_what_it_takes_while_the_clock_is_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, moved = time.time, itertools.cycle((0.0, 7200.0, -7200.0))
    monkeypatch.setattr(time, "time", lambda: real() + next(moved))
    ran = run(run_spec(tmp_path, "true", "true"))
    assert ran.state.finished is not None
    assert 0 < ran.state.finished.duration_s < 60
    assert [step.finished.duration_s < 60 for step in ran.state.steps.values() if step.finished] == [True] * 2


@pytest.mark.parametrize("moved", [0.0, -7200.0, 7200.0])
def test_what_a_run_took_is_the_sum_over_its_lives(moved: float) -> None:
    later = T0 + 50 + moved
    state = fold(
        [
            run_started(),
            StepStarted(T0 + 1, "build", 1, "key"),
            StepFinished(T0 + 10, "build", 1, "interrupted"),
            RunFinished(T0 + 10, "interrupted"),
            RunResumed(later, T0 + 10, reset=("build",)),
            StepStarted(later + 1, "build", 2, "key"),
        ]
    )
    assert state.duration_s(later + 4) == 14.0
    assert state.active_s(state.since, later + 4) == 14.0


def test_the_time_until_a_shell_changed_the_workspace_counts_for_no_duration() -> None:
    change = Warned(T0 + 40, WORKSPACE_CHANGED, "changed")
    ended: list[Record] = [run_started(), RunFinished(T0 + 10, "failed"), change]
    seen = fold(ended)
    assert seen.last_at == T0 + 10
    resumed = fold([*ended, RunResumed(T0 + 50, seen.last_at)])
    assert resumed.duration_s(T0 + 54) == 14.0


@pytest.mark.parametrize("moved", [0.0, -7200.0, 7200.0])
def test_what_a_fan_out_took_is_the_sum_over_its_lives(moved: float) -> None:
    later = T0 + 50 + moved
    plan = ChildPlanned(T0 + 4, "fan", run_id(1), "acme/app", "main", "c1", "check", {})
    state = fold(
        [
            run_started(),
            EventEmitted(T0 + 3, "fan", event()),
            plan,
            FanOutPlanned(T0 + 4, "fan", 1, 1),
            ChildFinished(T0 + 10, "fan", run_id(1), "interrupted"),
            RunFinished(T0 + 10, "interrupted"),
            RunResumed(later, T0 + 10, reset=("fan",), children=(run_id(1),)),
            ChildFinished(later + 5, "fan", run_id(1), "succeeded"),
            StepFinished(later + 6, "fan", 1, "succeeded"),
        ]
    )
    assert fan_out_result(state, "fan").duration_s == 13.0
