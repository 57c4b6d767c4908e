from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tako.config.schema import KeptWorkspaces, Settings
from tako.layout.home import Home
from tako.recovery import sweep as module
from tako.recovery.index import kept, note_opened, unsettled
from tako.recovery.reaper import try_reap
from tako.recovery.sweep import leave, sweep
from tako.recovery.trash import empty
from tests.support.dead_runs import began, bytes_below, run_id, write, write_killed_tree, write_one
from tests.support.records import IDENTITY, T0
from tests.support.told_runs import held

KEEP = Settings(keep_workspaces=KeptWorkspaces(age_s=1e12), keep_runs_s=1e12)


def _swept(home: Home, settings: Settings = KEEP) -> list[str]:
    said: list[str] = []
    sweep(home, settings, said.append)
    _join()
    return said


def _join() -> None:
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(60)


def _opened(home: Home, number: int = 0, at: float = T0) -> str:
    note_opened(home, run_id(number))
    write_one(home, number, at=at)
    return run_id(number)


def test_nothing_to_do_is_nothing_said_and_nothing_changed(home: Home) -> None:
    assert _swept(home) == []
    assert bytes_below(home.path) == {}


def test_a_dead_run_is_reaped_and_said_in_one_line(home: Home) -> None:
    name = _opened(home)
    [line] = _swept(home)
    assert line.startswith(f"reaped {name}: its tako had been killed")
    assert list(unsettled(home)) == []
    assert _swept(home) == []


def test_many_are_said_in_one_line_too(home: Home) -> None:
    for number in range(5):
        _opened(home, number)
    [line] = _swept(home)
    assert "and 2 more" in line


def test_a_live_run_is_not_touched(home: Home) -> None:
    name = _opened(home)
    before = bytes_below(home.path)
    with held(home.run(name)):
        assert _swept(home) == []
    assert bytes_below(home.path) == before


def test_a_run_that_was_settled_behind_its_entry_is_noted_silently(home: Home) -> None:
    name = _opened(home)
    try_reap(home, home.run(name))
    note_opened(home, name)
    assert _swept(home) == []
    assert list(unsettled(home)) == []


def test_what_cannot_be_reaped_is_said_and_tried_again_after_a_while(home: Home) -> None:
    name = _opened(home)
    journal = home.run(name).journal
    data = journal.read_bytes()
    journal.write_bytes(b"nonsense\n")
    for _ in range(2):
        [line] = _swept(home)
        assert f"{name} cannot be reaped" in line
        assert _swept(home) == []
        os.utime(home.unsettled / name, (0, 0))
    journal.write_bytes(data)
    [line] = _swept(home)
    assert line.startswith(f"reaped {name}")


def test_a_lock_that_cannot_be_read_keeps_no_other_run_from_being_reaped(home: Home) -> None:
    bad, good = _opened(home, 0), _opened(home, 1)
    home.run(bad).lock.unlink()
    home.run(bad).lock.mkdir()
    done, stuck = _swept(home)
    assert done.startswith(f"reaped {good}")
    assert f"{bad} cannot be reaped" in stuck
    assert [paths.run_id for paths in unsettled(home)] == [bad]


def _opened_elsewhere(home: Home, number: int) -> None:
    note_opened(home, run_id(number))
    write(home.run(run_id(number)), owner=IDENTITY)


def test_a_run_of_another_machine_is_passed_over_and_found_by_those_who_can_reap_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    _opened_elsewhere(home, 0)
    before = bytes_below(home.path)
    for _ in range(2):
        assert _swept(home) == []
        assert bytes_below(home.path) == before
    monkeypatch.setattr("tako.system.process.identity._machine", lambda: IDENTITY.machine)
    [line] = _swept(home)
    assert line.startswith(f"reaped {run_id(0)}")


def test_what_an_earlier_version_left_elsewhere_is_passed_over_silently_too(home: Home) -> None:
    note_opened(home, run_id(0))
    write(home.run(run_id(0)), began(identity=IDENTITY), owner=None)
    assert _swept(home) == []
    assert [paths.run_id for paths in unsettled(home)] == [run_id(0)]


