"""The text of a condition before CEL reads it: tako's leading-dot names, and what could run away.

CEL reads `inputs.version-bump` as a subtraction. `.inputs.version-bump`, as templates write
it, becomes ``inputs.`version-bump` ``; texts and comments stay as they are, and places in the
rewritten text lead back to places in the original.

CEL bounds the number of iterations, not what each one costs, and its memory is freed only
at the end: `[x].map(a, [a, a])`, twenty times in a row, is a value whose comparison takes
hours. So a condition that iterates may not also build values from values: no `+`, only
constants in list and map literals, and `map` at most once. Every value it can name is then
a part of the data it was given, and `operations` says how often it may look at it.

A macro over a mapping would visit its keys in another order in each process. So the receiver `x` of each
becomes `[x].map(v, type(v) == map ? v.tako_keys() : v)[0]`: the keys of a mapping, sorted, else as it is.
"""

from __future__ import annotations

import re
from bisect import bisect_right

from tako.expressions.errors import error_at, place_of
from tako.values import field, mutable, value

LENGTH_MAX = 4096
_QUOTED = (
    r'[bB]?[rR](?:"""(?s:.*?)"""|\'\'\'(?s:.*?)\'\'\'|"[^"\n\r]*"|\'[^\'\n\r]*\')'
    r'|[bB]?(?:"""(?:[^\\]|\\.)*?"""|\'\'\'(?:[^\\]|\\.)*?\'\'\'|"(?:[^"\\\n\r]|\\.)*"|\'(?:[^\'\\\n\r]|\\.)*\')'
)
_TOKEN = re.compile(
    rf"(?P<text>{_QUOTED})"
    r"|(?P<space>\s+|//[^\n]*)"
    r"|(?P<number>0[xX][0-9a-fA-F]+[uU]?|[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?[uU]?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*|`[^`\n]*`)"
    r"|(?P<operator>&&|\|\||[=!<>]=|.)",
    re.DOTALL,
)
_SEGMENT = r"[A-Za-z0-9_]+(?:-[A-Za-z0-9_]+)*"
_PATH = re.compile(rf"\.[A-Za-z_][A-Za-z0-9_]*(?:-[A-Za-z0-9_]+)*(?:\.{_SEGMENT})*")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CONSTANTS = frozenset({"true", "false", "null"})
# `dyn`, as CEL's compiler would check both ways against the type that it knows.
_RECEIVER = "[dyn("
_IN_ORDER = ")].map(tako_v, type(tako_v) == map ? dyn(tako_v.tako_keys()) : tako_v)[0]"
_MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "filter", "map"})
# https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax (IDENT, RESERVED)
_RESERVED = _CONSTANTS | {
    *("as", "break", "const", "continue", "else", "for", "function", "if", "import", "in", "let"),
    *("loop", "namespace", "package", "return", "var", "void", "while"),
}


@value
class Source:
    """A condition ready for CEL: `text`, the names it reads at the root, and bounds on its work."""

    original: str
    text: str
    names: frozenset[str]
    macros: int
    operations: int
    additions: int
    _starts: tuple[int, ...]
    _origins: tuple[int, ...]

    def place(self, line: int, column: int) -> tuple[int, int]:
        """Return the line and column in the original of those in `text`, all from 1."""
        lines = self.text.split("\n")
        if not 1 <= line <= len(lines):
            return 1, 1
        offset = sum(len(before) + 1 for before in lines[: line - 1]) + max(0, column - 1)
        index = max(0, bisect_right(self._starts, offset) - 1)
        origin = self._origins[index] + offset - self._starts[index]
        following = self._origins[index + 1] if index + 1 < len(self._origins) else len(self.original)
        return place_of(self.original, min(origin, following))


@mutable
class _Reading:
    """The tokens so far."""

    original: str
    pieces: list[str] = field(factory=list)
    starts: list[int] = field(factory=list)
    origins: list[int] = field(factory=list)
    length: int = 0
    names: set[str] = field(factory=set)
    macros: list[str] = field(factory=list)
    # What builds values from values: where it stands and what it is.
    builders: list[tuple[int, str]] = field(factory=list)
    brackets: list[str] = field(factory=list)
    operations: int = 1
    # Where the value begins that the tokens just read belong to, and where it did at each open bracket.
    value_start: int = 0
    outer_starts: list[int] = field(factory=list)
    # Receivers of macros: their first piece, and the piece after their last.
    receivers: list[tuple[int, int]] = field(factory=list)
    # The last dot: what it stands behind ends there.
    dot: int = 0
    # The last token that is not white space; a selected name keeps its dot.
    before: str = ""
    before_kind: str = ""

    @property
    def after_value(self) -> bool:
        """Return whether a value has just ended, so that `.` and `[` belong to it."""
        if self.before_kind == "name":
            return self.before != "in"
        return self.before_kind in {"text", "number"} or self.before in {")", "]", "}"}

    def add(self, offset: int, text: str) -> None:
        """Append `text`, which comes from `offset` in the original."""
        self.starts.append(self.length)
        self.origins.append(offset)
        self.pieces.append(text)
        self.length += len(text)


def read_source(original: str) -> Source:
    """Read and rewrite a condition. Raises `ExpressionError`."""
    _refuse_text(original)
    reading = _Reading(original)
    offset = 0
    while offset < len(original):
        offset = _take(reading, offset)
    _refuse_growth(reading)
    _put_in_order(reading)
    return Source(
        original,
        "".join(reading.pieces),
        frozenset(reading.names),
        len(reading.macros),
        reading.operations,
        sum(what == "`+`" for _, what in reading.builders),
        tuple(reading.starts),
        tuple(reading.origins),
    )


