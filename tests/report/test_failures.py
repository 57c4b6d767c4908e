from __future__ import annotations

import io
from pathlib import Path

import pytest

from tako.journal.records import (
    ChildFinished,
    ChildPlanned,
    EventEmitted,
    FanOutPlanned,
    Record,
    RunFinished,
    RunSettled,
    StepFinished,
)
from tako.layout.home import Home
from tako.layout.run import RunDirectory
from tako.report.failures import failure_lines, failures
from tako.report.reading import RunView, read_run
from tako.report.text import Style
from tako.report.tree_view import tree_lines
from tako.values import evolve
from tests.support.records import T0, event, run_id, run_started, write_journal
from tests.support.told_runs import WHY

STYLE = Style(io.StringIO())


@pytest.fixture(autouse=True)
def unicode_style(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use lines and signs whatever a StringIO says of its encoding."""
    monkeypatch.setattr(STYLE, "ascii", False)


def _view(home: Home, *records: Record, owned: bool = False) -> RunView:
    paths = home.run(run_id(0))
    write_journal(paths.journal, *records)
    return evolve(read_run(paths), owned=owned)


def test_failures_are_reported_where_they_happened(told: RunDirectory) -> None:
    found = list(failures(read_run(told)))
    assert [(error.repository, error.kind) for error in found] == [
        ("acme/app", "step_failed"),
        ("acme/broken", "config_invalid"),
        ("acme/late", "cancelled"),
    ]
    assert found[0] == WHY


def test_a_failing_step_of_the_root_is_a_failure_with_its_last_lines(home: Home) -> None:
    view = _view(
        home,
        run_started(steps=("one",)),
        StepFinished(
            T0 + 1, "one", 1, "failed", 1.0, exit_code=2, message="exit code 2", last_lines=("a", "b")
        ),
        RunFinished(T0 + 1, "failed", 1.0, "step one: exit code 2"),
        RunSettled(T0 + 1, "failed", 1),
    )
    [error] = failures(view)
    assert (error.repository, error.workflow, error.step, error.kind) == (
        "acme/lib",
        "release",
        "one",
        "step_failed",
    )
    assert (error.exit_code, error.last_lines, error.message) == (2, ("a", "b"), "exit code 2")
    assert list(failure_lines(error, STYLE)) == [
        "✗ acme/lib release, step one: exit code 2",
        "    a",
        "    b",
        f"    all of it: tako logs {run_id(0)} one",
    ]


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (RunFinished(T0, "failed", message="m", error_kind="worker_died"), "worker_died"),
        (RunFinished(T0, "timed_out", message="m"), "timed_out"),
        (RunFinished(T0, "cancelled", message="m"), "cancelled"),
    ],
)
def test_a_root_that_failed_without_a_failing_step_is_a_failure(
    home: Home, end: RunFinished, kind: str
) -> None:
    [error] = failures(_view(home, run_started(), end))
    assert (error.kind, error.message, error.step) == (kind, "m", "")


@pytest.mark.parametrize(
    "records",
    [(), (run_started(),), (run_started(), RunFinished(T0, "succeeded"))],
)
def test_successes_are_no_failures(home: Home, records: tuple[Record, ...]) -> None:
    assert list(failures(_view(home, *records))) == []


def test_of_a_child_that_failed_for_its_own_children_only_those_are_reported(home: Home) -> None:
    def planned(step: str, number: int, name: str) -> ChildPlanned:
        return ChildPlanned(T0, step, run_id(number), name, "main", "c", "check", {})

    upper = evolve(WHY, repository="acme/middle", run_id=run_id(1))
    view = _view(
        home,
        run_started(steps=("fan",)),
        EventEmitted(T0, "fan", event()),
        planned("fan", 1, "acme/middle"),
        FanOutPlanned(T0, "fan", 1, 1),
        ChildFinished(T0, "fan", run_id(1), "failed", error=upper),
        StepFinished(T0, "fan", 1, "failed", message="1 of 1", counts={"failed": 1}),
        RunFinished(T0, "failed"),
    )
    lower = evolve(WHY, repository="acme/leaf", run_id=run_id(2))
    write_journal(
        view.paths.child(run_id(1)).journal,
        run_started(1, parent_run_id=run_id(0)),
        EventEmitted(T0, "fan", event()),
        planned("fan", 2, "acme/leaf"),
        ChildFinished(T0, "fan", run_id(2), "failed", error=lower),
        RunFinished(T0, "failed"),
    )
    assert list(failures(view)) == [lower]


def test_a_fan_out_that_could_not_be_planned_is_a_failure_of_its_own(home: Home) -> None:
    view = _view(
        home,
        run_started(steps=("fan",)),
        EventEmitted(T0, "fan", event()),
        StepFinished(T0, "fan", 1, "failed", message="fan-outs are nested deeper than 10"),
        RunFinished(T0, "failed", message="step fan: ..."),
    )
    [error] = failures(view)
    assert (error.step, error.message) == ("fan", "fan-outs are nested deeper than 10")


def test_a_failure_is_spelled_out_without_what_controls_a_terminal() -> None:
    assert list(failure_lines(WHY, STYLE)) == [
        "✗ acme/app check, step test: exit code 3",
        "    collecting ...",
        "    FAILED redover",
        "    (2 attempts)",
        f"    all of it: tako logs {run_id(1)} test",
    ]


def test_a_cancelled_child_and_one_without_a_workflow_have_a_line() -> None:
    cancelled = evolve(
        WHY, kind="cancelled", step="", last_lines=(), attempts=0, workflow="", message="stopped"
    )
    assert list(failure_lines(cancelled, STYLE)) == ["⊘ acme/app: stopped"]


def test_a_child_whose_journal_is_damaged_does_not_hide_the_others(told: RunDirectory) -> None:
    journal: Path = told.child(run_id(1)).journal
    journal.write_bytes(journal.read_bytes().replace(b"acme", b"evil"))
    assert "\n".join(tree_lines(read_run(told), STYLE)).count("acme/") == 7
    assert len(list(failures(read_run(told)))) == 3
