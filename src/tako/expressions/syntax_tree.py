"""What a template's `{{ }}` means: a tree of four kinds of nodes, and its value in a scope.

Nothing here can reach a Python attribute, call anything but the listed filters, or loop:
that is the whole language. What goes wrong is a `FlawError` at an offset into the expression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from tako.errors import UsageError
from tako.expressions.errors import suggestion
from tako.expressions.filters import FILTERS, as_text, checked_length, kind_of
from tako.values import value

Result = TypeVar("Result")
#: Called before each filter: may raise what ends an evaluation that takes too long.
Pause = Callable[[], None]
LITERAL_BRACES_HINT = 'a literal `{{` is written {{ "{{" }}'


class FlawError(UsageError):
    """A mistake `offset` characters into an expression; the owner of the text adds line and column."""

    def __init__(self, reason: str, offset: int, *, hint: str = "") -> None:
        super().__init__(reason, hint=hint)
        self.reason = reason
        self.offset = offset


class MissingFlawError(FlawError):
    """A reference to what is not in the scope; the filter `default` answers it."""


@value
class Literal:
    """A constant."""

    value: object
    offset: int = 0


@value
class Reference:
    """A path of keys and indexes into the scope."""

    path: tuple[str, ...]
    offset: int

    @property
    def dotted(self) -> str:
        """Return the path as people write it."""
        return ".".join(self.path)


@value
class Filtered:
    """A filter applied to a value."""

    name: str
    value: Node
    arguments: tuple[Node, ...]
    offset: int


@value
class Joined:
    """Texts put together by `~`."""

    parts: tuple[Node, ...]
    offset: int = 0


Node = Literal | Reference | Filtered | Joined


def no_pause() -> None:
    """Let an evaluation take its time."""


def value_of(node: Node, scope: Mapping[str, object], pause: Pause = no_pause) -> object:
    """Return the node's value. Raises `FlawError`, and what `pause` raises."""
    match node:
        case Literal():
            return node.value
        case Reference():
            return _looked_up(node, scope)
        case Joined():
            return text_of_all(node, scope, pause)
        case Filtered():
            return _filtered(node, scope, pause)


def text_of_all(node: Joined, scope: Mapping[str, object], pause: Pause = no_pause) -> str:
    """Put the texts of all parts together."""
    texts = []
    length = 0
    for part in node.parts:
        text = _guarded(part, as_text, value_of(part, scope, pause))
        length += len(text)
        _guarded(part, checked_length, length)
        texts.append(text)
    return "".join(texts)


def references(node: Node) -> Iterator[Reference]:
    """Return every reference below `node`, in the order of the text."""
    match node:
        case Reference():
            yield node
        case Joined():
            for part in node.parts:
                yield from references(part)
        case Filtered():
            for part in (node.value, *node.arguments):
                yield from references(part)


def unquoted_references(node: Node) -> Iterator[Reference]:
    """Return the references whose text reaches the output without `shell_quote` as its last filter."""
    match node:
        case Filtered(name="shell_quote"):
            return
        case Joined():
            for part in node.parts:
                yield from unquoted_references(part)
        case _:
            yield from references(node)


def _filtered(node: Filtered, scope: Mapping[str, object], pause: Pause) -> object:
    pause()
    try:
        value = value_of(node.value, scope, pause)
    except MissingFlawError:
        if node.name != "default":
            raise
        value = None
    arguments = [value_of(argument, scope, pause) for argument in node.arguments]
    result = _guarded(node, FILTERS[node.name].apply, value, *arguments)
    if isinstance(result, str):
        _guarded(node, checked_length, len(result))
    return result


def _guarded(node: Node, function: Callable[..., Result], *arguments: object) -> Result:
    """Call `function`; what it refuses becomes a flaw at the place of `node`."""
    try:
        return function(*arguments)
    except UsageError as error:
        raise FlawError(error.message, node.offset) from error


def _looked_up(node: Reference, scope: Mapping[str, object]) -> object:
    value: object = scope
    for depth, key in enumerate(node.path):
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list | tuple) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            raise _missing(node, depth, value)
    return value


def _missing(node: Reference, depth: int, value: object) -> MissingFlawError:
    path = node.path
    reason = f"`{node.dotted}` is not defined"
    if isinstance(value, list | tuple):
        return MissingFlawError(f"{reason}: the list has {len(value)} elements", node.offset)
    if not isinstance(value, Mapping):
        parent = ".".join(path[:depth])
        return MissingFlawError(f"{reason}: `{parent}` is {kind_of(value)}", node.offset)
    known = [".".join((*path[:depth], str(key))) for key in value]
    if depth == 0:
        names = ", ".join(f"`{name}`" for name in known) or "nothing"
        reason += suggestion(path[0], known) or f": here are {names}"
        return MissingFlawError(reason, node.offset, hint=LITERAL_BRACES_HINT)
    return MissingFlawError(reason + suggestion(".".join(path[: depth + 1]), known), node.offset)
