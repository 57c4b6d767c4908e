"""Templates: texts with `{{ }}` in them, as in a tako.yml.

    ./build.sh --bump {{ .inputs.version-bump | shell_quote }}

Inside the braces stand references (`.inputs.x`, `.steps.build.outputs.version`, `.event...`,
`.env.X`, `.outputs.x`; with or without the leading dot, first letter in either case, hyphens
allowed), texts, numbers, `~` between texts, `["key"]`, and filters. A literal `{{` is
written `{{ "{{" }}`. `{{-` and `-}}` remove the white space on their side. Everything
outside the braces, such as bash's `${#a[@]}` or `{%`, passes unchanged.

In: a text and a scope of plain values. Out: a text. Raises `ExpressionError`
with line and column inside the text. Jinja2 is imported only for a text with braces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tako.errors import UsageError
from tako.expressions.errors import error_at, place_of
from tako.expressions.filters import TEXT_MAX, as_text
from tako.expressions.syntax_tree import (
    LITERAL_BRACES_HINT,
    FlawError,
    Node,
    Pause,
    no_pause,
    references,
    unquoted_references,
    value_of,
)
from tako.values import value

_EXPRESSIONS_MAX = 10_000
_STRING = r"'[^'\\]*(?:\\.[^'\\]*)*'" + r'|"[^"\\]*(?:\\.[^"\\]*)*"'
# Each alternative starts differently, so going back finds nothing new: linear in the length of any text.
# Not possessive: groups repeated with `*+` match wrongly on CPython before 3.11.5 (gh-106052).
_BRACES = re.compile(rf"\{{\{{(?P<trim>-?)(?P<inner>(?:[^'\"}}]|{_STRING}|\}}(?!\}}))*)\}}\}}", re.DOTALL)


@value
class _Expression:
    offset: int
    node: Node


@value
class Template:
    """A text that was read, ready to be rendered any number of times."""

    text: str
    pieces: tuple[str | _Expression, ...]

    @property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """Every path that is read, such as `("steps", "build", "outputs", "version")`, in order."""
        return tuple(dict.fromkeys(found.path for node in self._nodes for found in references(node)))

    @property
    def unquoted_places(self) -> tuple[tuple[tuple[str, ...], int], ...]:
        """Each path whose text does not pass through `shell_quote` last, with its line, from 1."""
        found = (
            (name.path, place_of(self.text, piece.offset + name.offset)[0])
            for piece in self.pieces
            if isinstance(piece, _Expression)
            for name in unquoted_references(piece.node)
        )
        return tuple(dict.fromkeys(found))

    @property
    def _nodes(self) -> Iterator[Node]:
        return (piece.node for piece in self.pieces if isinstance(piece, _Expression))

    def render(self, scope: Mapping[str, object], pause: Pause = no_pause) -> str:
        """Return the text with every expression replaced by its value; `pause` is called now and then.

        Raises `ExpressionError` for a reference that is not in `scope`, a filter that refuses
        its value, or a result of more than 1 MiB.
        """
        texts = []
        length = 0
        for piece in self.pieces:
            text = piece if isinstance(piece, str) else self._rendered(piece, scope, pause)
            length += len(text)
            if length > TEXT_MAX:
                raise error_at(self.text, 0, f"the text would become longer than {TEXT_MAX} characters")
            texts.append(text)
        return "".join(texts)

    def _rendered(self, piece: _Expression, scope: Mapping[str, object], pause: Pause) -> str:
        pause()
        try:
            return as_text(value_of(piece.node, scope, pause))
        except FlawError as flaw:
            raise error_at(self.text, piece.offset + flaw.offset, flaw.reason, hint=flaw.hint) from flaw
        except UsageError as error:
            raise error_at(self.text, piece.offset, error.message) from error


def parse_template(text: str) -> Template:
    """Read a text. Raises `ExpressionError` with line and column inside it."""
    if len(text) > TEXT_MAX:
        raise error_at(text[:TEXT_MAX], 0, f"the text is longer than {TEXT_MAX} characters")
    pieces: list[str | _Expression] = []
    done, trim = 0, False
    while (start := text.find("{{", done)) >= 0:
        # Of more than two braces the last two open the expression: `${{{ .x }}}` is `${`, a value, `}`.
        while text.startswith("{{{", start):
            start += 1
        found = _BRACES.match(text, start)
        if found is None:
            raise error_at(text, start, "this `{{` is never closed by `}}`", hint=LITERAL_BRACES_HINT)
        pieces.append(_between(text[done:start], left=trim, right=bool(found["trim"])))
        pieces.append(_expression(text, found))
        done, trim = found.end(), found["inner"].endswith("-")
        if len(pieces) > 2 * _EXPRESSIONS_MAX:
            raise error_at(text, start, f"the text holds more than {_EXPRESSIONS_MAX} expressions")
    pieces.append(_between(text[done:], left=trim, right=False))
    return Template(text, tuple(piece for piece in pieces if piece != ""))


def render(text: str, scope: Mapping[str, object], pause: Pause = no_pause) -> str:
    """Render `text`; a text without `{{` is returned unchanged. Raises `ExpressionError`."""
    return parse_template(text).render(scope, pause) if "{{" in text else text


def render_value(value: object, scope: Mapping[str, object], pause: Pause = no_pause) -> object:
    """Render every text inside lists and mappings; keys and other values stay. Raises `ExpressionError`.

    A text of one single expression becomes a text too: `true`, nothing for null, JSON for
    lists and mappings.
    """
    match value:
        case str():
            return render(value, scope, pause)
        case Mapping():
            return {key: render_value(item, scope, pause) for key, item in value.items()}
        case list() | tuple():
            return [render_value(item, scope, pause) for item in value]
        case _:
            return value


def _expression(text: str, found: re.Match[str]) -> _Expression:
    from tako.expressions.syntax import parse_expression

    offset = found.start("inner")
    try:
        return _Expression(offset, parse_expression(found["inner"].removesuffix("-")))
    except FlawError as flaw:
        raise error_at(text, offset + flaw.offset, flaw.reason, hint=flaw.hint) from flaw


def _between(text: str, *, left: bool, right: bool) -> str:
    text = text.lstrip() if left else text
    return text.rstrip() if right else text
