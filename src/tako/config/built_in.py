"""Reads `with:` of the built-in steps; each has the name that stands under `uses:`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tako.config.names import known_artifact, timeout
from tako.config.reading.values import Value

FAN_OUT = "tako/fan-out@v1"
_Reader = Callable[[Value], object]


def read_with(uses: str, value: Value, artifacts: Mapping[str, object]) -> dict[str, object]:
    """Return the checked values of `with:` as plain data; `timeout` as seconds."""
    readers = {"artifact": lambda found: known_artifact(found, artifacts), **_BUILT_IN[uses]}
    table = value.table(readers)
    return {name: readers[name](item) for name, item in table.entries.items() if name in readers}


def missing_with(uses: str, given: Mapping[str, object]) -> tuple[str, ...]:
    """Name the keys of `with:` that this built-in step needs and did not get."""
    return tuple(name for name in _NEEDED[uses] if name not in given)


def _event_type(value: Value) -> object:
    return value.name("event type")


def _payload(value: Value) -> object:
    return {name: item.data() for name, item in value.entries().items()}


_BUILT_IN: Mapping[str, Mapping[str, _Reader]] = {
    FAN_OUT: {
        "event_type": _event_type,
        "payload": _payload,
        "schema_version": Value.filled_text,
        "wait_for_children": Value.boolean,
        "timeout": timeout,
        "concurrency_limit": lambda value: value.integer(1),
        "on_child_failure": lambda value: value.choice(("fail", "fail_fast", "ignore")),
        "idempotent": Value.boolean,
    }
}
_NEEDED = {FAN_OUT: ("event_type",)}
BUILT_IN = tuple(_BUILT_IN)
