from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given

from tako.journal.codec import UnknownRecordError, decode, encode, structure
from tako.journal.log import line_of, record_of
from tako.journal.parts import ChildExecutionError
from tako.journal.records import Noted, Record, RunFinished, StepFinished, WorkerDied
from tako.journal.statuses import FailureKind, Status
from tests.support.records import KINDS, RECORDS, any_of, run_started


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_record_comes_back_as_it_was(kind: type[Any]) -> None:
    @given(any_of(kind))
    def comes_back(record: Record) -> None:
        assert decode(encode(record)) == record

    comes_back()


@given(RECORDS)
def test_a_record_comes_back_from_its_line(record: Record) -> None:
    line = line_of(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert record_of(line[:-1]) == record


def test_bytes_of_the_command_line_that_are_no_text_come_back() -> None:
    record = Noted(1.0, b"caf\xe9".decode("utf-8", "surrogateescape"))
    assert record_of(line_of(record)[:-1]) == record


def test_what_holds_its_default_is_left_out() -> None:
    assert encode(WorkerDied(1.0, 2, "gone")) == {
        "kind": "WorkerDied",
        "at": 1.0,
        "attempt": 2,
        "message": "gone",
    }
    assert "outputs" not in encode(StepFinished(1.0, "build", 1, "succeeded"))


def test_no_field_of_a_record_is_named_like_what_tells_its_kind() -> None:
    taken = {"kind", "inert", "crc"}
    assert [kind.__name__ for kind in KINDS if taken & attrs.fields_dict(kind).keys()] == []


def test_a_key_of_a_newer_tako_is_dropped() -> None:
    body = {**encode(run_started()), "colour": "blue"}
    body["identity"] = {**body["identity"], "cpu": 3}
    assert decode(body) == run_started()


def test_an_unknown_kind_is_refused_with_its_name() -> None:
    with pytest.raises(UnknownRecordError, match="unknown kind of record 'RunPaused': written by a newer"):
        decode({"kind": "RunPaused", "at": 1.0})


@pytest.mark.parametrize("inert", [1, "true", None])
def test_only_the_truth_itself_makes_an_unknown_kind_inert(inert: object) -> None:
    with pytest.raises(UnknownRecordError):
        decode({"kind": "RunPaused", "inert": inert})


def test_an_unknown_kind_that_changes_no_state_is_passed_over() -> None:
    assert decode({"kind": "Measured", "inert": True, "at": 1.0}) is None


def test_a_note_says_that_it_is_inert_so_that_an_older_tako_may_pass_over_it() -> None:
    assert encode(Noted(1.0, "hello"))["inert"] is True


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (5, str, "expected str, got 5"),
        ("5", int, "expected int, got '5'"),
        (True, int, "expected int, got True"),
        ("no", bool, "expected bool, got 'no'"),
        ("ab", tuple[str, ...], "expected list, got 'ab'"),
        ([["a", "b"]], dict[str, str], "expected dict"),
        (["a"], ChildExecutionError, "expected dict"),
        (1.5, int | None, "expected int, got 1.5"),
        ([1], tuple[str, ...], "expected str, got 1"),
        ({"a": 1}, dict[str, str], "expected str, got 1"),
    ],
)
def test_values_are_not_bent_into_the_type_wanted(value: object, kind: object, said: str) -> None:
    with pytest.raises(TypeError, match=said.replace("[", r"\[")):
        structure(value, kind)


def test_a_pair_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        structure(["a"], tuple[str, str])


def test_a_whole_number_is_a_number() -> None:
    assert structure(3, float) == 3.0
    assert type(structure(3, float)) is float


@pytest.mark.parametrize("body", [["kind"], "kind", None, 3])
def test_what_is_no_object_is_no_record(body: object) -> None:
    with pytest.raises(TypeError, match="expected dict"):
        decode(body)


def test_a_missing_field_is_refused() -> None:
    with pytest.raises(TypeError, match="message"):
        decode({"kind": "WorkerDied", "at": 1.0, "attempt": 1})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", "checksum is missing"),
        (b"{}", "checksum is missing"),
        (line_of(Noted(1.0, "a"))[:-1].replace(b'"a"', b'"b"'), "checksum is wrong"),
        (line_of(Noted(1.0, "a"))[:-2], "checksum is missing"),
        (line_of(Noted(1.0, "a"))[:-1].replace(b'"crc"', b'"CRC"'), "checksum is missing"),
    ],
)
def test_a_line_without_its_right_checksum_is_refused(line: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        record_of(line)


def test_a_number_that_json_does_not_have_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        line_of(Noted(float("nan"), "when?"))


@pytest.mark.parametrize("status", list(Status))
def test_a_status_is_a_plain_text_in_a_journal(status: Status) -> None:
    written = encode(RunFinished(0.0, status, error_kind=FailureKind.WORKER_DIED))
    assert (type(written["status"]), written["status"]) == (str, status.value)
    assert decode(written) == RunFinished(0.0, status.value, error_kind="worker_died")
