from __future__ import annotations

import os
import shutil
import time

import pytest

from tako.layout.home import Home
from tako.recovery.index import (
    Kept,
    forget_kept,
    forget_unsettled,
    is_postponed,
    kept,
    measure,
    note_opened,
    note_settled,
    postpone,
    unsettled,
    without_emptied,
    workspaces_of,
)
from tests.support.dead_runs import run_id, write_one
from tests.support.told_runs import held


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
    assert list(kept(home)) == [Kept(paths, 12.5)]
    measure(home, [paths.run_id])
    [found] = kept(home)
    assert (found.paths, found.ended_at) == (paths, 12.5)
    assert 100_000 < found.size < 1_000_000
    (child.work / "more").write_bytes(bytes(100_000))
    measure(home, [paths.run_id])
    assert list(kept(home)) == [found]
    for file in ("large", "more"):
        (child.work / file).unlink()
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


def test_an_entry_that_is_replaced_while_it_is_measured_stays_as_it_was_made(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_one(home)
    paths.work.mkdir()
    note_settled(home, paths, 1.0)

    def settled_again(_: object) -> int:
        note_settled(home, paths, 2.0)
        return 5

    monkeypatch.setattr("tako.system.accounting.usage.disk_use", settled_again)
    measure(home, [paths.run_id, run_id(1)])
    assert list(kept(home)) == [Kept(paths, 2.0)]
    monkeypatch.setattr("tako.system.accounting.usage.disk_use", lambda _: 0)
    measure(home, [paths.run_id])
    assert list(kept(home)) == [Kept(paths, 2.0, 1)]


def test_runs_and_workspaces_that_somebody_has_removed_are_forgotten(home: Home) -> None:
    gone, emptied, whole = (write_one(home, number) for number in range(3))
    for paths in (gone, emptied, whole):
        paths.work.mkdir()
        note_settled(home, paths, 1.0)
    shutil.rmtree(gone.path)
    emptied.work.rmdir()
    found = list(kept(home))
    assert {run.paths for run in found} == {emptied, whole}
    assert without_emptied(home, found) == [Kept(whole, 1.0)]
    assert os.listdir(home.kept) == [whole.run_id]


def test_what_is_left_of_a_run_whose_tako_was_killed_while_it_was_made_is_removed(home: Home) -> None:
    making = home.making(run_id(0))
    note_opened(home, run_id(0))
    os.utime(home.unsettled / run_id(0), (0, 0))
    with held(making):
        assert list(unsettled(home)) == []
    assert making.path.exists()
    assert list(unsettled(home)) == []
    assert os.listdir(home.workspaces) == os.listdir(home.unsettled) == []


def test_what_was_postponed_is_looked_at_again_after_a_while_or_when_it_is_taken_up(home: Home) -> None:
    name = run_id(0)
    postpone(home, name)
    assert not is_postponed(home, name)
    note_opened(home, name)
    assert not is_postponed(home, name)
    for again in (0, time.time() + 1e6):
        postpone(home, name)
        assert is_postponed(home, name)
        os.utime(home.unsettled / name, (again, again))
        assert not is_postponed(home, name)
    postpone(home, name)
    note_opened(home, name)
    assert not is_postponed(home, name)


def test_nothing_is_read_out_of_names_and_texts_that_are_no_entries(home: Home) -> None:
    note_opened(home, run_id(0))
    (home.unsettled / "README").touch()
    home.kept.mkdir()
    for name, text in ((run_id(1), ""), (run_id(2), "x y"), (run_id(3), "1 2 3"), ("README", "1.0 2")):
        (home.kept / name).write_text(text)
    (home.kept / run_id(4)).write_text("1.5 2\n")
    home.run(run_id(4)).path.mkdir()
    assert list(unsettled(home)) == []
    assert list(kept(home)) == [Kept(home.run(run_id(4)), 1.5, 2)]


def test_forgetting_twice_is_nothing(home: Home) -> None:
    forget_unsettled(home, run_id(0))
    forget_kept(home, run_id(0))
    assert list(kept(home)) == []
    assert list(unsettled(home)) == []
