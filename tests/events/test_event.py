"""The event as a value: what it refuses, its fingerprint and its JSON form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.errors import UsageError
from tako.events.event import Event, fingerprint
from tako.events.scope import event_scope
from tako.values import evolve

EVENT = Event("built", "1.2.0", {"version": "1.0.0", "n": [1, None]}, "Acme/Lib", "go-lib", "exec-1")
PAYLOADS = st.dictionaries(
    st.text(), st.integers() | st.text() | st.lists(st.booleans() | st.none()), max_size=4
)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "a b"}, "event type"),
        ({"type": ""}, "event type"),
        ({"artifact": "../x"}, "artifact"),
        ({"schema_version": "1.2"}, r"schema_version: '1\.2' is not a semantic version"),
        ({"payload": {"x": float("nan")}}, "payload: nan"),
        ({"payload": {1: 2}}, "payload: a key"),
        ({"payload": [1]}, "payload: expected a mapping, not a list"),
        ({"payload": {"x": "y" * (1 << 20)}}, "payload of event 'built' has 1048584 characters"),
    ],
)
def test_what_no_subscription_could_be_measured_against_is_refused(
    change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        evolve(EVENT, **change)


@given(PAYLOADS)
def test_an_event_reads_back_equal_from_json(payload: dict[str, object]) -> None:
    event = evolve(EVENT, payload=payload)
    read = Event.from_json(json.loads(json.dumps(event.to_json() | {"later": 1})))
    assert read == event
    assert fingerprint(read) == fingerprint(event)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], "JSON object"),
        ({}, "payload"),
        (EVENT.to_json() | {"payload": "x"}, "payload"),
        (EVENT.to_json() | {"type": 1}, "the type"),
        (EVENT.to_json() | {"run_id": None}, "the run_id"),
    ],
)
def test_json_that_is_no_event_is_refused(value: object, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        Event.from_json(value)


def test_the_fingerprint_is_that_of_the_canonical_parts() -> None:
    # By `printf '["built","acme/lib",...]' | sha256sum`: it must not change between releases.
    event = Event("built", "1.2.0", {"b": 1.0, "a": "é"}, "Acme/Lib", "go-lib", "exec-1")
    assert fingerprint(event) == "cd1783489e5d6cf73701172d7d610250d906607f0742a0978865951947eebdb4"


@pytest.mark.parametrize(
    "change",
    [
        {"type": "other"},
        {"schema_version": "1.2.1"},
        {"payload": {}},
        {"source": "acme/other"},
        {"artifact": "other"},
    ],
)
def test_each_part_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert fingerprint(evolve(EVENT, **change)) != fingerprint(EVENT)


@pytest.mark.parametrize(
    "change",
    [
        {"run_id": "exec-2"},
        {"source": "aCME/lIB"},
        {"payload": {"n": [1.0, None], "version": "1.0.0"}},
    ],
)
def test_run_case_and_order_do_not_change_the_fingerprint(change: dict[str, Any]) -> None:
    assert fingerprint(evolve(EVENT, **change)) == fingerprint(EVENT)


def test_templates_and_conditions_see_all_of_an_event() -> None:
    assert event_scope(EVENT) == {
        "type": "built",
        "schema_version": "1.2.0",
        "payload": {"version": "1.0.0", "n": [1, None]},
        "source": {"repository": "Acme/Lib", "artifact": "go-lib"},
        "run_id": "exec-1",
    }
