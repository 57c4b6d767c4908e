"""Canonical JSON (RFC 8785): equal values give equal bytes, wherever they came from.

Keys are sorted by UTF-16 code units, there are no spaces, numbers are written as ECMAScript
writes them, so `1.0` from YAML and `1` from JSON are the same. Whole numbers are written
exactly, also those beyond 2**53. Refused with `UsageError`: NaN, infinities, keys that are
not texts, text that is not Unicode, other types, nesting deeper than 64.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal

from tako.errors import UsageError

DEPTH_MAX = 64


def canonical_json(value: object) -> str:
    """Write `value`, made of plain JSON values, canonically. Raises `UsageError`."""
    return _written(value, 0)


def _written(value: object, depth: int) -> str:
    if depth > DEPTH_MAX:
        message = f"a value is nested more than {DEPTH_MAX} levels deep"
        raise UsageError(message)
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case int():
            return _integer(value)
        case float():
            return _number(value)
        case Mapping():
            return _mapping(value, depth)
        case list() | tuple():
            return "[" + ",".join(_written(item, depth + 1) for item in value) + "]"
    message = f"a {type(value).__name__} is not a JSON value"
    raise UsageError(message)


def _mapping(value: Mapping[object, object], depth: int) -> str:
    texts = {key: item for key, item in value.items() if isinstance(key, str)}
    if len(texts) != len(value):
        message = "a key of a JSON object must be a text"
        raise UsageError(message)
    # Written before sorted: writing refuses the lone surrogates that UTF-16 cannot encode.
    members = [(key, f"{_text(key)}:{_written(item, depth + 1)}") for key, item in texts.items()]
    members.sort(key=lambda member: member[0].encode("utf-16-be"))
    return "{" + ",".join(written for _, written in members) + "}"


def _text(value: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in value if character > "\ud7ff"):
        message = "a text holds half a surrogate pair, which is not Unicode"
        raise UsageError(message)
    return json.dumps(value, ensure_ascii=False)


def _integer(value: int) -> str:
    # CPython refuses to print numbers of more than 4300 digits, with a ValueError.
    if value.bit_length() > 1024:
        message = "a whole number has more than 1024 bits"
        raise UsageError(message)
    return str(int(value))


def _number(value: float) -> str:
    """Write a double as ECMAScript's Number::toString does (RFC 8785, section 3.2.2.3)."""
    if not math.isfinite(value):
        message = f"{value} is not a JSON number"
        raise UsageError(message)
    if value == 0:
        return "0"
    # repr gives the shortest digits that read back the same, as ECMAScript asks; only the form differs.
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text = "".join(map(str, digits))
    return ("-" if sign else "") + _placed(text, len(text) + int(exponent))


def _placed(digits: str, point: int) -> str:
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"
