"""How the texts under `produces.outputs` are read, and what a regular expression finds.

    from_stdout | from_stderr         what the step printed there, without the last newline
    from_file:PATH                    the content of a file beneath the workspace
    from_env:NAME                     what the step wrote to $TAKO_ENV
    a text with {{ }}                 a template
    anything else                     a regular expression (RE2) with exactly one group

Raises `ExpressionError`. RE2 is imported only for a regular expression; Python's own `re`
takes time exponential in the text for some patterns, RE2 never does.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from tako.expressions.errors import ExpressionError, suggestion
from tako.expressions.templates import parse_template
from tako.expressions.text import has_template
from tako.layout.names import path_problem
from tako.values import value

if TYPE_CHECKING:
    from tako.config.patterns import Pattern

Kind = Literal["stdout", "stderr", "file", "env", "regex", "template"]
_FORMS = ("from_stdout", "from_stderr", "from_file:PATH", "from_env:NAME")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@value
class OutputSource:
    """Where an output comes from; `argument` is the path, variable, pattern or template."""

    kind: Kind
    argument: str = ""


def parse_output(spec: str) -> OutputSource:
    """Read one text under `produces.outputs`. Raises `ExpressionError`."""
    if has_template(spec):
        parse_template(spec)
        return OutputSource("template", spec)
    form, colon, argument = spec.partition(":")
    match form:
        case "from_stdout" | "from_stderr" if not colon:
            return OutputSource("stdout" if form == "from_stdout" else "stderr")
        case "from_file" if colon:
            return _file(spec, argument)
        case "from_env" if colon:
            return _variable(spec, argument)
    if form.startswith("from_"):
        near = suggestion(spec, list(_FORMS))
        message = f"{spec!r} is not an output{near}"
        raise ExpressionError(message, expression=spec, hint="expected one of " + ", ".join(_FORMS))
    _compiled(spec)
    return OutputSource("regex", spec)


def match_regex(pattern: str, text: str) -> str | None:
    """Return the group's text in the first match of `pattern` in `text`, None if there is none.

    As RE2 has it, `^` and `$` are the ends of the whole text and `.` is not a newline;
    `(?m)` at the beginning makes them the ends of each line. Raises `ExpressionError`.
    """
    found = _compiled(pattern).search(text.encode("utf-8", "replace").decode())
    return found.group(1) if found else None


def _file(spec: str, path: str) -> OutputSource:
    problem = path_problem(path)
    if problem:
        message = f"the path {path!r} cannot be used: {problem}"
        raise ExpressionError(message, expression=spec, column=len("from_file:") + 1)
    return OutputSource("file", path)


def _variable(spec: str, name: str) -> OutputSource:
    if not _VARIABLE.fullmatch(name):
        message = f"{name!r} is not a variable's name: letters, digits and '_', not starting with a digit"
        raise ExpressionError(message, expression=spec, column=len("from_env:") + 1)
    return OutputSource("env", name)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Pattern:
    # Importing RE2 costs, and most outputs have no pattern.
    from tako.config.patterns import compiled

    forms = ", ".join(_FORMS)
    try:
        found = compiled(pattern)
    except (ValueError, TypeError) as error:
        raise ExpressionError(str(error), expression=pattern, hint=f"or one of {forms}") from error
    if found.groups != 1:
        message = f"the regular expression must have exactly one group (...), not {found.groups}"
        raise ExpressionError(message, expression=pattern, hint=f"or one of {forms}")
    return found
