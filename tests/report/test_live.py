from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest

from tako.engine.fan_out.plan import FanOutPlan, PlannedChild
from tako.engine.root.observer import Observer
from tako.engine.run.run_directory import make_directory
from tako.engine.run.spec import RunSpec
from tako.journal.log import Writer
from tako.journal.records import (
    ChildPlanned,
    EventEmitted,
    Record,
    RunFinished,
    SegmentStarted,
    StepFinished,
    StepStarted,
)
from tako.report.live import LiveText, _Follower
from tako.repositories.caveats import STALE, Caveat
from tako.values import evolve
from tests.support.records import IDENTITY, T0, event, run_id, run_started
from tests.support.segments import run_spec
from tests.support.told_runs import HOSTILE, WHY

BUILD = (run_started(1), StepStarted(T0, "build", 1, "k"))


class _Screen(io.StringIO):
    """A stream of which one sees what is new."""

    encoding = "utf-8"

    def new(self) -> list[str]:
        lines = self.getvalue().splitlines()
        self.seek(0)
        self.truncate()
        return lines


@pytest.fixture
def screen() -> _Screen:
    """Give what the view writes to."""
    return _Screen()


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    """Give a run with its directory."""
    made = run_spec(tmp_path)
    make_directory(made.paths)
    return made


@pytest.fixture
def live(screen: _Screen, spec: RunSpec) -> LiveText:
    """Give a view that follows the run."""
    view = LiveText(screen)
    view.segment_started(spec)
    return view


def _tell(spec: RunSpec, *records: Record) -> None:
    with Writer(spec.paths.journal) as journal:
        for record in records:
            journal.append(record)


def _print(spec: RunSpec, data: str | bytes, step: str = "build") -> None:
    with spec.paths.log(step).open("ab") as file:
        file.write(data.encode() if isinstance(data, str) else data)


def test_every_line_has_its_repository_and_step_in_front(
    live: LiveText, spec: RunSpec, screen: _Screen
) -> None:
    live.turn()
    assert screen.new() == []
    _tell(spec, *BUILD)
    _print(spec, "one\ntwo\n")
    live.turn()
    assert screen.new() == [
        "[acme/app build] ▶ started",
        "[acme/app build] one",
        "[acme/app build] two",
    ]
    live.turn()
    assert screen.new() == []


def test_the_end_of_a_step_comes_after_all_its_output(live: LiveText, spec: RunSpec, screen: _Screen) -> None:
    _tell(
        spec,
        *BUILD,
        StepFinished(T0, "build", 1, "failed", 1.5, message="exit code 3"),
        RunFinished(T0, "failed", message="step build: exit code 3"),
    )
    _print(spec, "last words")
    live.segment_ended(spec)
    assert screen.new() == [
        "[acme/app build] ▶ started",
        "[acme/app build] last words",
        "[acme/app build] ✗ failed: exit code 3 (1.5s)",
        "[acme/app] ✗ step build: exit code 3",
    ]


def test_a_line_is_shown_when_it_is_whole(live: LiveText, spec: RunSpec, screen: _Screen) -> None:
    _tell(spec, *BUILD)
    _print(spec, "begin")
    live.turn()
    assert screen.new() == ["[acme/app build] ▶ started"]
    _print(spec, " and end\nnext")
    live.turn()
    assert screen.new() == ["[acme/app build] begin and end"]
    live.segment_ended(spec)
    assert screen.new() == ["[acme/app build] next"]


def test_empty_lines_are_shown(live: LiveText, spec: RunSpec, screen: _Screen) -> None:
    _tell(spec, *BUILD)
    _print(spec, "\n\na\n")
    live.turn()
    assert screen.new()[1:] == ["[acme/app build] ", "[acme/app build] ", "[acme/app build] a"]


def test_nothing_printed_takes_over_the_terminal(live: LiveText, spec: RunSpec, screen: _Screen) -> None:
    _tell(spec, *BUILD)
    _print(spec, HOSTILE + "\n")
    _print(spec, b"caf\xe9\n")
    live.turn()
    assert screen.new()[1:] == ["[acme/app build] redover", "[acme/app build] caf\ufffd"]


