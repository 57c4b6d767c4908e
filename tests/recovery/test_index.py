from __future__ import annotations

import os

from tako.layout import Home
from tako.recovery.index import (
    Kept,
    forget_kept,
    forget_unsettled,
    kept,
    note_opened,
    note_settled,
    unsettled,
    workspaces_of,
)
from tests.support.dead_runs import run_id, write_one


def test_a_run_is_looked_at_until_it_is_settled(home: Home) -> None:
    paths = write_one(home)
    note_opened(home, paths.run_id)
    note_opened(home, paths.run_id)
    assert list(unsettled(home)) == [paths]
    note_settled(home, paths, 1.0)
    assert list(unsettled(home)) == []
    assert list(kept(home)) == []


def test_a_settled_run_with_workspaces_is_remembered_with_their_size_on_disk(home: Home) -> None:
    paths = write_one(home)
    child = paths.child(run_id(1))
    for directory in (paths.work, child.work, child.view):
        directory.mkdir(parents=True)
    (child.work / "large").write_bytes(bytes(100_000))
    (child.work / "sparse").touch()
    os.truncate(child.work / "sparse", 1 << 40)
    assert set(workspaces_of(paths)) == {paths.work, child.work, child.view}
    note_settled(home, paths, 12.5)
    [found] = kept(home)
    assert (found.paths, found.ended_at) == (paths, 12.5)
    assert 100_000 < found.size < 1_000_000
    (child.work / "large").unlink()
    for directory in (paths.work, child.view):
        directory.rmdir()
    (child.work / "sparse").unlink()
    child.work.rmdir()
    note_settled(home, paths, 13.0)
    assert list(kept(home)) == []


def test_an_entry_whose_run_was_never_made_is_forgotten_when_it_is_no_longer_young(home: Home) -> None:
    note_opened(home, run_id(0))
    assert list(unsettled(home)) == []
    assert (home.unsettled / run_id(0)).exists()
    os.utime(home.unsettled / run_id(0), (0, 0))
    assert list(unsettled(home)) == []
    assert not (home.unsettled / run_id(0)).exists()


def test_nothing_is_read_out_of_names_and_texts_that_are_no_entries(home: Home) -> None:
    note_opened(home, run_id(0))
    (home.unsettled / "README").touch()
    home.kept.mkdir()
    for name, text in ((run_id(1), ""), (run_id(2), "x y"), (run_id(3), "1 2 3"), ("README", "1.0 2")):
        (home.kept / name).write_text(text)
    (home.kept / run_id(4)).write_text("1.5 2\n")
    assert list(unsettled(home)) == []
    assert list(kept(home)) == [Kept(home.run(run_id(4)), 1.5, 2)]


def test_forgetting_twice_is_nothing(home: Home) -> None:
    forget_unsettled(home, run_id(0))
    forget_kept(home, run_id(0))
    assert list(kept(home)) == []
    assert list(unsettled(home)) == []
