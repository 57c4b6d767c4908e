"""From the text inside `{{ }}` to a tree, by Jinja2's tokenizer and parser.

Jinja2 is the grammar, not the machine: its tokens are checked and rewritten one by one, its
syntax tree is translated by an allow-list, and no template is ever compiled to Python code.
The rewriting is what lets tako write `.inputs.version-bump`: every reference and every
filter becomes an alias (`r0`, `f1`) that the parser takes for a plain name, and the alias
leads back to the path and its exact place. Strings, white space and line numbers stay.

In: an expression of at most 4096 characters. Out: a `tree.Node`. Raises:
`tree.FlawError` with the offset into the expression.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from tako.expressions.errors import suggestion
from tako.expressions.filters import FILTERS
from tako.expressions.syntax_tree import Filtered, FlawError, Joined, Literal, Node, Reference
from tako.values import field, mutable, value

if TYPE_CHECKING:
    from jinja2 import nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

_LENGTH_MAX = 4096
_NESTING_MAX = 16
_FILTERS_MAX = 32
_SEGMENT = r"\w+(?:-\w+)*"
_PATH = re.compile(rf"\.?[^\W\d]\w*(?:-\w+)*(?:\.{_SEGMENT})*")
_TAIL = re.compile(rf"(?:\.{_SEGMENT})+")
_CONSTANTS = {"true": "true", "false": "false", "none": "none", "null": "none"}
_KEYWORDS = frozenset({"if", "else", "and", "or", "not", "is", "in"})
_LANGUAGE = 'a template knows names, texts, numbers, `~`, ["key"] and filters'


@value
class _Token:
    offset: int
    kind: str
    value: str


@mutable
class _Rewriting:
    """The tokens so far: `source` for Jinja2's parser, `marks` for the meaning of its names."""

    text: str
    source: list[str] = field(factory=list)
    references: dict[str, Reference] = field(factory=dict)
    filters: dict[str, tuple[str, int]] = field(factory=dict)
    done: int = 0
    nesting: int = 0
    # What came before: "" at the start and after an operator, else "operand", "|" or "filter".
    before: str = ""


@lru_cache(maxsize=1024)
def parse_expression(text: str) -> Node:
    """Read the text between `{{` and `}}`. Raises `FlawError`."""
    if len(text) > _LENGTH_MAX:
        message = f"the expression is longer than {_LENGTH_MAX} characters"
        raise FlawError(message, 0)
    if not text.strip():
        message = "the expression is empty"
        raise FlawError(message, 0)
    state = _Rewriting(text)
    for token in _tokens(text):
        if token.offset >= state.done:
            _take(state, token)
    if state.before in {"", "|"}:
        message = "the expression ends where a value was expected"
        raise FlawError(message, len(text.rstrip()))
    return _translated(_parsed("".join(state.source)), state)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(keep_trailing_newline=True)


def _tokens(text: str) -> Iterator[_Token]:
    from jinja2 import TemplateSyntaxError

    # Jinja2 makes one newline of CR LF, which would shift every offset after it.
    source = "{{" + text.replace("\r", " ") + "}}"
    offset = 0
    try:
        for _, kind, value in _environment().lexer.tokeniter(source, None):
            if kind not in {"variable_begin", "variable_end"}:
                yield _Token(offset - 2, kind, value)
            offset += len(value)
    except TemplateSyntaxError as error:
        message = str(error.message)
        found = re.fullmatch(r"(unexpected .*) at (\d+)", message)
        if found:
            raise FlawError(found[1], max(0, int(found[2]) - 2)) from error
        raise FlawError(message, 0) from error


def _take(state: _Rewriting, token: _Token) -> None:
    if token.kind == "whitespace":
        state.source.append(token.value)
    elif token.kind == "operator" and token.value != ".":
        _take_operator(state, token)
    elif state.before == "|":
        _take_filter(state, token)
    elif state.before:
        _take_tail(state, token)
    elif token.kind in {"name", "operator"}:
        _take_path(state, token)
    else:
        state.source.append(token.value)
        state.before = "operand"


def _take_operator(state: _Rewriting, token: _Token) -> None:
    if token.value not in {"|", "~", "(", ")", "[", "]", ","}:
        message = f"`{token.value}` is not available: {_LANGUAGE}"
        raise FlawError(message, token.offset)
    if token.value == "(" and state.before == "operand":
        message = f"calls are not available: {_LANGUAGE}"
        raise FlawError(message, token.offset)
    state.nesting += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token.value, 0)
    if state.nesting > _NESTING_MAX:
        message = f"the expression is nested more than {_NESTING_MAX} levels deep"
        raise FlawError(message, token.offset)
    state.source.append(token.value)
    state.before = {")": "operand", "]": "operand", "|": "|"}.get(token.value, "")