def test_a_view_far_behind_skips_output_and_prints_the_amount(
    live: LiveText, spec: RunSpec, screen: _Screen
) -> None:
    _tell(spec, *BUILD)
    _print(spec, "partial")
    live.turn()
    screen.new()
    _print(spec, "x" * 99 + "\n" + ("y" * 99 + "\n") * 30_000 + "end\n")
    live.turn()
    shown = screen.new()
    assert shown[0] == f"[acme/app build] … 2.8 MiB not shown here: tako logs {run_id(1)} build"
    assert shown[-1] == "[acme/app build] end"
    assert len(shown) < 1000


def test_a_very_long_line_is_cut(live: LiveText, spec: RunSpec, screen: _Screen) -> None:
    _tell(spec, *BUILD)
    _print(spec, "x" * 100_000 + "\nnext\n")
    live.turn()
    assert [len(line) for line in screen.new()[1:]] == [17 + 4096, 17 + 4]


def test_a_log_that_is_not_there_yet_is_no_output(live: LiveText, spec: RunSpec, screen: _Screen) -> None:
    _tell(spec, *BUILD)
    live.turn()
    assert screen.new() == ["[acme/app build] ▶ started"]


def test_a_run_that_waited_is_followed_from_where_it_was(
    live: LiveText, spec: RunSpec, screen: _Screen
) -> None:
    _tell(spec, *BUILD, StepFinished(T0, "build", 1, "succeeded"), EventEmitted(T0, "fan", event()))
    live.segment_ended(spec)
    assert screen.new() == ["[acme/app build] ▶ started", "[acme/app build] ✓ succeeded (0ms)"]
    live.turn()
    live.segment_started(spec)
    _tell(
        spec,
        StepFinished(T0, "fan", 1, "succeeded"),
        SegmentStarted(T0, 1, 1, IDENTITY, "/tmp/u"),
        StepStarted(T0, "after", 1, "k"),
    )
    live.turn()
    assert screen.new() == ["[acme/app after] ▶ started"]


def test_a_success_of_the_run_needs_no_line(live: LiveText, spec: RunSpec, screen: _Screen) -> None:
    _tell(spec, run_started(1), RunFinished(T0, "succeeded"))
    live.segment_ended(spec)
    assert screen.new() == []


def test_a_segment_that_is_not_followed_may_end(live: LiveText, spec: RunSpec, screen: _Screen) -> None:
    live.segment_ended(evolve(spec, run_id=run_id(9)))
    assert screen.new() == []


def test_a_plan_prints_the_subscribers_of_the_event(live: LiveText, spec: RunSpec, screen: _Screen) -> None:
    record = ChildPlanned(T0, "fan", run_id(2), "acme/dep", "main", "c", "check", {})
    broken = PlannedChild(record, error=evolve(WHY, message=f"bad {HOSTILE}"))
    live.warned(spec, "fan", Caveat(STALE, "acme/dep", f"acme/dep is {HOSTILE}"))
    live.planned(spec, "fan", FanOutPlan(5, (PlannedChild(record), broken), ()))
    assert screen.new() == [
        "[acme/app fan] ! acme/dep is redover",
        "[acme/app fan] → 1 of 5 subscriptions run",
        "[acme/app fan] ✗ acme/dep: bad redover",
    ]


def test_a_lost_worker_and_the_wish_to_stop_are_reported(
    live: LiveText, spec: RunSpec, screen: _Screen
) -> None:
    live.worker_lost(spec, "it was killed")
    live.stopping("SIGINT")
    assert screen.new() == [
        "[acme/app] ! its worker died: it was killed",
        "tako: SIGINT: ending all steps; once more ends them at once",
    ]


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        OSError(errno.ENOSPC, "No space left"),
        ValueError("closed"),
    ],
)
def test_a_stream_that_takes_nothing_does_not_hurt_the_run(spec: RunSpec, error: Exception) -> None:
    class Gone(_Screen):
        asked = 0

        def write(self, _text: str) -> int:
            self.asked += 1
            raise error

    screen = Gone()
    live: Observer = LiveText(screen)
    live.stopping("SIGINT")
    live.stopping("SIGINT")
    assert screen.asked == 1


def test_a_damaged_journal_does_not_hurt_the_view(live: LiveText, spec: RunSpec, screen: _Screen) -> None:
    _tell(spec, *BUILD)
    spec.paths.journal.write_bytes(spec.paths.journal.read_bytes().replace(b"acme", b"evil"))
    live.turn()
    live.segment_ended(spec)
    assert screen.new() == []


def test_a_log_that_vanished_meanwhile_is_no_output(spec: RunSpec) -> None:
    follower = _Follower(spec)
    follower._offsets["build"] = 0
    assert follower._read("build") == b""
