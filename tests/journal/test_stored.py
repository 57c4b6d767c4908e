"""Large values lie in files of their own, written before anything refers to them and checked when read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tako.errors import MachineError, WriteFailedError
from tako.journal import stored
from tako.journal.fold import fold
from tako.journal.log import JournalDamagedError, line_of, read_records, record_of
from tako.journal.parts import EventValue, Held, Stored
from tako.journal.records import ChildPlanned, EventEmitted, FanOutPlanned, Noted
from tako.journal.stored import STORED_MIN, StoredValueError, Values, same_event
from tako.layout.run import RunDirectory
from tako.system.storage import writing as files
from tako.values import evolve
from tests.support.records import T0, event, run_id, run_started

LARGE = {"data": "x" * STORED_MIN, "name": "ünïcode", "parts": [1, 2.5, None, True]}


@pytest.fixture
def root(tmp_path: Path) -> RunDirectory:
    """Give a root run's directory."""
    paths = RunDirectory(tmp_path / run_id(0))
    paths.path.mkdir()
    return paths


def _kept(root: RunDirectory, value: dict[str, Any]) -> Stored:
    held = Values(root).keep(value)
    assert isinstance(held, Stored)
    return held


def test_a_small_value_stays_where_it_is(root: RunDirectory) -> None:
    assert Values(root).keep({"version": "1.2.3"}) == {"version": "1.2.3"}
    assert Values(root).read({"version": "1.2.3"}) == {"version": "1.2.3"}
    assert not root.values.exists()


def test_a_large_value_lies_once_in_the_root_runs_directory(root: RunDirectory) -> None:
    values, child = Values(root), Values(root.child(run_id(1)).child(run_id(2)))
    held = values.keep(LARGE)
    assert held == values.keep(dict(LARGE)) == child.keep(LARGE)
    assert isinstance(held, Stored)
    assert [path.name for path in root.values.iterdir()] == [f"{held.sha256}.json"]
    assert root.value(held.sha256).stat().st_mode & 0o777 == 0o600
    assert root.values.stat().st_mode & 0o777 == 0o700
    assert child.read(held) == values.read(held) == LARGE


def test_what_is_read_is_not_read_again(root: RunDirectory) -> None:
    held, values = _kept(root, LARGE), Values(root)
    first = values.read(held)
    root.value(held.sha256).unlink()
    assert values.read(held) is first


def test_not_more_than_two_values_stay_in_memory(root: RunDirectory) -> None:
    held = [_kept(root, {**LARGE, "number": number}) for number in range(3)]
    values = Values(root)
    first, *_ = [values.read(one) for one in held]
    assert values.read(held[0]) is not first


def test_the_file_and_its_name_are_synced_before_there_is_a_reference(
    root: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    whole, sync = files.write_whole, files.sync_directory

    def write(path: Path, data: bytes, *, sync: bool = False) -> None:
        whole(path, data, sync=sync)
        done.append(f"written, sync={sync}")

    def synced(path: Path) -> None:
        sync(path)
        done.append(path.name)

    monkeypatch.setattr(stored, "write_whole", write)
    monkeypatch.setattr(stored, "sync_directory", synced)
    Values(root).keep(LARGE)
    assert done == [run_id(0), "written, sync=True", "values"]
    # Another process: the first may have been killed before its file's name was synced.
    Values(root).keep(LARGE)
    assert done[3:] == ["values"]


@pytest.mark.parametrize("left", [b"", b"{}", b"x" * 10_000])
def test_a_file_that_is_not_what_its_name_says_is_written_again(root: RunDirectory, left: bytes) -> None:
    held = _kept(root, LARGE)
    root.value(held.sha256).write_bytes(left)
    assert Values(root).keep(LARGE) == held
    assert Values(root).read(held) == LARGE


def test_a_missing_file_is_told_with_its_name(root: RunDirectory) -> None:
    held = _kept(root, LARGE)
    root.value(held.sha256).unlink()
    with pytest.raises(StoredValueError, match=f"{root.value(held.sha256)} is missing") as missing:
        Values(root).read(held)
    assert missing.value.exit_code == MachineError.exit_code


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "changed": lambda data: data.replace(b"x", b"y", 1),
    "shorter": lambda data: data[:-1],
    "longer": lambda data: data + b" ",
    "empty": lambda _data: b"",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_told_with_its_name(root: RunDirectory, damage: Callable[[bytes], bytes]) -> None:
    held = _kept(root, LARGE)
    path = root.value(held.sha256)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoredValueError, match=f"{path} is damaged"):
        Values(root).read(held)


