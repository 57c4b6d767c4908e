"""Which subscriptions take an event, and the sentence that says why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tako.config.schema import Subscription
from tako.errors import UsageError
from tako.events.event import Event
from tako.events.matching import ArtifactReference, Filtered, Matched, match, parse_artifact, same_repository
from tako.expressions.cel import evaluate_condition
from tako.values import evolve

EVENT = Event("built", "1.2.0", {"version": "2.1.0"}, "My-Org/go-lib", "go-lib", "exec-1")
SUBSCRIPTION = Subscription(
    artifact="my-org/go-lib:go-lib",
    events=("tagged", "built"),
    workflow="test",
    schema_version="(1.1.0...2.0.0]",
    filters=("semver.major(event.payload.version) > 0", "event.source.artifact == 'go-lib'"),
)


def test_a_subscription_whose_every_part_fits_takes_the_event() -> None:
    assert match(EVENT, SUBSCRIPTION, evaluate_condition) == Matched()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"artifact": "my-org/py-lib:go-lib"}, "the event comes from My-Org/go-lib, not from my-org/py-lib"),
        ({"artifact": "my-org/go-lib:Go-lib"}, "the event is about artifact go-lib, not Go-lib"),
        ({"artifact": "my-org/go-lib"}, "the event is about artifact go-lib, not default"),
        ({"events": ("tagged",)}, "event type built is not among tagged"),
        ({"events": ()}, "event type built is not among none"),
        ({"schema_version": "(1.2.0...2.0.0]"}, "schema version 1.2.0 is outside (1.2.0...2.0.0]"),
        ({"filters": ("true", "1 > 2")}, "filter `1 > 2` is false"),
        (
            {"filters": ("event.payload.nope == 1",)},
            'filter `event.payload.nope == 1` reads a missing field: there is no field "nope"',
        ),
    ],
)
def test_one_that_does_not_fit_is_filtered_with_a_sentence(change: dict[str, Any], reason: str) -> None:
    assert match(EVENT, evolve(SUBSCRIPTION, **change), evaluate_condition) == Filtered(reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"artifact": "go-lib"}, "'go-lib' is not an artifact"),
        ({"schema_version": "1.2.0..."}, "'1.2.0...' is not a version range"),
        ({"filters": ("1 +",)}, "filter `1 +` failed: Syntax error"),
        ({"filters": ("1",)}, "filter `1` failed: the condition gives int"),
        (
            {"filters": ("semver.major('x') > 0",)},
            "filter `semver.major('x') > 0` failed: the condition failed",
        ),
    ],
)
def test_a_subscription_that_is_wrong_itself_says_so_and_raises_nothing(
    change: dict[str, Any], reason: str
) -> None:
    found = match(EVENT, evolve(SUBSCRIPTION, **change), evaluate_condition)
    assert isinstance(found, Filtered)
    assert found.failed
    assert found.reason.startswith(reason)


def test_filters_are_asked_in_order_and_only_when_all_else_fits() -> None:
    asked: list[str] = []

    def evaluate(text: str, scope: Mapping[str, object]) -> bool:
        asked.append(text)
        assert set(scope) == {"event"}
        return text != "second"

    subscription = evolve(SUBSCRIPTION, filters=("first", "second", "third"))
    assert match(EVENT, subscription, evaluate) == Filtered("filter `second` is false")
    assert match(evolve(EVENT, type="other"), subscription, evaluate) != Matched()
    assert asked == ["first", "second"]


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("acme/lib", "Acme/LIB", True),
        ("github.com/acme/lib", "acme/lib", True),
        ("acme/lib", "localhost:3000/acme/lib", True),
        ("github.com/acme/lib", "GitHub.com/acme/lib", True),
        ("github.com/acme/lib", "gitlab.com/acme/lib", False),
        ("acme/group/lib", "acme/lib", False),
        ("acme/group/lib", "group/lib", False),
        ("acme.io/lib", "acme.io/lib", True),
        ("acme.io/lib", "other/lib", False),
        ("acme/lib", "acme/lib2", False),
    ],
)
def test_repositories_are_the_same_but_for_case_and_a_host_only_one_names(
    left: str, right: str, same: object
) -> None:
    assert same_repository(left, right) is same
    assert same_repository(right, left) is same


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("o/n:a", ArtifactReference("o/n", "a")),
        ("o/n", ArtifactReference("o/n", "default")),
        ("host:80/o/g/n:a", ArtifactReference("host:80/o/g/n", "a")),
    ],
)
def test_an_artifact_is_read_from_behind(text: str, expected: ArtifactReference) -> None:
    assert parse_artifact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "n",
        "n:a",
        "/n:a",
        "o//n:a",
        "o/:a",
        "o/n:",
        "o/n:a:b",
        "o/n:../x",
        "../n:a",
        "o/..:a",
        "o/ n:a",
        "a:b/o:c/n:x",
    ],
)
def test_what_is_no_artifact_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="artifact"):
        parse_artifact(text)
