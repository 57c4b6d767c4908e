"""Makes journal records: typical ones for stories, arbitrary ones for properties."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import attrs
from hypothesis import strategies as st

from tako.journal.log import Writer
from tako.journal.parts import EventValue, Moment, Stored
from tako.journal.records import Record, RunStarted
from tako.system.process.identity import Identity
from tako.values import evolve

KINDS: tuple[type[Any], ...] = get_args(Record)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    Any: JSON,
    str: st.text(max_size=20),
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    Moment: st.floats(-62_135_596_800.0, 253_402_300_799.0),
    bool: st.booleans(),
    type(None): st.none(),
}


def any_of(kind: Any) -> st.SearchStrategy[Any]:  # noqa: ANN401 - a type, as annotations spell it
    """Give any value of a type that records are made of."""
    if kind is Stored:
        return st.builds(Stored, st.from_regex("[0-9a-f]{64}", fullmatch=True), st.integers(0, 10**12 - 1))
    if attrs.has(kind):
        hints = get_type_hints(kind, include_extras=True)
        return st.builds(kind, **{field.name: any_of(hints[field.name]) for field in attrs.fields(kind)})
    if kind in _SCALARS:
        return _SCALARS[kind]
    inner = get_args(kind)
    match get_origin(kind):
        case types.UnionType | typing.Union:
            return st.one_of(*map(any_of, inner))
        case origin if origin is tuple and inner[1:] == (Ellipsis,):
            return st.lists(any_of(inner[0]), max_size=3).map(tuple)
        case origin if origin is tuple:
            return st.tuples(*map(any_of, inner))
        case origin if origin is not None and issubclass(origin, Mapping):
            return st.dictionaries(st.text(max_size=8), any_of(inner[1]), max_size=3)
    message = f"{kind} is none of a record's"
    raise TypeError(message)


RECORDS: st.SearchStrategy[Any] = st.one_of(*map(any_of, KINDS))
"""Any record of any kind."""

IDENTITY = Identity("9a1c", "5b0e", "pid:[4026531836]", 4242, 99)
T0 = 1_700_000_000.0
"""2023-11-14T22:13:20Z, when every story begins."""


def run_id(number: int) -> str:
    """Give the id of a story's run."""
    return f"exec-20231114-221320-{number:08x}"


def event(**changes: Any) -> EventValue:  # noqa: ANN401 - any field
    """Give the event `built` of acme/lib."""
    whole = EventValue("built", "1.0.0", {"version": "1.2.3"}, "acme/lib", "default", run_id(0))
    return evolve(whole, **changes)


def run_started(number: int = 0, *, at: float = T0, **changes: Any) -> RunStarted:  # noqa: ANN401
    """Give the beginning of run `number`."""
    whole = RunStarted(
        at=at,
        run_id=run_id(number),
        root_run_id=run_id(0),
        repository="acme/lib",
        branch="main",
        commit="c0ffee",
        workflow="release",
        inputs={},
        source="/src",
        config_digest="d1",
        isolation="process",
        identity=IDENTITY,
        temporary="/tmp/t",
        version="0.0",
    )
    return evolve(whole, **changes)


def write_journal(path: Path, *records: Record) -> None:
    """Write a whole journal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Writer(path) as journal:
        for record in records:
            journal.append(record)
