"""Killed with SIGKILL at every place that matters, then taken up: nothing is lost, nothing is done twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from tako.report.reading import read_run
from tests.crash.places import Place, copied, make_template, nothing_is_left, nothing_ran_twice, plain
from tests.support.run_processes import carrying, survivors
from tests.support.runner import Tako, clean_environment

PARTS = 8
#: A run takes no more sessions than this: undisturbed, killed once, killed twice.
_SESSIONS_MAX = 4


@frozen
class Undisturbed:
    """What every disturbed run must come to, and where it may be disturbed."""

    result: object
    ran: list[str]
    places: list[str]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give repositories and cache to be copied."""
    return make_template(tmp_path_factory.mktemp("template"))


def _place(template: Path, directory: Path) -> Place:
    directory.mkdir()
    return copied(template, directory, Tako(clean_environment(directory), directory))


def _undisturbed(template: Path, directory: Path) -> Undisturbed:
    place = _place(template, directory)
    ended = place.release()
    assert ended.code == 0, ended.stderr
    nothing_is_left(place)
    return Undisturbed(plain(ended.json), sorted(place.ran), place.passed())


def _kills(places: list[str]) -> Iterator[dict[str, object]]:
    """Each place, killing who comes to it; and the root while a worker stands between two of its records.

    What is on the disk is then the same wherever between them the worker is.
    """
    for label in places:
        yield {"label": label, "root": False}
        if label.startswith("worker") and (" before append " in label or "RunFinished" in label):
            yield {"label": label, "root": True}


def test_every_run_passes_the_same_places(template: Path, tmp_path: Path) -> None:
    one, two = (_undisturbed(template, tmp_path / name) for name in ("one", "two"))
    assert one.places == two.places
    assert one.result == two.result
    kinds = {label.split(" #")[0] for label in one.places}
    for wanted in (
        "root before start worker",
        "root after append ChildFinished dependents",
        "root after append ChildFinished more",
        "root before append RunSettled",
        "worker acme/leaf 0.1 before lock journal",
        "worker acme/app 1.1 after replace children",
        "worker acme/leaf 0.1 before start step",
        "root before lock app.lock",
    ):
        assert wanted in kinds, sorted(kinds)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
def test_killed_there_and_taken_up_it_ends_as_if_nothing_had_been(
    template: Path, tmp_path: Path, part: int
) -> None:
    whole = _undisturbed(template, tmp_path / "undisturbed")
    for number, order in list(enumerate(_kills(whole.places)))[part::PARTS]:
        place = _place(template, tmp_path / str(number))
        place.kill_at(**order)
        killed = place.release()
        assert place.was_killed(), order
        try:
            _goes_on(place, killed.code, order, number, whole)
        except AssertionError as error:
            error.add_note(f"killed at {order}, second at {number % 30}\n{killed.stderr}")
            raise


def _goes_on(place: Place, code: int, order: dict[str, object], number: int, whole: Undisturbed) -> None:
    label = str(order["label"])
    if label.startswith("worker") and not order["root"]:
        # The same session goes on with another worker.
        assert code == 0
    else:
        assert code == 4
    run = place.run
    if run is None or not run.journal.exists() or not run.journal.stat().st_size:
        # Nothing of it had begun.
        assert place.ran == []
        return
    assert survivors(carrying(run.run_id), time.monotonic()) == []
    status = read_run(run).status
    assert status in ("interrupted", "succeeded")
    if status == "interrupted":
        if not order["root"]:
            place.kill_at(count=1 + number % 30)
        result = _resumed(place)
        assert plain(result) == whole.result
    nothing_ran_twice(place)
    nothing_is_left(place)
    assert set(whole.ran) == set(place.ran)


def _resumed(place: Place) -> object:
    """Take the run up until it ends by itself."""
    for _ in range(_SESSIONS_MAX):
        ended = place.resume()
        if ended.code == 0:
            return ended.json
        assert ended.code in (4, -9), ended.stderr
        assert place.was_killed(), ended.stderr
    message = "it does not come to its end"
    raise AssertionError(message)