def _refuse_text(original: str) -> None:
    if len(original) > LENGTH_MAX:
        raise error_at(original, 0, f"the condition is longer than {LENGTH_MAX} characters")
    if not original.strip():
        raise error_at(original, 0, "the condition is empty")
    try:
        original.encode()
    except UnicodeEncodeError as error:
        raise error_at(original, error.start, "half a surrogate pair is not Unicode") from error


def _take(reading: _Reading, offset: int) -> int:
    """Take the token at `offset` and return the offset of the next."""
    path = None if reading.after_value else _path_at(reading.original, offset)
    if path:
        reading.value_start = len(reading.pieces)
        reading.add(offset, _selected(reading, path, offset))
        reading.before, reading.before_kind = path, "name"
        return offset + len(path)
    found = _TOKEN.match(reading.original, offset)
    kind, value = (found.lastgroup or "", found[0]) if found else ("", reading.original[offset])
    if value in {'"', "'"}:
        raise error_at(reading.original, offset, f"the text that begins with {value} is never closed")
    following = offset + len(value)
    selected = kind == "name" and reading.before == "."
    _note_value(reading, kind, value)
    reading.add(offset, f"`{value}`" if selected and value in _RESERVED else value)
    if kind == "space":
        return following
    if kind == "name":
        value = _take_name(reading, offset, value)
    elif kind == "operator":
        _take_operator(reading, offset, value)
    reading.before, reading.before_kind = value, kind
    return following


def _path_at(original: str, offset: int) -> str:
    """The leading-dot name there, without the name of a method called on it; empty if there is none."""
    found = _PATH.match(original, offset)
    if found is None:
        return ""
    called = original[found.end() :].lstrip().startswith("(")
    return found[0].rpartition(".")[0] if called else found[0]


def _note_value(reading: _Reading, kind: str, value: str) -> None:
    """Keep in mind where the value begins to which the token that follows belongs."""
    here = len(reading.pieces)
    if value == ".":
        reading.dot = here
    elif kind in {"text", "number"} or (kind == "name" and reading.before != "."):
        reading.value_start = here
    elif kind == "operator" and value in "([{":
        reading.outer_starts.append(reading.value_start if reading.after_value else here)
    elif kind == "operator" and value in ")]}" and reading.outer_starts:
        reading.value_start = reading.outer_starts.pop()


def _put_in_order(reading: _Reading) -> None:
    """Have macros visit the keys of mappings in order."""
    if not reading.receivers:
        return
    before: dict[int, str] = {}
    for first, end in reading.receivers:
        before[first] = before.get(first, "") + _RECEIVER
        before[end] = _IN_ORDER + before.get(end, "")
    pieces, origins = reading.pieces, reading.origins
    reading.pieces, reading.starts, reading.origins, reading.length = [], [], [], 0
    for number, (piece, origin) in enumerate(zip(pieces, origins, strict=True)):
        if number in before:
            reading.add(origin, before[number])
        reading.add(origin, piece)


def _take_name(reading: _Reading, offset: int, value: str) -> str:
    if reading.before == ".":
        return "." + value
    if value == "in":
        reading.operations += 1
    elif value not in _CONSTANTS:
        _add_root(reading, offset, value)
    return value


def _add_root(reading: _Reading, offset: int, name: str) -> None:
    reading.names.add(name)
    if "literal" in reading.brackets:
        reading.builders.append((offset, f"`{name}` inside a list or map"))


def _take_operator(reading: _Reading, offset: int, value: str) -> None:
    if value == "{" and reading.after_value:
        raise error_at(reading.original, offset, "messages are not available in a condition")
    if value == "(" and reading.before_kind == "name":
        reading.operations += 1
        _, dot, name = reading.before.rpartition(".")
        if dot and name in _MACROS:
            _take_macro(reading, offset, name)
    if value in "([{":
        literal = value != "(" and not reading.after_value
        reading.brackets.append("literal" if literal else "other")
    elif value in ")]}":
        if reading.brackets:
            reading.brackets.pop()
    elif value not in ",.:?":
        reading.operations += 1
    if value == "+":
        reading.builders.append((offset, "`+`"))


def _take_macro(reading: _Reading, offset: int, name: str) -> None:
    if name == "map" and "map" in reading.macros:
        reading.builders.append((offset, "a second `map`"))
    reading.macros.append(name)
    reading.receivers.append((reading.value_start, reading.dot))


def _selected(reading: _Reading, path: str, offset: int) -> str:
    root, *rest = path[1:].split(".")
    root = root[0].lower() + root[1:]
    _add_root(reading, offset, root)
    return root + "".join(map(_segment, rest))


def _segment(name: str) -> str:
    if name.isdigit():
        return f"[{name}]"
    plain = _PLAIN.fullmatch(name) and name not in _RESERVED
    return f".{name}" if plain else f".`{name}`"


def _refuse_growth(reading: _Reading) -> None:
    if reading.macros and reading.builders:
        offset, what = reading.builders[0]
        raise error_at(
            reading.original,
            offset,
            f"{what} cannot stand in a condition that iterates with `{reading.macros[0]}`",
            hint="it could take all memory; compare the parts one by one, with && and ||",
        )
