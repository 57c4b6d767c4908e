"""Lines of a journal that are whole, and missing or in another order: a state or damage, never a bug."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.errors import NotFoundError
from tako.journal.fold import fold
from tako.journal.log import JournalDamagedError, line_of, read_ends, read_records, record_of
from tako.journal.order import Order, OutOfOrderError
from tako.journal.records import (
    ChildFinished,
    ChildPlanned,
    EventEmitted,
    FanOutPlanned,
    Noted,
    Record,
    RunFinished,
    RunResumed,
    RunSettled,
    StepFinished,
    StepStarted,
    SubscriptionFiltered,
    WorkerDied,
)
from tako.layout.home import Home
from tako.recovery.missing_records import missing, settled, subtree_status
from tako.report.failures import failure_lines, failures
from tako.report.interruption import interruption, interruption_lines
from tako.report.reading import read_run, summary_of
from tako.report.result import write_result
from tako.report.text import Style
from tako.report.tree_view import tree_lines
from tako.values import evolve
from tests.support.records import T0, event, run_id, run_started

SAVED = sorted((Path(__file__).parents[1] / "journals").rglob("*.jsonl"))
PLANNED = ChildPlanned(T0, "fan", run_id(1), "acme/a", "main", "c", "check", {})
EMITTED = EventEmitted(T0, "fan", event())
BEGUN = run_started(steps=("build", "fan"))


@st.composite
def shuffled(draw: st.DrawFn) -> list[bytes]:
    """Give lines of a saved journal: some of them, some of them elsewhere, some of them twice."""
    lines = draw(st.sampled_from(SAVED)).read_bytes().splitlines(keepends=True)
    chosen = draw(st.lists(st.sampled_from(range(len(lines))), unique=draw(st.booleans()), max_size=40))
    return [lines[at] for at in (chosen if draw(st.booleans()) else sorted(chosen))]


def _shown(home: Home) -> str:
    """Everything that is made of a state, whatever it is."""
    paths = home.run(run_id(0))
    view = read_run(paths)
    out = io.StringIO()
    write_result(view, out)
    style = Style(out)
    out.writelines(tree_lines(view, style))
    for error in failures(view):
        out.writelines(failure_lines(error, style))
    found = interruption(view)
    out.writelines(interruption_lines(found, style) if found else ())
    missing(view.state, (), T0)
    subtree_status(view.state)
    settled(view.state, T0)
    return out.getvalue()


def _write(home: Home, lines: Iterable[bytes]) -> Path:
    journal = home.run(run_id(0)).journal
    journal.parent.mkdir(parents=True, exist_ok=True)
    journal.write_bytes(b"".join(lines))
    return journal


@given(lines=shuffled())
def test_any_lines_of_a_journal_are_a_state_that_can_be_shown_or_damage(
    lines: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = Home(tmp_path_factory.getbasetemp() / "shuffled")
    journal = _write(home, lines)
    summary_of(home.run(run_id(0)))
    damage = ""
    try:
        fold(read_records(journal))
    except JournalDamagedError as error:
        damage = error.message
    assert "line " in damage if damage else _shown(home)


def _durations(value: object) -> list[float]:
    match value:
        case dict():
            own = [value["duration_s"]] if isinstance(value.get("duration_s"), float) else []
            return own + [each for held in value.values() for each in _durations(held)]
        case list():
            return [each for held in value for each in _durations(held)]
    return []


@given(path=st.sampled_from(SAVED), times=st.lists(st.floats(0, 4e9), min_size=1, max_size=60))
def test_a_clock_that_moves_makes_no_time_negative(
    path: Path, times: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = Home(tmp_path_factory.getbasetemp() / "moved")
    whole = enumerate(read_records(path))
    _write(home, (line_of(evolve(record, at=times[number % len(times)])) for number, record in whole))
    assert _shown(home)
    out = io.StringIO()
    write_result(read_run(home.run(run_id(0))), out)
    assert min(_durations(json.loads(out.getvalue())), default=0.0) >= 0.0
    state = fold(read_records(home.run(run_id(0)).journal))
    assert state.duration_s(times[0]) >= 0.0
    assert state.active_s(times[-1], times[0]) >= 0.0


@pytest.mark.parametrize("path", SAVED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_beginning_of_a_journal_is_always_in_order(path: Path, tmp_path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    for count in range(len(lines) + 1):
        journal = _write(Home(tmp_path), lines[:count])
        assert len(list(read_records(journal))) == count


OUT_OF_ORDER: dict[str, tuple[list[Record], str]] = {
    "a step before the run": ([StepStarted(T0, "build", 1, "k"), BEGUN], "line 1: StepStarted"),
    "the run twice": ([BEGUN, StepStarted(T0, "build", 1, "k"), BEGUN], "line 3: RunStarted"),
    "filtered before the event": (
        [BEGUN, SubscriptionFiltered(T0, "fan", "acme/a", "check", "no")],
        "line 2: SubscriptionFiltered .* step 'fan' emitted",
    ),
    "a child before the event": ([BEGUN, PLANNED, EMITTED], "line 2: ChildPlanned"),
    "a plan before the event": ([BEGUN, FanOutPlanned(T0, "fan", 0, 0)], "line 2: FanOutPlanned"),
    "a child that is missing in the plan": (
        [BEGUN, EMITTED, PLANNED, FanOutPlanned(T0, "fan", 2, 2)],
        "line 4: FanOutPlanned .* counts 2 children, and 1 are planned",
    ),
    "an end of a child before its plan": (
        [BEGUN, EMITTED, ChildFinished(T0, "fan", run_id(1), "failed")],
        "line 3: ChildFinished .* plans the child",
    ),
    "an end of a child of no event": (
        [BEGUN, StepFinished(T0, "fan", 1, "failed"), ChildFinished(T0, "fan", run_id(1), "failed")],
        "line 3: ChildFinished",
    ),
}


@pytest.mark.parametrize(("records", "told"), OUT_OF_ORDER.values(), ids=OUT_OF_ORDER.keys())
def test_a_line_that_cannot_stand_there_is_damage(records: list[Record], told: str, tmp_path: Path) -> None:
    journal = _write(Home(tmp_path), map(line_of, records))
    with pytest.raises(JournalDamagedError, match=told):
        list(read_records(journal))


def test_what_others_write_before_the_run_began_is_in_order() -> None:
    order = Order()
    for record in (WorkerDied(T0, 1, "killed"), RunFinished(T0, "failed"), RunSettled(T0, "failed", 1)):
        order.check(record)
    order.check(BEGUN)


def test_a_child_of_an_earlier_plan_may_end_after_the_event_came_again() -> None:
    order = Order()
    for record in (BEGUN, EMITTED, PLANNED, EMITTED, ChildFinished(T0, "fan", run_id(1), "failed")):
        order.check(record)


def test_who_begins_in_the_middle_knows_no_order() -> None:
    order = Order(begun=True)
    for record in (RunResumed(T0, T0), PLANNED, FanOutPlanned(T0, "fan", 9, 9), StepStarted(T0, "x", 1, "k")):
        order.check(record)
    with pytest.raises(OutOfOrderError):
        order.check(BEGUN)


# --- times that no calendar has ---


def _signed(body: bytes) -> bytes:
    return body[:-1] + b',"crc":"%08x"}' % zlib.crc32(body) + b"\n"


def _line(**changes: Any) -> bytes:  # noqa: ANN401 - whatever JSON can say
    return _signed(json.dumps({"kind": "Noted", "inert": True, "at": T0, "message": "m"} | changes).encode())


NO_TIMES = {
    "huge": 1e300,
    "a year too late": 253_402_300_800.0,
    "a year too early": -62_135_596_801,
    "an integer beyond floats": 10**400,
    "nan": float("nan"),
    "infinite": float("-inf"),
}


@pytest.mark.parametrize("at", NO_TIMES.values(), ids=NO_TIMES.keys())
def test_a_time_that_no_calendar_has_is_damage(at: float, tmp_path: Path) -> None:
    journal = _write(Home(tmp_path), [line_of(BEGUN), _line(at=at)])
    with pytest.raises(JournalDamagedError, match="line 2: "):
        list(read_records(journal))
    with pytest.raises(JournalDamagedError):
        read_ends(journal)


def test_a_duration_that_is_no_number_is_damage(tmp_path: Path) -> None:
    line = _signed(b'{"kind":"RunFinished","at":1,"status":"failed","duration_s":1e999}')
    with pytest.raises(JournalDamagedError, match="inf is no number of seconds"):
        list(read_records(_write(Home(tmp_path), [line])))


@pytest.mark.parametrize("at", [-1.0, 0.0, -62_135_596_800.0, 253_402_300_799.0])
def test_a_time_of_the_calendar_is_shown(at: float, tmp_path: Path) -> None:
    home = Home(tmp_path)
    records: list[Record] = [run_started(at=at, steps=("build",)), StepStarted(at, "build", 1, "k")]
    _write(home, map(line_of, records))
    assert "build" in _shown(home)
    assert summary_of(home.run(run_id(0)))["problem"] == ""


def test_a_journal_of_a_newer_tako_says_so(tmp_path: Path) -> None:
    journal = _write(Home(tmp_path), [line_of(BEGUN), _line(kind="RunPaused", inert=False)])
    with pytest.raises(JournalDamagedError, match="unknown kind of record 'RunPaused'") as caught:
        list(read_records(journal))
    assert "newer" in caught.value.hint


def test_a_record_of_a_newer_tako_that_changes_no_state_is_passed_over(tmp_path: Path) -> None:
    journal = _write(Home(tmp_path), [line_of(BEGUN), _line(kind="Sung", loud=[1]), line_of(Noted(T0, "m"))])
    assert list(read_records(journal)) == [BEGUN, Noted(T0, "m")]


def test_a_line_nested_too_deep_is_damage(tmp_path: Path) -> None:
    deep = b'{"kind":"Sung","inert":true,"a":' + b"[" * 20_000 + b"]" * 20_000
    line = _signed(deep + b"}")
    with pytest.raises(RecursionError):
        record_of(line[:-1])
    journal = _write(Home(tmp_path), [line])
    with pytest.raises(JournalDamagedError, match="line 1"):
        list(read_records(journal))


def test_without_a_journal_nothing_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        list(read_records(tmp_path / "journal.jsonl"))