def test_what_is_no_file_is_not_waited_for(root: RunDirectory) -> None:
    held = _kept(root, LARGE)
    path = root.value(held.sha256)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StoredValueError, match="is damaged"):
        Values(root).read(held)
    path.unlink()
    path.symlink_to(root.path)
    with pytest.raises(StoredValueError, match="cannot be read"):
        Values(root).read(held)


def test_a_value_that_cannot_be_written_is_told_with_its_name(root: RunDirectory) -> None:
    root.values.write_text("in the way")
    with pytest.raises(WriteFailedError, match="values"):
        Values(root).keep(LARGE)


# --- records ---


def _refers(held: Held) -> EventEmitted:
    return EventEmitted(T0, "dependents", event(payload=held))


def test_a_record_that_refers_to_a_value_is_of_format_2_and_comes_back(root: RunDirectory) -> None:
    held = _kept(root, LARGE)
    for record in (
        _refers(held),
        ChildPlanned(T0, "dependents", run_id(1), "acme/app", "main", "c0ffee", "check", held),
        run_started(1, event=event(payload=held)),
        run_started(1, inputs=held),
    ):
        line = line_of(record)
        assert json.loads(line)["kind"] == f"{type(record).__name__}/2"
        assert f'"sha256:{held.sha256}:{held.size}"'.encode() in line
        assert record_of(line[:-1]) == record


def test_without_a_reference_records_are_of_format_1() -> None:
    assert json.loads(line_of(_refers({"sha256": "no reference"})))["kind"] == "EventEmitted"
    assert json.loads(line_of(run_started()))["kind"] == "RunStarted"


@pytest.mark.parametrize("kind", ["EventEmitted/3", "EventStored/2", "/2", "Noted/3"])
def test_a_newer_format_is_refused(tmp_path: Path, kind: str) -> None:
    line = line_of(FanOutPlanned(T0, "dependents", 1, 1)).replace(b"FanOutPlanned", kind.encode())
    (tmp_path / "journal").write_bytes(_checked(line))
    with pytest.raises(JournalDamagedError, match=f"unknown kind of record '{kind}': written by a newer"):
        list(read_records(tmp_path / "journal"))


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:abc:3", f"sha256:{'a' * 64}", f"md5:{'a' * 64}:3"])
def test_what_is_no_reference_is_damage(tmp_path: Path, text: str) -> None:
    line = line_of(_refers(Stored("a" * 64, 3)))
    damaged = _checked(line.replace(f"sha256:{'a' * 64}:3".encode(), text.encode()))
    (tmp_path / "journal").write_bytes(line_of(run_started()) + damaged)
    with pytest.raises(JournalDamagedError, match="line 2: expected a reference"):
        list(read_records(tmp_path / "journal"))


def _checked(line: bytes) -> bytes:
    """A line with the checksum that it must have."""
    import zlib

    body = line[: line.rindex(b',"crc"')]
    return body + b',"crc":"%08x"}\n' % zlib.crc32(body + b"}")


def test_of_a_record_only_a_large_payload_is_stored(root: RunDirectory) -> None:
    values = Values(root)
    assert values.keep_event(_refers({"v": 1})) == _refers({"v": 1})
    assert values.keep_event(Noted(T0, "x" * STORED_MIN)) == Noted(T0, "x" * STORED_MIN)
    kept = values.keep_event(_refers(LARGE))
    assert isinstance(kept, EventEmitted)
    assert kept == evolve(kept, event=event(payload=_kept(root, LARGE)))
    assert values.keep_event(kept) is kept


# --- the same event, in both formats ---


def _in_both(root: RunDirectory) -> tuple[EventValue, EventValue]:
    return event(payload=LARGE), event(payload=_kept(root, LARGE))


def test_an_event_is_the_same_in_both_formats(root: RunDirectory) -> None:
    plain, referred = _in_both(root)
    for one in (plain, referred):
        for other in (plain, referred):
            assert same_event(one, other)
            assert not same_event(one, evolve(other, type="removed"))
        assert not same_event(one, event(payload={**LARGE, "name": "other"}))


def test_a_run_of_format_1_that_starts_over_with_its_event_keeps_its_children(root: RunDirectory) -> None:
    plain, referred = _in_both(root)
    state = fold(
        [
            run_started(),
            EventEmitted(T0, "dependents", plain),
            ChildPlanned(T0, "dependents", run_id(1), "acme/app", "main", "c0ffee", "check", {}),
            FanOutPlanned(T0, "dependents", 1, 1),
            EventEmitted(T0 + 9, "dependents", referred),
        ]
    )
    assert list(state.fan_outs["dependents"].children) == [run_id(1)]
