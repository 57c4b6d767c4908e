"""The functions that conditions have beyond CEL's own: `semver.*` and string helpers.

They replace CEL's string extension because they are bounded: what one evaluation makes in
all is at most `MADE_MAX` characters (CEL frees nothing before it ends). What they refuse is
a `ValueError`, which CEL turns into an error value.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from tako.errors import UsageError
from tako.expressions.semver import Version, compare, parse_version

if TYPE_CHECKING:
    from cel_expr_python import cel

MADE_MAX = 4 << 20
_made = threading.local()


def begin_evaluation() -> None:
    """Start counting anew, for this thread."""
    _made.characters = 0


def declarations() -> list[cel.FunctionDecl]:
    """Declare all functions to CEL, each with its implementation."""
    from cel_expr_python import cel

    text, number = cel.Type.STRING, cel.Type.INT
    texts, values = cel.Type.List(text), cel.Type.List(cel.Type.DYN)
    return [
        # For macros over mappings: `cel_source` calls it.
        _function("tako_keys", [([cel.Type.Map(text, cel.Type.DYN)], texts, _keys)], methods=True),
        _function("semver.major", [([text], number, lambda value: _version(value).major)]),
        _function("semver.minor", [([text], number, lambda value: _version(value).minor)]),
        _function("semver.patch", [([text], number, lambda value: _version(value).patch)]),
        _function("semver.compare", [([text, text], number, _compare)]),
        _function("semver.valid", [([text], cel.Type.BOOL, _valid)]),
        _method("lower", [([text], text, lambda value: _bounded(value.lower()))]),
        _method("upper", [([text], text, lambda value: _bounded(value.upper()))]),
        _method("lowerAscii", [([text], text, lambda value: _bounded(_ascii(value, str.lower)))]),
        _method("upperAscii", [([text], text, lambda value: _bounded(_ascii(value, str.upper)))]),
        _method("trim", [([text], text, lambda value: _bounded(value.strip()))]),
        _method("split", [([text, text], texts, _split)]),
        _method("join", [([values], text, _join), ([values, text], text, _join)]),
        _method("replace", [([text, text, text], text, _replace)]),
        _method(
            "substring",
            [([text, number], text, _substring), ([text, number, number], text, _substring)],
        ),
    ]


_Overload = tuple[list["cel.Type"], "cel.Type", Callable[..., object]]


def _function(name: str, overloads: list[_Overload], *, methods: bool = False) -> cel.FunctionDecl:
    from cel_expr_python import cel

    forms = (False, True) if methods else (False,)
    return cel.FunctionDecl(
        name,
        [
            cel.Overload(
                f"tako_{name}_{len(parameters)}_{'method' if member else 'function'}",
                return_type=result,
                parameters=parameters,
                is_member=member,
                impl=implementation,
            )
            for parameters, result, implementation in overloads
            for member in forms
        ],
    )


def _method(name: str, overloads: list[_Overload]) -> cel.FunctionDecl:
    """Declare both `trim(text)` and `text.trim()`."""
    return _function(name, overloads, methods=True)


def _version(text: str) -> Version:
    """Read a version; the `v` of git tags is left out."""
    try:
        return parse_version(text.removeprefix("v"))
    except UsageError as error:
        raise ValueError(error.message) from error


def _valid(text: str) -> bool:
    try:
        return bool(_version(text).key)
    except ValueError:
        return False


def _compare(left: str, right: str) -> int:
    return compare(_version(left), _version(right))


def _spend(characters: int) -> None:
    _made.characters = getattr(_made, "characters", 0) + characters
    if _made.characters > MADE_MAX:
        message = f"the condition makes more than {MADE_MAX} characters of text"
        raise ValueError(message)


def _keys(mapping: dict[str, object]) -> list[str]:
    _spend(sum(map(len, mapping)) + len(mapping))
    return sorted(mapping)


def _bounded(text: str) -> str:
    _spend(len(text))
    return _whole(text)


def _whole(text: str) -> str:
    if "\0" in text:
        # An escape in the condition made it.
        message = "a text holds a NUL character, at which CEL would cut it"
        raise ValueError(message)
    return text


def _ascii(text: str, change: Callable[[str], str]) -> str:
    return "".join(change(character) if character.isascii() else character for character in text)


def _split(text: str, separator: str) -> list[str]:
    _spend(len(text))
    return _whole(text).split(separator) if separator else list(_whole(text))


def _join(texts: list[object], separator: str = "") -> str:
    parts = [text for text in texts if isinstance(text, str)]
    if len(parts) != len(texts):
        message = "join needs a list of texts"
        raise ValueError(message)
    _spend(sum(map(len, parts)) + len(separator) * len(parts))
    return _whole(separator.join(parts))


def _replace(text: str, old: str, new: str) -> str:
    _spend(len(text) + text.count(old) * len(new))
    return _whole(text.replace(old, new))


def _substring(text: str, start: int, end: int | None = None) -> str:
    last = len(text) if end is None else end
    if not 0 <= start <= last <= len(text):
        message = f"substring({start}, {last}) is outside a text of {len(text)} characters"
        raise ValueError(message)
    return _bounded(text[start:last])
