from __future__ import annotations

import os
from pathlib import Path

import pytest

from tako.errors import NotFoundError
from tako.journal.log import JournalDamagedError
from tako.journal.records import Noted, RunFinished, RunSettled
from tako.layout.home import Home
from tako.layout.run import RunDirectory
from tako.report.reading import find_run, moment, read_run, root_runs, summary_of, way_on
from tako.values import evolve
from tests.support.records import T0, run_id, run_started, write_journal
from tests.support.told_runs import held


def test_a_run_is_read_with_its_state(told: RunDirectory) -> None:
    view = read_run(told)
    assert (view.status, view.owned, view.paths) == ("failed", False, told)
    assert view.state.settled == RunSettled(T0 + 66, "failed", 1)


def test_a_child_is_found_below_its_parent_and_one_that_never_started_is_none(told: RunDirectory) -> None:
    view = read_run(told)
    child = view.child(run_id(2))
    assert child is not None
    assert (child.status, child.paths) == ("succeeded", told.child(run_id(2)))
    assert view.child(run_id(4)) is None


def test_a_run_without_end_runs_while_its_root_lives_and_is_interrupted_after(home: Home) -> None:
    root = home.run(run_id(0))
    child = root.child(run_id(1))
    with held(root):
        write_journal(root.journal, run_started())
        write_journal(child.journal, run_started(1))
        assert (read_run(root).status, read_run(child).status) == ("running", "running")
    assert (read_run(root).status, read_run(child).status) == ("interrupted", "interrupted")


def test_a_run_with_an_end_is_what_that_says_whoever_lives(home: Home) -> None:
    root = home.run(run_id(0))
    ended = RunFinished(T0, "failed")
    write_journal(root.journal, run_started(), ended)
    assert read_run(root).status == "interrupted"
    write_journal(root.journal, RunSettled(T0, "failed", 1))
    assert read_run(root).status == "failed"


def test_without_a_directory_there_is_no_run(home: Home) -> None:
    with pytest.raises(NotFoundError, match="no journal"):
        read_run(home.run(run_id(0)))


def test_a_run_without_a_journal_has_not_begun(home: Home) -> None:
    paths = home.run(run_id(0))
    with held(paths):
        assert (read_run(paths).status, read_run(paths).has_begun) == ("running", False)
    assert (read_run(paths).status, read_run(paths).has_begun) == ("interrupted", False)


def test_who_goes_on_takes_up_the_root_and_starts_anew_what_never_began(
    home: Home, told: RunDirectory
) -> None:
    leaf = told.child(run_id(2)).child(run_id(5))
    assert way_on(read_run(leaf)) == f"to continue: tako exec --resume {told.run_id}"
    never = home.run("exec-20231114-221321-000000aa")
    never.path.mkdir()
    assert way_on(read_run(never)) == "to start it anew: tako exec WORKFLOW"
    unborn = told.child("exec-20231114-221321-000000ab")
    unborn.path.mkdir()
    assert way_on(read_run(unborn)) == f"to continue: tako exec --resume {told.run_id}"


def test_the_root_of_any_run_is_found_from_its_place(told: RunDirectory) -> None:
    assert told.root == told
    assert told.child(run_id(2)).child(run_id(5)).root == told


# --- lists ---


def _run(home: Home, number: int, second: int = 0, *, mtime: float | None = None) -> RunDirectory:
    paths = home.run(f"exec-20231114-2213{second:02d}-{number:08x}")
    write_journal(paths.journal, run_started(number))
    if mtime is not None:
        paths.lock.touch()
        os.utime(paths.lock, (mtime, mtime))
    return paths


def test_runs_are_listed_newest_first(home: Home) -> None:
    runs = [_run(home, 9, 1), _run(home, 1, 2), _run(home, 5, 3)]
    assert root_runs(home) == runs[::-1]


def test_runs_of_one_second_are_listed_as_they_began(home: Home) -> None:
    runs = [_run(home, 9, mtime=T0), _run(home, 1, mtime=T0 + 0.1), _run(home, 5, mtime=T0 + 0.2)]
    assert root_runs(home) == runs[::-1]


