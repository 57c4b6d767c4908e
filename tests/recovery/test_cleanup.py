from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tako.config.schema import KeptWorkspaces, Settings
from tako.journal.log import read_records
from tako.layout.home import Home
from tako.layout.run import RunDirectory
from tako.recovery import cleanup, trash
from tako.recovery.cleanup import clean
from tako.recovery.index import kept, workspaces_of
from tako.recovery.reaper import reap, try_reap
from tests.support.dead_runs import HERE, bytes_below, run_id, write, write_killed_tree, write_one
from tests.support.records import IDENTITY, T0
from tests.support.told_runs import held
from tests.support.users import as_ordinary_user

NOTHING = Settings(keep_workspaces=KeptWorkspaces(runs=0), keep_runs_s=1e12)
FOREVER = Settings(keep_workspaces=KeptWorkspaces(age_s=1e12), keep_runs_s=1e12)


def _ended(home: Home, number: int = 0, *, at: float = T0, settle: bool = True) -> RunDirectory:
    """Write a run that has ended and left workspaces, its own and a child's."""
    paths = write_one(home, number, at=at)
    for run in (paths, paths.child(run_id(100 + number))):
        (run.work / "repo").mkdir(parents=True)
        (run.work / "repo" / "file").write_bytes(bytes(50_000))
        (run.view / "upper").mkdir(parents=True)
    if settle:
        assert try_reap(home, paths).outcome == "reaped"
    return paths


def test_what_is_not_kept_goes_and_journals_and_logs_stay(home: Home) -> None:
    old, new = _ended(home, 0), _ended(home, 1, at=T0 + 10)
    before = {paths: paths.journal.read_bytes() for paths in (old, new)}
    settings = Settings(keep_workspaces=KeptWorkspaces(runs=1, age_s=1e12), keep_runs_s=1e12)
    done = clean(home, settings)
    [removed] = done.workspaces
    assert (removed.run_id, removed.reason, removed.error) == (old.run_id, "more than 1 runs", "")
    assert 100_000 < removed.size < 200_000
    assert not old.work.exists()
    assert not old.view.exists()
    assert not old.child(run_id(100)).work.exists()
    assert new.work.exists()
    assert os.listdir(home.trash) == []
    assert {paths: paths.journal.read_bytes() for paths in (old, new)} == before
    assert [run.paths for run in kept(home)] == [new]
    assert clean(home, settings) == cleanup.Cleaned((), ())


def test_all_means_all_that_do_not_run(home: Home) -> None:
    ended, running = _ended(home, 0), _ended(home, 1, settle=False)
    locked = _ended(home, 2)
    with held(running), held(locked):
        done = clean(home, FOREVER, everything=True)
    assert {removed.run_id: bool(removed.error) for removed in done.workspaces} == {
        ended.run_id: False,
        locked.run_id: True,
    }
    assert not ended.work.exists()
    assert running.work.exists()
    assert locked.work.exists()


def test_a_dry_run_tells_and_changes_nothing(home: Home) -> None:
    ended, dead = _ended(home, 0), _ended(home, 1, settle=False)
    old = _ended(home, 2)
    home.trash.mkdir()
    (home.trash / "rest").touch()
    before = bytes_below(home.path)
    settings = Settings(keep_workspaces=KeptWorkspaces(runs=0), keep_runs_s=0)
    told = clean(home, settings, dry_run=True, reaped=[try_reap(home, dead, dry_run=True)])
    assert bytes_below(home.path) == before
    assert {removed.run_id for removed in told.workspaces} == {ended.run_id, dead.run_id, old.run_id}
    assert {removed.run_id for removed in told.expired} == {ended.run_id, old.run_id}


def test_a_run_that_ended_long_ago_goes_as_a_whole(home: Home) -> None:
    old, unsettled = _ended(home, 0), _ended(home, 1, settle=False)
    recent = _ended(home, 2, at=4_000_000_000.0)
    done = clean(home, Settings(keep_workspaces=KeptWorkspaces(age_s=1e12), keep_runs_s=3600))
    [removed] = done.expired
    assert (removed.run_id, removed.error) == (old.run_id, "")
    assert removed.size > 100_000
    assert not old.path.exists()
    assert unsettled.path.exists()
    assert recent.path.exists()
    assert old.run_id not in [run.paths.run_id for run in kept(home)]


