from __future__ import annotations

import io
import json
import os

import pytest

from tako.journal.fold import fold
from tako.journal.log import read_records
from tako.journal.records import StepStarted
from tako.layout.home import Home
from tako.recovery.reaper import try_reap
from tako.report.failures import failures
from tako.report.interruption import interruption, interruption_lines
from tako.report.reading import read_run
from tako.report.result import write_result
from tako.report.text import Style
from tako.report.tree_view import tree_lines
from tests.support.dead_runs import began, run_id, write, write_killed_tree, write_one
from tests.support.records import T0
from tests.support.told_runs import held

STYLE = Style(io.StringIO())


def _told(home: Home, number: int = 0) -> list[str]:
    found = interruption(read_run(home.run(run_id(number))))
    return [] if found is None else list(interruption_lines(found, STYLE))


@pytest.mark.parametrize("reaped", [False, True])
def test_an_interrupted_tree_shows_running_and_finished_steps_and_the_command_that_continues_it(
    home: Home, *, reaped: bool
) -> None:
    root = write_killed_tree(home)
    # A record of the leaf is the last sign of life, unless a running step has said something since.
    root.child(run_id(3)).log("t").touch()
    # How long after the last record that was is told by both files, as the clock may have been moved before.
    journal = root.child(run_id(3)).journal
    last = fold(read_records(journal)).last_at
    for path, written in ((journal, 5000.0), (root.child(run_id(3)).log("t"), 5000.0 + T0 + 30 - last)):
        os.utime(path, (written, written))
    if reaped:
        try_reap(home, root)
    lines = _told(home)
    assert lines[0].endswith("interrupted 2023-11-14T22:13:50Z")
    running = [line.strip() for line in lines if "was running" in line]
    assert running == ["was running: acme/busy check, step t", "was running: acme/leaf check, step t"]
    assert any("done: 1 step, 2 children" in line for line in lines)
    assert any("not begun: 1 step, 1 child" in line for line in lines)
    assert any("tako reap" in line for line in lines) is not reaped
    assert lines[-1].strip() == f"to continue: tako exec --resume {run_id(0)}"


def test_a_child_of_it_names_the_root_to_go_on_with(home: Home) -> None:
    root = write_killed_tree(home)
    found = interruption(read_run(root.child(run_id(3))))
    assert found is not None
    assert found.way_on == f"to continue: tako exec --resume {root.run_id}"


def test_a_run_that_runs_or_has_ended_was_not_interrupted(home: Home) -> None:
    paths = write_one(home)
    with held(paths):
        assert _told(home) == []


def test_many_running_steps_are_not_all_shown(home: Home) -> None:
    paths = home.run(run_id(0))
    names = tuple(f"s{number}" for number in range(25))
    write(paths, began(steps=names), *(StepStarted(T0, name, 1, "k") for name in names))
    lines = _told(home)
    assert "    and 5 more" in lines
    assert "    done: nothing yet" in lines


@pytest.mark.parametrize("journal", [False, True])
def test_a_run_that_wrote_nothing_ended_before_it_began(home: Home, *, journal: bool) -> None:
    paths = home.run(run_id(0))
    write(paths)
    if not journal:
        paths.journal.unlink()
    first, reap, anew = _told(home)
    assert first.endswith("interrupted before it began: nothing of it ran")
    assert "tako reap" in reap
    assert anew == "    to start it anew: tako exec WORKFLOW"
    try_reap(home, paths)
    assert _told(home) == [first, anew]
    stream = io.StringIO()
    write_result(read_run(paths), stream)
    result = json.loads(stream.getvalue())
    assert (result["status"], result["interrupted_at"], result["started"]) == ("interrupted", None, None)


def test_interrupted_children_are_counted_and_are_no_failures(home: Home) -> None:
    root = write_killed_tree(home)
    try_reap(home, root)
    view = read_run(root)
    assert [error.run_id for error in failures(view)] == [run_id(2)]
    fan, _more = (line for line in tree_lines(view, STYLE) if "built:" in line)
    assert fan.endswith("1 succeeded, 1 failed, 2 interrupted, 1 open")


def test_json_holds_the_time_and_the_steps_of_the_interruption(home: Home) -> None:
    root = write_killed_tree(home)
    try_reap(home, root)
    stream = io.StringIO()
    write_result(read_run(root), stream)
    result = json.loads(stream.getvalue())
    assert result["interrupted_at"] == "2023-11-14T22:13:29Z"
    assert result["was_running"] == [
        {"repository": f"acme/{name}", "workflow": "check", "run_id": run_id(number), "step": "t"}
        for name, number in (("busy", 3), ("leaf", 6))
    ]
    assert (result["status"], result["exit_code"]) == ("interrupted", 4)
