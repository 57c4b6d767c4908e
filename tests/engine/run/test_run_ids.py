from __future__ import annotations

import itertools
import threading

import pytest

from tako.engine.run.run_ids import RunIds
from tako.errors import MachineError
from tako.layout.names import checked_run_id


def test_an_id_tells_the_time_in_utc_and_is_valid() -> None:
    assert RunIds(lambda: "0badcafe", lambda: 1_700_000_000.9).new() == "exec-20231114-221320-0badcafe"
    assert checked_run_id(RunIds(lambda: "00000000").new())


def test_an_id_that_was_given_is_drawn_again() -> None:
    draws = iter(["aaaaaaaa", "aaaaaaaa", "bbbbbbbb"])
    ids = RunIds(lambda: next(draws), lambda: 0.0)
    assert [ids.new(), ids.new()] == ["exec-19700101-000000-aaaaaaaa", "exec-19700101-000000-bbbbbbbb"]


def test_the_same_digits_in_another_second_are_another_id() -> None:
    clock = iter([0.0, 1.0])
    ids = RunIds(lambda: "aaaaaaaa", lambda: next(clock))
    assert ids.new() != ids.new()


def test_when_no_id_is_left_it_says_so_instead_of_drawing_for_ever() -> None:
    ids = RunIds(lambda: "aaaaaaaa", lambda: 0.0)
    ids.new()
    with pytest.raises(MachineError, match="no run id left"):
        ids.new()


def test_threads_never_get_the_same_id() -> None:
    numbers = itertools.count()
    ids = RunIds(lambda: f"{next(numbers) % 400:08x}", lambda: 0.0)
    drawn: list[str] = []
    together = threading.Barrier(4)

    def draw() -> None:
        together.wait()
        drawn.extend(ids.new() for _ in range(100))

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(drawn)) == 400