def test_a_run_that_was_taken_up_again_meanwhile_is_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = _ended(home)
    [run] = cleanup.all_kept(home)
    journal = paths.journal.read_bytes().splitlines(keepends=True)
    paths.journal.write_bytes(b"".join(journal[:-1]))
    [removed] = cleanup.remove_workspaces(home, [(run, "x")])
    assert removed.error == "it is not settled"
    assert paths.work.exists()


def test_a_run_that_is_gone_is_forgotten(home: Home) -> None:
    paths = _ended(home)
    [run] = kept(home)
    subprocess.run(["rm", "-r", str(paths.path)], check=True)
    [removed] = cleanup.remove_workspaces(home, [(run, "x")])
    assert removed.error
    assert list(kept(home)) == []


def test_a_damaged_journal_keeps_its_workspace(home: Home) -> None:
    paths = _ended(home, settle=False)
    paths.journal.write_bytes(b"nonsense\n")
    assert clean(home, NOTHING, everything=True).workspaces == ()
    assert clean(home, NOTHING, everything=True, dry_run=True).workspaces == ()
    assert paths.work.exists()


def _told_and_done(home: Home, settings: Settings = FOREVER) -> list[set[tuple[str, int]]]:
    """Give what a dry run of reaping and cleaning up tells of workspaces, then what was done."""
    found = []
    for dry_run in (True, False):
        reaped = list(reap(home, map(home.run, home.run_ids()), dry_run=dry_run))
        done = clean(home, settings, everything=True, dry_run=dry_run, reaped=reaped)
        found.append({(removed.run_id, removed.size) for removed in done.workspaces})
    return found


def test_a_dry_run_tells_of_dead_runs_what_is_done_once_they_are_reaped(home: Home) -> None:
    dead, empty, elsewhere = (_ended(home, number, settle=False) for number in range(3))
    empty.journal.write_bytes(b"")
    records = list(read_records(elsewhere.journal))
    write(elsewhere, *records, owner=IDENTITY)
    told, done = _told_and_done(home)
    assert told == done
    assert {run_id for run_id, _ in done} == {dead.run_id, empty.run_id}
    assert elsewhere.work.exists()


def test_workspaces_of_what_had_succeeded_are_the_reapers(home: Home) -> None:
    root = write_killed_tree(home)
    well = root.child(run_id(1))
    well.work.mkdir()
    told, done = (try_reap(home, root, dry_run=dry_run) for dry_run in (True, False))
    assert told.emptied == done.emptied == (well.run_id,)
    assert not well.work.exists()
    assert len(os.listdir(home.trash)) == 1
    assert clean(home, NOTHING) == cleanup.Cleaned((), ())
    assert os.listdir(home.trash) == []


def test_a_dry_run_counts_none_that_the_reaper_removes(home: Home) -> None:
    root = write_killed_tree(home)
    for number in (1, 3):
        child = root.child(run_id(number))
        child.work.mkdir()
        (child.work / "file").write_bytes(bytes(50_000))
    told, done = _told_and_done(home)
    assert told == done
    [(_, size)] = done
    assert 50_000 < size < 100_000


def test_what_was_not_measured_when_it_was_reaped_is_measured(home: Home) -> None:
    _ended(home)
    assert [run.size for run in kept(home)] == [0]
    clean(home, FOREVER)
    [run] = kept(home)
    assert run.size > 100_000