def test_other_directories_are_not_listed_as_runs(home: Home) -> None:
    paths = _run(home, 1)
    (home.workspaces / "notes.txt").touch()
    (home.workspaces / ".tmp-exec-20231114-221320-00000001").mkdir()
    assert root_runs(home) == [paths]


def test_without_a_home_there_are_no_runs(tmp_path: Path) -> None:
    nowhere = Home(tmp_path / "nowhere")
    assert root_runs(nowhere) == []
    with pytest.raises(NotFoundError, match=r"there are no runs in .*nowhere"):
        find_run(nowhere, "")


def test_an_empty_name_means_the_newest_run(home: Home) -> None:
    _run(home, 1, 1)
    newest = _run(home, 2, 2)
    assert find_run(home, "") == newest


@pytest.mark.parametrize("text", [run_id(5), "00000005", "0005"])
def test_a_run_is_found_by_its_id_or_the_end_of_it_however_deep(
    home: Home, told: RunDirectory, text: str
) -> None:
    assert find_run(home, text) == told.child(run_id(2)).child(run_id(5))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("005", "no run '005'"),
        ("0000", "more than one run"),
        ("../etc", "no run"),
        ("deadbeef", "no run 'deadbeef'"),
    ],
)
def test_a_name_of_no_run_or_of_several_is_an_error(
    home: Home, told: RunDirectory, text: str, said: str
) -> None:
    if text == "0000":
        _run(home, 0x10000, 1)
    with pytest.raises(NotFoundError, match=f"there is {said}" if "'" in said else said) as refusal:
        find_run(home, text)
    assert refusal.value.hint == "`tako runs` lists them"


def test_a_settled_run_is_summed_up_from_its_ends(told: RunDirectory) -> None:
    # What is between the ends is not even looked at.
    lines = told.journal.read_bytes().splitlines(keepends=True)
    told.journal.write_bytes(b"".join([lines[0], b"rubbish\n", lines[-1]]))
    assert summary_of(told) == {
        "run_id": run_id(0),
        "status": "failed",
        "exit_code": 1,
        "repository": "acme/lib",
        "workflow": "release",
        "started": "2023-11-14T22:13:20Z",
        "last": "2023-11-14T22:14:26Z",
        "problem": "",
    }


def test_a_run_that_has_not_settled_is_summed_up_by_who_holds_it(home: Home) -> None:
    paths = home.run(run_id(0))
    with held(paths):
        write_journal(paths.journal, run_started(), RunFinished(T0, "succeeded"), Noted(T0 + 60, "late"))
        assert summary_of(paths)["status"] == "running"
    summary = summary_of(paths)
    assert (summary["status"], summary["exit_code"], summary["last"]) == (
        "interrupted",
        None,
        "2023-11-14T22:14:20Z",
    )


def test_a_run_that_never_began_is_summed_up_too(home: Home) -> None:
    home.run(run_id(0)).path.mkdir()
    summary = summary_of(home.run(run_id(0)))
    assert (summary["status"], summary["repository"], summary["started"], summary["last"]) == (
        "interrupted",
        None,
        None,
        None,
    )


def test_a_damaged_journal_does_not_keep_the_others_from_being_listed(home: Home) -> None:
    paths = _run(home, 1)
    paths.journal.write_bytes(paths.journal.read_bytes().replace(b"acme", b"evil"))
    summary = summary_of(paths)
    assert "checksum is wrong" in summary["problem"]
    assert (summary["status"], summary["repository"]) == ("interrupted", None)
    with pytest.raises(JournalDamagedError):
        read_run(paths)


def test_a_moment_is_reported_in_utc() -> None:
    assert moment(0.9) == "1970-01-01T00:00:00Z"


def test_a_moment_beyond_the_calendar_is_its_end() -> None:
    """As the time of a file may be."""
    assert (moment(1e300), moment(-1e300)) == ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z")


def test_a_view_is_a_value(told: RunDirectory) -> None:
    view = read_run(told)
    assert evolve(view, owned=True).owned
    assert not view.owned
