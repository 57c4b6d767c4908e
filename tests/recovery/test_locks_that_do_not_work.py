"""Where locks do not work nobody can tell the living from the dead: exit code 4 and nothing is reaped."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable

import pytest

from tako.layout.home import Home
from tako.layout.run import RunDirectory
from tako.recovery.ownership import claim, share
from tako.recovery.reaper import STUCK, try_reap
from tako.system.storage.writing import is_locked
from tests.support.dead_runs import write_one


def _granted(_descriptor: int, _operation: int) -> None:
    """As some network and FUSE file systems do."""


def _refused(_descriptor: int, _operation: int) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_a_lock_that_everybody_is_granted_is_no_proof_of_death(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = write_one(home, 1)
    before = dead.journal.read_bytes()
    monkeypatch.setattr(fcntl, "flock", _granted)
    with pytest.raises(OSError, match="locks do not work on this file system"):
        claim(dead)
    result = try_reap(home, dead)
    assert result.outcome == STUCK
    assert str(dead.lock) in result.reason
    assert dead.journal.read_bytes() == before


@pytest.mark.parametrize("take", [claim, share, lambda paths: is_locked(paths.lock)])
def test_a_lock_that_is_refused_names_its_file(
    home: Home, monkeypatch: pytest.MonkeyPatch, take: Callable[[RunDirectory], object]
) -> None:
    dead = write_one(home, 1)
    monkeypatch.setattr(fcntl, "flock", _refused)
    with pytest.raises(OSError, match="No locks available") as caught:
        take(dead)
    assert caught.value.filename == str(dead.lock)
