from __future__ import annotations

import time

import pytest

from tako.system import clock


@pytest.fixture(autouse=True)
def _unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_start_of_steady", None)


def test_it_is_the_time_of_day_and_stays_where_that_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    assert abs(clock.now() - time.time()) < 1
    before = clock.now()
    for moved in (before - 7200, before + 7200):
        monkeypatch.setattr(time, "time", lambda moved=moved: moved)
        assert 0 <= clock.now() - before < 60


def test_a_worker_uses_the_time_of_its_root(monkeypatch: pytest.MonkeyPatch) -> None:
    of_the_root = clock.start_of_steady()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(clock, "_start_of_steady", None)
    assert clock.now() < 1
    clock.follow(of_the_root)
    assert clock.start_of_steady() == of_the_root
