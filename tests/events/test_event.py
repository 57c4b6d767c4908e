"""The event as a value: what it refuses, and its fingerprint."""

from __future__ import annotations

from typing import Any

import pytest

from tako.errors import UsageError
from tako.events.event import Event, checked_event, fingerprint
from tako.events.scope import event_scope
from tako.values import evolve

EVENT = Event("built", "1.2.0", {"version": "1.0.0", "n": [1, None]}, "Acme/Lib", "go-lib", "exec-1")


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
        checked_event(evolve(EVENT, **change))


def test_an_event_that_can_be_emitted_comes_back_as_it_is() -> None:
    assert checked_event(EVENT) is EVENT


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
