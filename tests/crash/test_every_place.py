"""Killed with SIGKILL at every place that matters, then taken up: nothing is lost, nothing is done twice."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from attrs import frozen

from tako.report.interruption import interruption, interruption_lines
from tako.report.reading import read_run
from tako.report.text import Style
from tests.crash.places import (
    Place,
    copied,
    cut_off,
    make_template,
    nothing_is_left,
    nothing_ran_twice,
    plain,
)
from tests.support.run_processes import carrying, survivors
from tests.support.runner import Finished, Tako, clean_environment
from tests.support.zygote import Zygote

pytestmark = pytest.mark.forked

_PARTS = 10
_RESUME_PARTS = 3
#: A run takes no more sessions than this: undisturbed, killed once, killed twice.
_SESSIONS_MAX = 4
_HERE = "worker acme/app 0.1 after append StepStarted one #1"


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


@pytest.fixture
def forked(fork: Zygote | None) -> Zygote:
    """Give what forks a `tako` that has all its modules."""
    assert fork is not None
    return fork


def _place(template: Path, directory: Path, forked: Zygote | None = None) -> Place:
    directory.mkdir()
    return copied(template, directory, Tako(clean_environment(directory), directory, forked))


def _undisturbed(template: Path, directory: Path, forked: Zygote | None = None) -> Undisturbed:
    place = _place(template, directory, forked)
    ended = place.release()
    assert ended.code == 0, ended.stderr
    nothing_is_left(place)
    return Undisturbed(plain(ended.json), sorted(place.ran), place.passed())


def _kills(places: list[str]) -> Iterator[dict[str, object]]:
    """Each place, killing who comes to it; and the root while a worker stands there.

    A worker about to do something has done no more than what it did last: there the root is killed once.
    """
    for label in places:
        yield {"label": label, "root": False}
        if label.startswith(("worker", "slot")) and " after " in label:
            yield {"label": label, "root": True}


def test_every_run_passes_the_same_places(template: Path, tmp_path: Path, forked: Zygote) -> None:
    one = _undisturbed(template, tmp_path / "one")
    two = _undisturbed(template, tmp_path / "two", forked)
    assert one == two
    kinds = {label.split(" #")[0] for label in one.places}
    for wanted in (
        "warden before start root",
        "root before lock run",
        "root before start worker",
        "root before start slot",
        "slot before start worker",
        "root after start tracker",
        "root before start git",
        "root after append ChildFinished dependents",
        "root after append ChildFinished more",
        "root before append RunSettled",
        "root after replace *.json",
        "worker acme/lib 0.1 before replace *.json",
        "worker acme/lib 0.1 after replace *.json",
        "root before lock app.lock",
        "root before lock app.lock.gate",
        "worker acme/leaf 0.1 before lock journal",
        "worker acme/leaf 0.1 before start step",
        "worker acme/leaf 0.1 after append RunRestarted one",
        "worker acme/leaf 1.1 after append WorkspaceRebuilt",
        "worker acme/app 1.1 after replace children",
    ):
        assert wanted in kinds, sorted(kinds)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(_PARTS))
def test_killed_there_and_taken_up_it_ends_as_if_nothing_had_been(
    template: Path, tmp_path: Path, forked: Zygote, part: int
) -> None:
    whole = _undisturbed(template, tmp_path / "undisturbed", forked)
    for number, order in list(enumerate(_kills(whole.places)))[part::_PARTS]:
        place = _place(template, tmp_path / str(number), forked)
        place.kill_at(order)
        _is_killed_and_goes_on(place, order, 1 + 7 * number % 60, whole)


def _is_killed_and_goes_on(
    place: Place, order: Mapping[str, object], second: int, whole: Undisturbed
) -> None:
    killed = place.release()
    try:
        assert place.was_killed()
        _goes_on(place, killed, order, second, whole)
    except AssertionError as error:
        error.add_note(f"killed at {order}, second at {second}\n{killed.stderr}")
        raise


def _goes_on(
    place: Place, killed: Finished, order: Mapping[str, object], second: int, whole: Undisturbed
) -> None:
    label = str(order["label"])
    if label.startswith(("worker", "slot")) and not order["root"]:
        # The same session goes on with another worker, of another slot if that was killed.
        assert killed.code == 0
        assert plain(killed.json) == whole.result
    else:
        assert killed.code == (-signal.SIGKILL if label.startswith("warden") else 4)
        if not _is_interrupted(place):
            # Nothing of it had begun.
            assert place.ran == []
            assert plain(place.release().json) == whole.result
        else:
            place.kill_at({"count": second})
            assert plain(_resumed(place, second)) == whole.result
    nothing_ran_twice(place)
    nothing_is_left(place)
    assert set(whole.ran) == set(place.ran)


def _is_interrupted(place: Place) -> bool:
    """Whether there is something to go on with; what is told of it is then what stands in the journals."""
    run = place.run
    if run is None:
        return False
    assert survivors(carrying(run.run_id), time.monotonic()) == []
    if not run.journal.exists() or not run.journal.stat().st_size:
        return False
    view = read_run(run)
    if view.status == "succeeded":
        # Killed after its last record.
        return True
    found = interruption(view)
    assert found is not None
    assert {(step["repository"], step["step"]) for step in found.running} == cut_off(run)
    told = list(interruption_lines(found, Style(sys.stdout)))
    assert f"    to continue: tako exec --resume {run.run_id}" in told
    return True


def _resumed(place: Place, second: int) -> object:
    """Take the run up until it ends by itself, killed once more at the `second` place."""
    for _ in range(_SESSIONS_MAX):
        ended = place.resume()
        was_killed = place.was_killed()
        if ended.code == 0:
            # There were not that many, or a worker was killed, which the same session replaces.
            assert was_killed or place.passes < second
            return ended.json
        assert ended.code in (4, -signal.SIGKILL), ended.stderr
        assert was_killed, ended.stderr
    message = "it does not come to its end"
    raise AssertionError(message)


@pytest.mark.parametrize(
    ("befalls", "record"),
    [
        ({"label": _HERE}, "WorkerDied"),
        ({"label": _HERE, "root": True, "signal": signal.SIGTERM}, "StopRequested"),
    ],
)
def test_killed_while_it_writes_down_what_befell_it(
    template: Path, tmp_path: Path, forked: Zygote, befalls: dict[str, object], record: str
) -> None:
    whole = _undisturbed(template, tmp_path / "undisturbed", forked)
    for moment in ("before", "after"):
        place = _place(template, tmp_path / moment, forked)
        order = {"label": f"root {moment} append {record} #1", "root": False}
        place.kill_at(befalls, order)
        _is_killed_and_goes_on(place, order, 20, whole)


def _kind(label: str) -> str:
    """Without how often and in which attempt."""
    return re.sub(r" \d+\.\d+(?= )| #\d+$", "", label)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(_RESUME_PARTS))
def test_killed_wherever_only_a_resume_comes_by(
    template: Path, tmp_path: Path, forked: Zygote, part: int
) -> None:
    whole = _undisturbed(template, tmp_path / "undisturbed", forked)

    def interrupted(name: str) -> Place:
        place = _place(template, tmp_path / name, forked)
        place.kill_at({"label": _HERE, "root": True})
        assert place.release().code == 4
        assert place.was_killed()
        return place

    calm = interrupted("calm")
    calm.kill_at()
    assert calm.resume().code == 0
    others = set(map(_kind, whole.places))
    own = [label for label in calm.passed() if _kind(label) not in others]
    assert any("RunResumed" in label for label in own)
    for number, label in list(enumerate(own))[part::_RESUME_PARTS]:
        place = interrupted(str(number))
        order = {"label": label, "root": label.startswith("worker")}
        place.kill_at(order)
        ended = place.resume()
        assert place.was_killed(), order
        assert ended.code in (4, -signal.SIGKILL), (order, ended.stderr)
        place.kill_at()
        assert plain(_resumed(place, len(calm.passed()) + 1)) == whole.result, order
        nothing_ran_twice(place)
        nothing_is_left(place)
