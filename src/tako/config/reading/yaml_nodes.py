"""A YAML file as a small tree that keeps the place and the text of everything.

A plain scalar stays text until a schema asks for a value; `resolved` then reads it by the
core schema of YAML 1.2, so that `on`, `no` and `1:30` are strings and only `true`, `false`,
`null`, `~` and numbers are something else (https://yaml.org/spec/1.2.2/#103-core-schema).
"""

from __future__ import annotations

import math
import re
from typing import ClassVar

from tako.config.schema import Mark
from tako.values import value

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_BASES = {"0o": 8, "0x": 16}
_TEXT_OF_A_NODE = 100
_DIGITS_MAX = 25
_INTEGER_BITS = 63


@value
class Scalar:
    """A text; `quoted` also for block scalars: it can only be a string."""

    mark: Mark
    text: str
    quoted: bool
    height: ClassVar[int] = 0

    @property
    def size(self) -> int:
        """Count a long text as several nodes: each alias to it is written out somewhere."""
        return 1 + len(self.text) // _TEXT_OF_A_NODE


@value
class ListNode:
    """A sequence; `size` counts nodes and `height` levels below, aliases expanded."""

    mark: Mark
    items: tuple[Node, ...]
    size: int
    height: int


@value
class MapNode:
    """A mapping with its keys in the order of the file, duplicates included."""

    mark: Mark
    entries: tuple[tuple[Scalar, Node], ...]
    size: int
    height: int


Node = Scalar | ListNode | MapNode


def resolved(node: Scalar) -> str | int | float | bool | None:
    """Return the value of a scalar.

    Raises `ValueError` for a number that JSON and CEL cannot hold.
    """
    text = node.text
    if node.quoted:
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return _integer(text)
    return _float(text) if _FLOAT.fullmatch(text) else text


def kind(node: Node) -> str:
    """Name what a node is, for messages: `a list`, `a boolean`, `nothing`."""
    if isinstance(node, ListNode):
        return "a list"
    if isinstance(node, MapNode):
        return "a mapping"
    if node.quoted:
        return "a string"
    if node.text in _NULLS:
        return "nothing"
    if node.text in _BOOLEANS:
        return "a boolean"
    if _INTEGER.fullmatch(node.text):
        return "an integer"
    return "a number" if _FLOAT.fullmatch(node.text) else "a string"


def _integer(text: str) -> int:
    # int() of a very long text is slow and refused by Python itself beyond 4,300 digits.
    value = int(text, _BASES.get(text[:2], 10)) if len(text) <= _DIGITS_MAX else None
    if value is None or not -(2**_INTEGER_BITS) <= value < 2**_INTEGER_BITS:
        message = "this number does not fit into 64 bits; quote it if it is a text"
        raise ValueError(message)
    return value


def _float(text: str) -> float:
    value = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    if not math.isfinite(value):
        message = "this is not a finite number; quote it if it is a text"
        raise ValueError(message)
    return value
