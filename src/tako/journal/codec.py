"""From records to plain JSON and back, strictly: a number is not taken for a text.

In: a record, or what a line of a journal holds. Out: the other. Raises `UnknownRecordError` for a kind
that this version does not know and may not pass over, `ValueError` or `TypeError` for fields that do not fit.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from tako.journal.parts import EventValue, Held, Stored
from tako.journal.records import Noted, Record, SandboxEntered, Warned
from tako.values import fields, is_value_class

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Record)}
_INERT = (SandboxEntered, Noted, Warned)
#: What the kind of a record ends in that refers to a stored value.
_FORMAT_2 = "/2"
_STORED = re.compile("sha256:([0-9a-f]{64}):([0-9]{1,12})")


class UnknownRecordError(ValueError):
    """A record of a kind that this version does not know and may not pass over."""


def encode(record: Record) -> dict[str, Any]:
    """Give a record as plain JSON: its kind, its fields without those that hold their default."""
    body: dict[str, Any] = {"kind": type(record).__name__ + (_FORMAT_2 if _refers(record) else "")}
    if isinstance(record, _INERT):
        body["inert"] = True
    body.update(_plain(record))
    return body


def decode(body: Any) -> Record | None:
    """Undo `encode`; None for an unknown kind that says it changes no state.

    Raises `UnknownRecordError` for any other unknown kind, `ValueError` or `TypeError` for fields
    that do not fit.
    """
    name = _checked(_checked(body, dict).get("kind", ""), str)
    kind = _KINDS.get(name.removesuffix(_FORMAT_2))
    if kind is not None:
        record: Record = structure(body, kind)
        return record
    if body.get("inert") is True:
        return None
    message = f"unknown kind of record {body.get('kind')!r}: written by a newer tako?"
    raise UnknownRecordError(message)


def _refers(record: Record) -> bool:
    """Whether a record refers to a stored value."""
    event = getattr(record, "event", None)
    held = getattr(record, "inputs", None), event.payload if isinstance(event, EventValue) else None
    return any(isinstance(value, Stored) for value in held)


def _plain(value: Any) -> Any:
    kind: Any = type(value)
    if kind in (str, int, float, bool, type(None)):
        return value
    if isinstance(value, str):
        # A member of a StrEnum.
        return str(value)
    if kind is Stored:
        return str(value)
    if is_value_class(kind):
        return {
            name: _plain(held)
            for name, default in _defaults(kind)
            if (held := getattr(value, name)) != default
        }
    if isinstance(value, Mapping):
        return {key: _plain(held) for key, held in value.items()}
    return [_plain(held) for held in value]


@cache
def _defaults(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    """Each field with the default under which it is left out."""
    return tuple((one.name, one.made_default()) for one in fields(kind))


def structure(value: Any, kind: Any) -> Any:
    """Make a value of the type `kind` from plain JSON, strictly: a number is not taken for a text.

    Knows classes of values, tuples, mappings, optional types and the JSON scalars, which is all that records
    and segments are made of. (cattrs would cost every start of tako half a budgeted child.)
    """
    return _maker(kind)(value)


@cache
def _maker(kind: Any) -> Callable[[Any], Any]:
    """What makes values of one type: found once, as asking a type what it is takes longer than the making."""
    if kind in (Any, Held):
        return _make_held if kind == Held else lambda value: value
    if is_value_class(kind):
        return partial(_make_value, kind)
    origin, of = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return lambda value: None if value is None else structure(value, of[0])
    if origin is Annotated:
        return lambda value: _within(_number(value), *of[1])
    if origin is tuple:
        return lambda value: _make_tuple(_checked(value, list), of)
    if origin is not None:
        return lambda value: {key: structure(held, of[1]) for key, held in _checked(value, dict).items()}
    if kind is float:
        return _number
    return lambda value: _checked(value, kind)


def _make_value(kind: Any, value: Any) -> Any:
    makers = _makers(kind)
    given = _checked(value, dict).items()
    return kind(**{name: makers[name](held) for name, held in given if name in makers})


@cache
def _makers(kind: type[Any]) -> Mapping[str, Callable[[Any], Any]]:
    known = {one.name for one in fields(kind)}
    return {
        name: _maker(hint)
        for name, hint in get_type_hints(kind, include_extras=True).items()
        if name in known
    }


def _checked(value: Any, kind: type[Any]) -> Any:
    if type(value) is not kind:
        message = f"expected {kind.__name__}, got {value!r}"
        raise TypeError(message)
    return value


def _number(value: Any) -> float:
    number = float(value) if type(value) is int else _checked(value, float)
    if not math.isfinite(number):
        message = f"{number} is no number of seconds"
        raise ValueError(message)
    return number


def _within(number: float, first: float, last: float) -> float:
    if not first <= number <= last:
        message = f"{number:g} is a time that no calendar has"
        raise ValueError(message)
    return number


def _make_held(value: Any) -> Held:
    if type(value) is not str:
        plain: dict[str, Any] = _checked(value, dict)
        return plain
    found = _STORED.fullmatch(value)
    if found is None:
        message = f"expected a reference to a stored value, got {value!r}"
        raise ValueError(message)
    return Stored(found[1], int(found[2]))


def _make_tuple(value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(structure(held, kinds[0]) for held in value)
    return tuple(structure(held, kind) for held, kind in zip(value, kinds, strict=True))