def _take_filter(state: _Rewriting, token: _Token) -> None:
    name = token.value
    if name not in FILTERS:
        message = f"there is no filter `{name}`{suggestion(name, list(FILTERS))}"
        raise FlawError(message, token.offset, hint="the filters are " + ", ".join(sorted(FILTERS)))
    if len(state.filters) == _FILTERS_MAX:
        message = f"the expression has more than {_FILTERS_MAX} filters"
        raise FlawError(message, token.offset)
    alias = f"f{len(state.filters)}"
    state.filters[alias] = (name, token.offset)
    state.source.append(alias)
    state.before = "filter"


def _take_tail(state: _Rewriting, token: _Token) -> None:
    """Take `.name` after `]` or a space; anything else after a value is a mistake."""
    found = _TAIL.match(state.text, token.offset)
    if state.before == "filter" or token.value != "." or found is None:
        message = f"unexpected `{token.value}` after a value"
        raise FlawError(message, token.offset)
    state.source += [f'["{part}"]' for part in found[0][1:].split(".")]
    state.done = found.end()


def _take_path(state: _Rewriting, token: _Token) -> None:
    found = _PATH.match(state.text, token.offset)
    if found is None:
        message = "expected a name after `.`"
        raise FlawError(message, token.offset)
    state.done = found.end()
    state.before = "operand"
    if found[0].lower() in _CONSTANTS:
        state.source.append(_CONSTANTS[found[0].lower()])
        return
    if found[0] in _KEYWORDS:
        message = f"`{found[0]}` is not available: {_LANGUAGE}"
        raise FlawError(message, token.offset)
    root, *rest = found[0].removeprefix(".").split(".")
    alias = f"r{len(state.references)}"
    state.references[alias] = Reference((root[0].lower() + root[1:], *rest), token.offset)
    state.source.append(alias)


def _parsed(source: str) -> nodes.Expr:
    from jinja2 import TemplateSyntaxError
    from jinja2.parser import Parser

    try:
        parser = Parser(_environment(), source, state="variable")
        expression = parser.parse_expression()
        if not parser.stream.eos:
            message = "unexpected text after a value"
            raise FlawError(message, 0)
    except TemplateSyntaxError as error:
        message = str(error.message)
        raise FlawError(message, 0) from error
    return expression


def _translated(node: nodes.Node, state: _Rewriting) -> Node:
    """Return tako's own node for one of Jinja2's; the kinds listed here are all there are."""
    from jinja2 import nodes

    match node:
        case nodes.Const():
            return Literal(_constant(node.value))
        case nodes.Name():
            return state.references[node.name]
        case nodes.Getitem(node=parent, arg=nodes.Const(value=key)):
            return _item(_translated(parent, state), key)
        case nodes.Concat():
            return Joined(tuple(_translated(part, state) for part in node.nodes))
        case nodes.Filter() if node.node is not None:
            return _filter(node, _translated(node.node, state), state)
    message = f"this is not available: {_LANGUAGE}"
    raise FlawError(message, 0)


def _constant(value: object) -> object:
    if isinstance(value, str) and not value.isascii():
        # An escape such as "\ud800" makes half a character, which no file or process can be given.
        try:
            value.encode()
        except UnicodeEncodeError as error:
            message = "a text holds half a surrogate pair, which is not Unicode"
            raise FlawError(message, 0) from error
    return value


def _item(node: Node, key: object) -> Reference:
    if not isinstance(node, Reference):
        message = "only a name can be followed by [...]; use `first` and `last` for the ends of a list"
        raise FlawError(message, node.offset)
    if isinstance(key, bool) or not isinstance(key, str | int):
        message = "the content of [...] must be a text or a whole number"
        raise FlawError(message, node.offset)
    return Reference((*node.path, str(key)), node.offset)


def _filter(node: nodes.Filter, value: Node, state: _Rewriting) -> Filtered:
    name, offset = state.filters[node.name]
    arguments = tuple(_translated(argument, state) for argument in node.args)
    allowed = FILTERS[name]
    if not allowed.fewest <= len(arguments) <= allowed.most:
        expected = f"{allowed.fewest}" if allowed.fewest == allowed.most else f"at most {allowed.most}"
        message = f"the filter `{name}` takes {expected} arguments, not {len(arguments)}"
        raise FlawError(message, offset)
    return Filtered(name, value, arguments, offset)
