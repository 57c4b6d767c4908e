from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path

import pytest

from tako.cli.exec.root_run import make_run
from tako.engine.run.run_ids import RunIds
from tako.errors import MachineError
from tako.layout.home import Home
from tako.recovery.index import unsettled
from tako.recovery.ownership import owner_of
from tako.recovery.reaper import ALIVE, reap
from tako.system.process.identity import own_identity
from tako.system.storage.writing import is_locked
from tests.support.segments import run_spec


@pytest.fixture
def home(tako_home: Path) -> Home:
    """Give the test's home."""
    (tako_home / "workspaces").mkdir(parents=True)
    return Home(tako_home)


def _ids() -> RunIds:
    numbers = itertools.count()
    return RunIds(lambda: f"{next(numbers):08x}", lambda: 1.7e9)


def test_a_run_is_made_with_its_lock_held_and_its_owner_told(home: Home, tmp_path: Path) -> None:
    spec, lock = make_run(home, run_spec(tmp_path), _ids(), "/tmp/tako-0123456789ab")
    paths = spec.paths
    assert is_locked(paths.lock)
    owner = owner_of(paths)
    assert owner is not None
    assert (owner.identity, owner.temporary) == (own_identity(), "/tmp/tako-0123456789ab")
    assert os.listdir(home.workspaces) == [paths.run_id]
    assert list(unsettled(home)) == [paths]
    os.close(lock)


def test_an_id_that_is_taken_is_drawn_again(home: Home, tmp_path: Path) -> None:
    first, lock = make_run(home, run_spec(tmp_path), _ids(), "")
    before = first.paths.lock.read_bytes()
    second, other = make_run(home, run_spec(tmp_path), _ids(), "")
    assert second.run_id != first.run_id
    assert first.paths.lock.read_bytes() == before
    for descriptor in (lock, other):
        os.close(descriptor)


def test_a_home_in_which_nothing_can_be_made_is_the_machines_fault(home: Home, tmp_path: Path) -> None:
    home.workspaces.rmdir()
    home.workspaces.touch()
    with pytest.raises(MachineError, match="cannot be made"):
        make_run(home, run_spec(tmp_path), _ids(), "")


def test_a_reaper_never_meets_a_run_that_is_just_being_made(home: Home, tmp_path: Path) -> None:
    """Reapers look at all runs without a pause while runs are made: each is seen with its lock held."""
    readable, writable = os.pipe()
    pids = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            os.write(writable, b"x")
            while all(done.outcome == ALIVE for done in reap(home, map(home.run, home.run_ids()))):
                pass
            os._exit(1)
        pids.append(pid)
    for _ in pids:
        os.read(readable, 1)
    ids = _ids()
    locks: list[int] = []
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and len(locks) < 200:
        spec, lock = make_run(home, run_spec(tmp_path), ids, "")
        locks.append(lock)
        assert not spec.paths.journal.exists()
    ended = []
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        ended.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    for descriptor in (*locks, readable, writable):
        os.close(descriptor)
    assert ended == [-signal.SIGKILL] * 3
