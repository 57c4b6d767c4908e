from __future__ import annotations

import json
import os

import pytest

from tako.errors import HeldError, NotFoundError
from tako.layout.home import Home
from tako.recovery.ownership import Owner, claim, declare, held_error, owner_of
from tako.system.process.identity import own_identity
from tako.values import asdict
from tests.support.dead_runs import run_id
from tests.support.told_runs import held


def test_a_lock_belongs_to_one_and_tells_whose_it_is(home: Home) -> None:
    paths = home.run(run_id(0))
    paths.path.mkdir()
    lock = claim(paths)
    assert lock is not None
    try:
        assert claim(paths) is None
        assert owner_of(paths) is None
        for temporary in ("/tmp/tako-0123456789ab", "/t"):
            declare(lock, temporary)
            assert owner_of(paths) == Owner(own_identity(), temporary)
    finally:
        os.close(lock)
    with held(paths):
        assert claim(paths) is None


def test_a_run_that_is_gone_has_no_lock(home: Home) -> None:
    assert claim(home.run(run_id(0))) is None
    assert owner_of(home.run(run_id(0))) is None


def test_a_run_that_went_to_the_trash_meanwhile_is_held_by_nobody(home: Home) -> None:
    paths = home.run(run_id(0))
    assert isinstance(held_error(paths), NotFoundError)
    with held(paths):
        assert isinstance(held_error(paths), HeldError)


def test_a_lock_that_is_in_the_trash_by_now_is_nobodys(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory is moved away between the opening of the file and its locking, and perhaps made again."""
    paths = home.run(run_id(0))
    for made_again in (False, True):
        paths.path.mkdir()

        def moved(descriptor: int, *, again: bool = made_again) -> bool:
            os.rename(paths.path, home.path / f"trash-{descriptor}-{again}")
            if again:
                paths.path.mkdir()
                paths.lock.touch()
            return True

        monkeypatch.setattr("tako.recovery.ownership.try_lock", moved)
        assert claim(paths) is None


def _told(**changes: object) -> str:
    """Give what an owner writes, with something else in it."""
    return json.dumps({"identity": asdict(own_identity()) | changes, "temporary": ""})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"identity": {}, "temporary": ""}',
        '{"identity": 1}',
        _told(pid="../self"),
        _told(pid=None),
        _told(start_time=1.5),
        _told(machine=5),
        "[" * 20_000,
    ],
)
def test_what_a_killed_owner_left_unwritten_tells_nothing(home: Home, text: str) -> None:
    paths = home.run(run_id(0))
    paths.path.mkdir()
    paths.lock.write_text(text)
    assert owner_of(paths) is None


def test_a_lock_that_is_a_link_is_not_followed(home: Home) -> None:
    paths = home.run(run_id(0))
    paths.path.mkdir()
    precious = home.path / "precious"
    precious.write_text(json.dumps("mine"))
    paths.lock.symlink_to(precious)
    with pytest.raises(OSError, match="symbolic"):
        claim(paths)
