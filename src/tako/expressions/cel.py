"""Conditions (`if:`) and filters: the one adapter around CEL, Google's cel-expr-python.

In: a condition in the Common Expression Language, and a scope of plain JSON values.
Out: true or false. Raises `ExpressionError` with a place, `FieldMissingError` when
what is read is not there. CEL is imported only when a condition is compiled.

Facts of cel-expr-python 0.1.3, each covered by a test: a runtime error comes back as a value
of type ERROR or as an exception; half a surrogate pair is an exception; an integer beyond 64
bits an error; nesting beyond 32 and more than 10,000 iterations are refused by CEL itself;
memory is not bounded, which `cel_source`, `cel_functions` and the estimate here are for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

from tako.errors import UsageError
from tako.expressions.cel_source import Source, read_source
from tako.expressions.errors import ExpressionError, FieldMissingError, error_at, suggestion
from tako.values import mutable, value

if TYPE_CHECKING:
    from cel_expr_python import cel

_DEPTH_MAX = 64
_ITERATIONS_MAX = 10_000
# Characters looked at, at worst: about two seconds.
_WORK_MAX = 2_000_000_000
# Characters made by `+`, which stay in memory until the end.
_ADDED_MAX = 250_000_000
_PATTERN_COST = 30
_INT_MAX = 1 << 63
_REPORTED = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?=\n |\nERROR|\s*\[[A-Z_]+\]$|$)", re.DOTALL)
_STATUS = re.compile(r"^[A-Z_]+: |\s*\[[A-Z_]+\]$")
_NO_KEY = re.compile(r"Key not found in map : (.*)", re.DOTALL)
_NO_INDEX = re.compile(r"Index error: index=(-?\d+) size=(\d+)")


class CelScope:
    """The values of some names as CEL takes them, made once for any number of conditions."""

    def __init__(self, values: Mapping[str, object]) -> None:
        """Copy nothing yet: most conditions read one name of several."""
        self._values = values
        self._plain: dict[str, tuple[object, _Measure]] = {}

    def taken(self, names: Sequence[str]) -> tuple[dict[str, object], _Measure]:
        """Return the values of `names`, an empty mapping for one that is not there, and how much that is.

        Raises `UsageError` for what is no JSON value.
        """
        whole = _Measure()
        for name in names:
            if name not in self._plain:
                measure = _Measure()
                self._plain[name] = _plain(self._values.get(name, {}), measure, 0), measure
            whole.add(self._plain[name][1])
        return {name: self._plain[name][0] for name in names}, whole


@value
class Condition:
    """A condition that was compiled, ready to be evaluated any number of times."""

    source: Source
    variables: tuple[str, ...]
    _compiled: cel.Expression

    def evaluate(self, scope: Mapping[str, object] | CelScope) -> bool:
        """Return whether the condition holds; variables that `scope` lacks are empty mappings.

        Raises `FieldMissingError` if it reads a missing field, `ExpressionError` if its result is
        no boolean, if it fails, or would take too long on so much data.
        """
        from tako.expressions.cel_functions import begin_evaluation

        data = self._bounded(scope if isinstance(scope, CelScope) else CelScope(scope))
        begin_evaluation()
        try:
            result = self._compiled.eval(data=data)
            kind, value = result.type().name(), result.value()
        except (RuntimeError, MemoryError, TypeError, ValueError) as error:
            self._fail(str(error))
        if kind == "ERROR":
            self._fail(str(value))
        if not isinstance(value, bool):
            raise error_at(self.source.original, 0, f"the condition gives {kind.lower()}, not true or false")
        return value

    def cost(self, scope: CelScope) -> int:
        """Estimate how many characters evaluation looks at, at worst; a pattern looks many times.

        Raises `ExpressionError` for values that CEL cannot have.
        """
        return self._work(self._taken(scope)[1]) * (_PATTERN_COST if "matches" in self.source.text else 1)

    def _taken(self, scope: CelScope) -> tuple[dict[str, object], _Measure]:
        """Return the part of a scope that it reads, and the size of that part."""
        used = [name for name in self.variables if name in self.source.names]
        try:
            return scope.taken(used)
        except UsageError as error:
            raise error_at(self.source.original, 0, error.message) from error

    def _bounded(self, scope: CelScope) -> dict[str, object]:
        data, measure = self._taken(scope)
        if self._work(measure) > _WORK_MAX or self._additions(measure) > _ADDED_MAX:
            message = f"the condition could take too long on {measure.size} characters of data"
            raise error_at(self.source.original, 0, message)
        return data

    def _work(self, measure: _Measure) -> int:
        """Return how many characters evaluation may look at, at worst."""
        source = self.source
        nested = source.macros > 1 or (source.macros and "split" in source.text)
        once = min(_ITERATIONS_MAX, measure.longest + len(source.text)) if source.macros else 1
        return (measure.size + len(source.text)) * source.operations * (_ITERATIONS_MAX if nested else once)

    def _additions(self, measure: _Measure) -> int:
        """Return how many characters `+` may make, at worst: nested as deeply as CEL allows."""
        return measure.size * self.source.additions * min(self.source.additions, 32)

    def _fail(self, text: str) -> NoReturn:
        reason = _STATUS.sub("", text)
        missing = ""
        if found := _NO_KEY.search(reason):
            missing = f"there is no field {found[1]}"
        elif found := _NO_INDEX.search(reason):
            missing = f"there is no element {found[1]} in a list of {found[2]}"
        elif "Applying SELECT to non-message type" in reason:
            missing = "the condition reads a field of a value that is not a mapping"
        elif "Iteration budget exceeded" in reason:
            reason = f"all its macros together would iterate {_ITERATIONS_MAX} times or more"
        kind = FieldMissingError if missing else ExpressionError
        raise kind(missing or f"the condition failed: {reason}", expression=self.source.original)


def compile_condition(source: str, variables: Sequence[str]) -> Condition:
    """Compile a condition over the named variables. Raises `ExpressionError` with the place."""
    return _compiled(source, tuple(sorted(variables)))


def evaluate_condition(source: str, scope: Mapping[str, object]) -> bool:
    """Compile `source` over the names of `scope` and evaluate it there; raises as both do."""
    return compile_condition(source, tuple(scope)).evaluate(scope)


@lru_cache(maxsize=1024)
def _compiled(text: str, variables: tuple[str, ...]) -> Condition:
    source = read_source(text)
    environment = _environment(variables)
    try:
        compiled = environment.compile(source.text)
    except (RuntimeError, TypeError, ValueError) as error:
        raise _compile_error(source, str(error), variables) from error
    kind = compiled.return_type().name()
    if kind not in {"BOOL", "DYN"}:
        raise error_at(text, 0, f"the condition gives {kind.lower()}, not true or false")
    return Condition(source, variables, compiled)


@lru_cache(maxsize=32)
def _environment(variables: tuple[str, ...]) -> cel.Env:
    from cel_expr_python import cel

    from tako.expressions.cel_functions import declarations

    return cel.NewEnv(variables=dict.fromkeys(variables, cel.Type.DYN), functions=declarations())


def _compile_error(source: Source, text: str, variables: tuple[str, ...]) -> ExpressionError:
    found = _REPORTED.search(text)
    reason = found[3] if found else _STATUS.sub("", text)
    line, column = source.place(int(found[1]), int(found[2])) if found else (1, 1)
    reason = re.sub(r" expecting \{.*\}$", "", reason.replace(" (in container '')", ""))
    hint = ""
    if unknown := re.fullmatch(r"undeclared reference to '([^']*)'", reason):
        name = unknown[1].split(".")[0]
        known = ", ".join(f"`{variable}`" for variable in variables) or "nothing"
        reason = f"`{name}` is not defined" + (suggestion(name, list(variables)) or f": here are {known}")
        if re.search(rf"[A-Za-z0-9_]-{re.escape(name)}\b", source.original):
            hint = "a name with a hyphen needs the leading dot, as in .inputs.version-bump"
    return ExpressionError(reason, expression=source.original, line=line, column=column, hint=hint)


@mutable
class _Measure:
    """How much data there is: characters, and elements of the longest list or mapping."""

    size: int = 0
    longest: int = 0

    def add(self, other: _Measure) -> None:
        """Count what `other` has counted, too."""
        self.size += other.size
        self.longest = max(self.longest, other.longest)


def _plain(value: object, measure: _Measure, depth: int) -> object:
    """Copy a JSON value for CEL, which misreads other types. Raises `UsageError`."""
    measure.size += 1
    if depth > _DEPTH_MAX:
        message = f"a value is nested more than {_DEPTH_MAX} levels deep"
        raise UsageError(message)
    match value:
        case None | bool() | float():
            return value
        case str():
            return _plain_text(value, measure)
        case int() if -_INT_MAX <= value < _INT_MAX:
            return int(value)
        case Mapping():
            measure.longest = max(measure.longest, len(value))
            return {_key(key, measure): _plain(item, measure, depth + 1) for key, item in value.items()}
        case list() | tuple():
            measure.longest = max(measure.longest, len(value))
            return [_plain(item, measure, depth + 1) for item in value]
    message = f"the number {value:#x} does not fit into 64 bits" if isinstance(value, int) else ""
    raise UsageError(message or f"a {type(value).__name__} is not a JSON value")


def _key(key: object, measure: _Measure) -> str:
    if not isinstance(key, str):
        message = "a key must be a text"
        raise UsageError(message)
    return _plain_text(key, measure)


def _plain_text(text: str, measure: _Measure) -> str:
    measure.size += len(text)
    if "\0" in text:
        message = "a text holds a NUL character, at which CEL would cut it"
        raise UsageError(message)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            message = "a text holds half a surrogate pair, which is not Unicode"
            raise UsageError(message) from error
    return text
