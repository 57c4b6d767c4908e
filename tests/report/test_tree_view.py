from __future__ import annotations

import io

import pytest

from tako.journal.records import (
    ChildPlanned,
    EventEmitted,
    Record,
    StepFinished,
    StepStarted,
)
from tako.layout.home import Home
from tako.layout.run import RunDirectory
from tako.report.reading import RunView, read_run
from tako.report.text import Style
from tako.report.tree_view import tree_lines
from tako.values import evolve
from tests.support.records import T0, event, run_id, run_started, write_journal
from tests.support.told_runs import held

STYLE = Style(io.StringIO())


@pytest.fixture(autouse=True)
def unicode_style(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use lines and signs whatever a StringIO says of its encoding."""
    monkeypatch.setattr(STYLE, "ascii", False)


def _tree(paths: RunDirectory) -> str:
    return "\n".join(tree_lines(read_run(paths), STYLE))


def _view(home: Home, *records: Record, owned: bool = False) -> RunView:
    paths = home.run(run_id(0))
    write_journal(paths.journal, *records)
    return evolve(read_run(paths), owned=owned)


def test_the_whole_tree_of_a_run(told: RunDirectory) -> None:
    ids = [run_id(number) for number in range(6)]
    counted = "3 of 4 children did not succeed  built: 1 succeeded, 2 failed, 1 cancelled, 1 filtered"
    assert _tree(told) == "\n".join([
        f"✗ acme/lib  release  {ids[0]}  failed  1m06s",
        "├─ ✓ build  340ms",
        "├─ - notes  if: inputs.notes",
        "├─ ✗ lint  1.2s  exit code 1  (tolerated)",
        f"├─ ✗ dependents  1m04s  {counted}",
        f"│  ├─ ✗ acme/app  check  {ids[1]}  1m01s  step test: exit code 3",
        f"│  ├─ ✓ acme/tool  check  {ids[2]}  2.0s",
        "│  │  └─ ✓ more  1.0s  built: 1 succeeded",
        f"│  │     └─ ✓ acme/leaf  check  {ids[5]}  500ms",
        f"│  ├─ ✗ acme/broken  check  {ids[3]}  tako.yml:1:1: bad",
        f"│  ├─ ⊘ acme/late  check  {ids[4]}  it had not started yet",
        "│  └─ - acme/old  check  schema version 1.0.0 is outside [2.0.0...)",
        "├─ · after",
        "└─ ! a warning redover",
    ])  # fmt: skip


def test_a_child_is_a_tree_of_its_own(told: RunDirectory) -> None:
    assert _tree(told.child(run_id(1))).splitlines() == [
        f"✗ acme/app  check  {run_id(1)}  failed  1m01s",
        "└─ ✗ test  1m00s  exit code 3",
    ]


def test_without_unicode_the_tree_is_drawn_in_ascii(
    told: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(STYLE, "ascii", True)
    lines = [line for line in _tree(told).splitlines() if "2.3" not in line]
    assert lines[0].startswith("x acme/lib")
    assert lines[-1] == "`- ! a warning redover"
    assert all(line.isascii() for line in lines)


def test_a_run_that_goes_on_shows_where_it_is(home: Home) -> None:
    records: tuple[Record, ...] = (
        run_started(steps=("one", "two")),
        StepFinished(T0 + 1, "one", 1, "succeeded", 1.0),
        StepStarted(T0 + 1, "two", 1, "k"),
    )
    paths = home.run(run_id(0))
    with held(paths):
        write_journal(paths.journal, *records)
        assert _tree(paths).splitlines() == [
            f"▶ acme/lib  release  {run_id(0)}  running",
            "├─ ✓ one  1.0s",
            "└─ ▶ two",
        ]
    assert _tree(paths).splitlines() == [
        f"⚡ acme/lib  release  {run_id(0)}  interrupted",
        "├─ ✓ one  1.0s",
        "└─ ⚡ two",
    ]


def test_a_run_of_which_nothing_is_known_has_a_line(home: Home) -> None:
    view = _view(home)
    assert list(tree_lines(view, STYLE)) == [f"⚡ {run_id(0)}  interrupted"]


def test_children_that_are_open_are_counted_and_shown(home: Home) -> None:
    plans = [
        ChildPlanned(T0, "fan", run_id(number), f"acme/r{number}", "main", "c", "check", {})
        for number in (1, 2)
    ]
    view = _view(home, run_started(steps=("fan",)), EventEmitted(T0, "fan", event()), *plans, owned=True)
    write_journal(view.paths.child(run_id(1)).journal, run_started(1))
    assert list(tree_lines(view, STYLE))[1:] == [
        "└─ ▶ fan  built: 2 open",
        f"   ├─ ▶ acme/r1  check  {run_id(1)}",
        f"   └─ · acme/r2  check  {run_id(2)}",
    ]


def test_the_tree_shows_an_event_that_reached_nobody(home: Home) -> None:
    view = _view(
        home,
        run_started(steps=("fan",)),
        EventEmitted(T0, "fan", event()),
        StepFinished(T0, "fan", 1, "succeeded"),
    )
    assert list(tree_lines(view, STYLE))[1] == "└─ ✓ fan  0ms  built: no subscribers"