def test_one_that_cannot_be_removed_keeps_no_other(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = _ended(home, 0), _ended(home, 1, at=T0 + 5)
    bad.lock.unlink()
    bad.lock.mkdir()
    done = clean(home, NOTHING)
    assert {removed.run_id: bool(removed.error) for removed in done.workspaces} == {
        bad.run_id: True,
        good.run_id: False,
    }


# --- the trash ---


def test_removal_may_end_after_any_move_or_removal_and_the_next_one_finishes_it(home: Home) -> None:
    """What is left is a run each of whose workspaces is whole or gone, and trash."""
    whole = 0
    for last in range(1, 40):
        paths = _ended(home, last)
        before = bytes_below(paths.path)
        done = _clean_in_a_process(home, dies_after=last)
        if done == 0:
            whole = last
            break
        assert done == -9
        for part in workspaces_of(paths):
            place = str(part.relative_to(paths.path))
            assert {f"{place}/{name}" for name in bytes_below(part)} == {
                name for name in before if name.startswith(place)
            }
        clean(home, NOTHING, everything=True)
        assert os.listdir(home.trash) == []
        assert not paths.work.exists()
        assert not paths.child(run_id(100 + last)).view.exists()
        assert list(kept(home)) == []
    # Four directories are moved, one entry is forgotten, ten files and directories are removed.
    assert whole == 16


_DYING = """
import os, signal, sys
from pathlib import Path
from tako.config.schema import Settings
from tako.layout.home import Home
from tako.recovery.cleanup import clean
left = int(sys.argv[2])
def counted(act):
    def acts(*names, **options):
        global left
        act(*names, **options)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return acts
os.rename, os.unlink, os.rmdir = map(counted, (os.rename, os.unlink, os.rmdir))
clean(Home(Path(sys.argv[1])), Settings(keep_runs_s=1e12), everything=True)
"""


def _clean_in_a_process(home: Home, *, dies_after: int) -> int:
    words = [sys.executable, "-c", _DYING, str(home.path), str(dies_after)]
    return subprocess.run(words, check=False, env={**os.environ}).returncode


def test_the_trash_is_emptied_whatever_is_in_it_and_nothing_outside_is_touched(
    home: Home, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    paths = _ended(home)
    closed = paths.work / "closed"
    closed.mkdir()
    (closed / "deep").mkdir()
    (closed / "out").symlink_to(precious)
    (paths.work / "out").symlink_to(precious)
    os.link(precious / "file", paths.work / "hard")
    os.mkfifo(paths.work / "fifo")
    closed.chmod(0)
    paths.view.chmod(0)
    assert clean(home, NOTHING).errors == ()
    assert os.listdir(home.trash) == []
    assert (precious / "file").read_text() == "mine"


def test_a_workspace_that_is_a_link_is_removed_as_a_link(home: Home, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    paths = _ended(home)
    subprocess.run(["rm", "-r", str(paths.work)], check=True)
    paths.work.symlink_to(precious)
    clean(home, NOTHING)
    assert not paths.work.is_symlink()
    assert precious.is_dir()


def test_a_directory_that_its_step_has_closed_is_moved_by_an_ordinary_user_too(tmp_path: Path) -> None:
    """A directory whose parent changes must be writable (rename(2))."""
    area = tmp_path / "area"
    area.mkdir()

    def act() -> str:
        home = Home(Path("home"))
        work = home.path / "work"
        (work / "inner").mkdir(parents=True)
        work.chmod(0)
        trash.throw(home, work, run_id(0))
        assert not work.exists()
        assert trash.empty(home) == []
        return str(os.listdir(home.trash))

    assert as_ordinary_user(area, act) == "[]"


def test_missing_is_success_and_an_own_file_system_is_emptied_in_place(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    trash.throw(home, home.path / "missing", run_id(0))
    assert trash.is_empty(home)
    work = home.path / "work"
    (work / "inner").mkdir(parents=True)

    rename = os.rename

    def elsewhere(source: Path, target: Path) -> None:
        if home.trash in target.parents:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", elsewhere)
    trash.throw(home, work, run_id(0))
    assert not work.exists()


def test_what_cannot_be_moved_or_emptied_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = _ended(home)

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refused)
        [removed] = clean(home, NOTHING).workspaces
    assert "cannot be removed: Read-only file system" in removed.error
    assert paths.work.exists()
    (home.trash / "one").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", refused)
        [error] = trash.empty(home)
    assert "Read-only" in error
    assert trash.empty(home, "another") == []
    assert not trash.is_empty(home)
    assert HERE.start_time == 1
