"""The filters of templates: small pure functions from a value and literal arguments to a value.

They take and return plain JSON values; a wrong value raises `FilterError`, to which
the caller adds the place. No result is larger than `TEXT_MAX` characters, and none is built
before that is known: `replace` and `join` could otherwise multiply two large texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from tako.errors import UsageError
from tako.expressions.canonical import canonical_json
from tako.values import value

TEXT_MAX = 1 << 20


class FilterError(UsageError):
    """A filter got a value or an argument it cannot take."""


@value
class Filter:
    """A filter takes between `fewest` and `most` arguments besides its value."""

    apply: Callable[..., object]
    fewest: int = 0
    most: int = 0


def as_text(value: object) -> str:
    """Return the text a value has in a template: `true`, nothing for null, JSON for lists and mappings."""
    match value:
        case str():
            return value
        case None:
            return ""
        case _:
            return canonical_json(value)


def checked_length(length: int) -> int:
    """Return `length` back if a text may be so long, else raise `FilterError`."""
    if length > TEXT_MAX:
        message = f"the result would be longer than {TEXT_MAX} characters"
        raise FilterError(message)
    return length


def _shell_quote(value: object) -> str:
    import shlex

    text = as_text(value)
    if "\0" in text:
        message = "`shell_quote` cannot quote a NUL character, no shell can read one"
        raise FilterError(message)
    return shlex.quote(text)


def _json_escape(value: object) -> str:
    return json.dumps(as_text(value))[1:-1]


def _url_encode(value: object) -> str:
    from urllib.parse import quote

    return quote(as_text(value), safe="")


def _html_escape(value: object) -> str:
    import html

    return html.escape(as_text(value), quote=True)


def _default(value: object, fallback: object) -> object:
    return fallback if value is None or value == "" else value


def _replace(value: object, old: object, new: object) -> str:
    text, gone, come = as_text(value), as_text(old), as_text(new)
    if not gone:
        message = "`replace` needs a text to look for"
        raise FilterError(message)
    checked_length(len(text) + text.count(gone) * (len(come) - len(gone)))
    return text.replace(gone, come)


def _items(value: object, name: str) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        message = f"`{name}` needs a list, not {kind_of(value)}"
        raise FilterError(message)
    return value


def _join(value: object, separator: object = "") -> str:
    texts = [as_text(item) for item in _items(value, "join")]
    between = as_text(separator)
    checked_length(sum(map(len, texts)) + len(between) * len(texts))
    return between.join(texts)


def _split(value: object, separator: object) -> list[str]:
    between = as_text(separator)
    if not between:
        message = "`split` needs a text to split at"
        raise FilterError(message)
    return as_text(value).split(between)


def _length(value: object) -> int:
    if not isinstance(value, str | list | tuple | Mapping):
        message = f"`length` needs a text, list or mapping, not {kind_of(value)}"
        raise FilterError(message)
    return len(value)


def _end_of(value: object, name: str, index: int) -> object:
    items = value if isinstance(value, str) else _items(value, name)
    if not items:
        message = f"`{name}` needs at least one element"
        raise FilterError(message)
    return items[index]


def kind_of(value: object) -> str:
    """Name the kind of a JSON value as people call it."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case _:
            return "a mapping" if isinstance(value, Mapping) else "a list"


FILTERS: Mapping[str, Filter] = {
    "shell_quote": Filter(_shell_quote),
    "json_escape": Filter(_json_escape),
    "url_encode": Filter(_url_encode),
    "html_escape": Filter(_html_escape),
    "default": Filter(_default, 1, 1),
    "upper": Filter(lambda value: as_text(value).upper()),
    "lower": Filter(lambda value: as_text(value).lower()),
    "trim": Filter(lambda value: as_text(value).strip()),
    "replace": Filter(_replace, 2, 2),
    "join": Filter(_join, 0, 1),
    "split": Filter(_split, 1, 1),
    "to_json": Filter(canonical_json),
    "length": Filter(_length),
    "first": Filter(lambda value: _end_of(value, "first", 0)),
    "last": Filter(lambda value: _end_of(value, "last", -1)),
}