def test_runs_that_cannot_be_reaped_here_keep_no_other_from_being_reaped(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOKED_AT", 3)
    for number in range(1, 9):
        _opened_elsewhere(home, number)
    name = _opened(home)
    # Where a sweep begins is chance; 200 that all miss one of three in nine are none.
    said = next(filter(None, (_swept(home) for _ in range(200))))
    assert said[0].startswith(f"reaped {name}")
    assert len(list(unsettled(home))) == 8


def test_time_and_number_are_bounded(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REAPED", 2)
    for number in range(5):
        _opened(home, number)
    for left in (3, 1, 0):
        assert len(_swept(home)) == 1
        assert len(list(unsettled(home))) == left
    for number in range(5, 7):
        _opened(home, number)
    monkeypatch.setattr(module, "_WITHIN_S", -1.0)
    assert _swept(home) == []
    assert len(list(unsettled(home))) == 2


def test_what_is_removed_is_bounded_in_time_too(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [_kept_run(home, number) for number in range(3)]
    monkeypatch.setattr(module, "_WITHIN_S", -1.0)
    assert _swept(home, Settings(keep_workspaces=KeptWorkspaces(runs=0), keep_runs_s=0)) == []
    assert all(home.run(name).work.exists() for name in names)


def _kept_run(home: Home, number: int, at: float = T0) -> str:
    name = _opened(home, number, at)
    (home.run(name).work / "repo").mkdir(parents=True)
    try_reap(home, home.run(name))
    return name


def test_workspaces_beyond_the_bounds_go_and_the_trash_is_emptied(home: Home) -> None:
    names = [_kept_run(home, number) for number in range(3)]
    settings = Settings(keep_workspaces=KeptWorkspaces(runs=1, age_s=1e12), keep_runs_s=1e12)
    [line] = _swept(home, settings)
    assert line.startswith("removed the workspaces of ")
    assert sum(home.run(name).work.exists() for name in names) == 1
    assert len(list(kept(home))) == 1
    assert os.listdir(home.trash) == []
    assert _swept(home, settings) == []


def test_what_somebody_has_removed_by_hand_counts_no_more(home: Home) -> None:
    names = [_kept_run(home, number, at=T0 + number) for number in range(4)]
    subprocess.run(["rm", "-r", str(home.run(names[3]).path), str(home.run(names[2]).work)], check=True)
    settings = Settings(keep_workspaces=KeptWorkspaces(runs=2, age_s=1e12), keep_runs_s=1e12)
    assert _swept(home, settings) == []
    assert {run.paths.run_id for run in kept(home)} == set(names[:2])
    assert all(home.run(name).work.exists() for name in names[:2])


def test_workspaces_are_measured_beside_the_run(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large they are: the run does not wait."""
    name = _opened(home)
    home.run(name).work.mkdir()
    begun = threading.Event()

    def slow(_: object) -> int:
        assert begun.wait(60)
        return 7

    monkeypatch.setattr("tako.system.accounting.usage.disk_use", slow)
    said: list[str] = []
    sweep(home, KEEP, said.append)
    assert [run.size for run in kept(home)] == [0]
    begun.set()
    _join()
    assert [run.size for run in kept(home)] == [7]


def test_workspaces_of_what_had_succeeded_are_emptied_beside_the_run(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_killed_tree(home)
    note_opened(home, root.run_id)
    work = root.child(run_id(1)).work
    work.mkdir()
    begun = threading.Event()

    def slow(home: Home) -> list[str]:
        assert begun.wait(60)
        return empty(home)

    monkeypatch.setattr(module, "empty", slow)
    sweep(home, KEEP, print)
    assert not work.exists()
    assert len(os.listdir(home.trash)) == 1
    begun.set()
    _join()
    assert os.listdir(home.trash) == []


def test_a_workspace_that_somebody_uses_is_left_silently(home: Home) -> None:
    name = _kept_run(home, 0)
    with held(home.run(name)):
        assert _swept(home, Settings(keep_workspaces=KeptWorkspaces(runs=0), keep_runs_s=1e12)) == []
    assert home.run(name).work.exists()


def test_an_entry_whose_workspaces_are_gone_is_forgotten_silently(home: Home) -> None:
    name = _kept_run(home, 0)
    (home.run(name).work / "repo").rmdir()
    home.run(name).work.rmdir()
    assert _swept(home, Settings(keep_workspaces=KeptWorkspaces(runs=0), keep_runs_s=1e12)) == []
    assert list(kept(home)) == []


def test_runs_older_than_is_kept_go(home: Home) -> None:
    name = _kept_run(home, 0)
    settings = Settings(keep_workspaces=KeptWorkspaces(age_s=1e12), keep_runs_s=60)
    [line] = _swept(home, settings)
    assert line.startswith(f"removed {name}, which ended longer ago")
    assert os.listdir(home.workspaces) == []


def test_what_goes_wrong_is_said_and_keeps_no_run_from_starting(home: Home) -> None:
    home.trash.write_text("a file")
    home.kept.parent.mkdir()
    home.kept.write_text("a file")
    name = _opened(home)
    reaped, line, other = _swept(home)
    assert reaped.startswith(f"reaped {name}")
    assert "cannot be cleaned up" in line
    assert "cannot be cleaned up" in other


def test_the_end_of_a_run_is_noted_with_its_workspaces_or_without(home: Home) -> None:
    name, other = _opened(home, 0), _opened(home, 1)
    leave(home, home.run(name))
    assert len(list(unsettled(home))) == 2
    for run in (name, other):
        try_reap(home, home.run(run))
        note_opened(home, run)
    home.run(name).work.mkdir()
    leave(home, home.run(name))
    leave(home, home.run(other))
    assert list(unsettled(home)) == []
    [found] = kept(home)
    assert found.paths.run_id == name
    assert found.size > 0


def test_a_note_that_cannot_be_made_is_no_failure(home: Home) -> None:
    name = _opened(home)
    try_reap(home, home.run(name))
    (home.run(name).work).mkdir()
    home.kept.parent.mkdir(exist_ok=True)
    home.kept.touch()
    leave(home, home.run(name))
    assert home.kept.is_file()


def test_a_sweep_with_nothing_to_do_loads_neither_journals_nor_the_reaper(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from tako.config.schema import Settings; from tako.layout.home import Home\n"
        "from tako.recovery.sweep import sweep; sweep(Home(Path(sys.argv[1])), Settings(), print)\n"
        "print(*sorted(name for name in sys.modules if name.startswith('tako')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert "tako.recovery.sweep" in done.stdout
    assert "tako.journal" not in done.stdout
    assert "tako.recovery.reaper" not in done.stdout


def test_at_its_end_a_root_removes_what_is_left_of_values_of_workers_that_died(home: Home) -> None:
    paths = home.run(_opened(home))
    paths.values.mkdir()
    paths.value("a" * 64).touch()
    (paths.values / f".{'b' * 64}.json.42.0123abcd").touch()
    leave(home, paths)
    assert list(paths.values.iterdir()) == [paths.value("a" * 64)]
