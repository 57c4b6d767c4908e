"""From what was given for a workflow's inputs to the values its steps see.

In: texts (command line, templates) and plain data (subscriptions). Out: checked values of
the declared types; everything wrong is reported in one `InputsInvalidError`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from tako.config.reading.problems import did_you_mean
from tako.config.reading.texts import text_problem
from tako.config.schema import Input, Workflow
from tako.errors import InputsInvalidError

TYPES = ("string", "integer", "number", "boolean")
_ARTICLES = {"string": "a string", "integer": "an integer", "number": "a number", "boolean": "true or false"}
_INTEGER = re.compile(r"[+-]?[0-9]{1,25}")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_BOOLEANS = {"true": True, "false": False}
_SHOWN = 80


def resolve_inputs(
    workflow: Workflow, given: Mapping[str, object], pause: Callable[[], None] = lambda: None
) -> dict[str, object]:
    """Return a value for every declared input, in the order of declaration; `pause` is called before each.

    What is neither given nor has a default is `""` for a string and None for other types.
    Raises `InputsInvalidError`, one line for each problem.
    """
    problems = [
        f"unknown input {name!r} of workflow {workflow.name!r}{did_you_mean(name, workflow.inputs)}"
        for name in given
        if name not in workflow.inputs
    ]
    values: dict[str, object] = {}
    for declared in workflow.inputs.values():
        pause()
        try:
            values[declared.name] = _resolved(declared, given)
        except ValueError as error:
            problems.append(f"input {declared.name!r} of workflow {workflow.name!r} {error}")
    if problems:
        raise InputsInvalidError("\n".join(problems))
    return values


def _resolved(declared: Input, given: Mapping[str, object]) -> object:
    if declared.name in given:
        value = coerced(declared, given[declared.name])
        problem = value_problem(declared, value)
        if problem:
            raise ValueError(problem)
        return value
    if declared.has_default:
        return declared.default
    if declared.required:
        message = f"is required; {_example(declared)}"
        raise ValueError(message)
    return "" if declared.type == "string" else None


def _example(declared: Input) -> str:
    expected = ", ".join(_plain(item) for item in declared.validation.enum) or _ARTICLES[declared.type]
    return f"expected {'one of ' if declared.validation.enum else ''}{expected}"


def coerced(declared: Input, value: object) -> object:
    """Return `value` in the declared type: texts are read, numbers become texts where one is declared.

    Raises `ValueError` saying what was expected and what came.
    """
    problem = text_problem(value) if isinstance(value, str) else ""
    if problem:
        message = f"cannot be used: {problem}"
        raise ValueError(message)
    found = _READERS[declared.type](value)
    if found is None:
        fitting = " that fits into 64 bits" if _is_whole(value) and declared.type != "boolean" else ""
        message = f"must be {_ARTICLES[declared.type]}{fitting}, got {_shown(value)}"
        raise ValueError(message)
    return found


def _is_whole(value: object) -> bool:
    if isinstance(value, str):
        return _WHOLE.fullmatch(value.strip()) is not None
    return isinstance(value, int) and not isinstance(value, bool)


def _string(value: object) -> str | None:
    return _plain(value) if isinstance(value, str | int | float) else None


def _integer(value: object) -> int | None:
    if isinstance(value, str):
        number = int(value) if _INTEGER.fullmatch(value.strip()) else None
    elif isinstance(value, float):
        number = int(value) if value.is_integer() else None
    else:
        number = value if isinstance(value, int) and not isinstance(value, bool) else None
    return number if number is not None and -(2**63) <= number < 2**63 else None


def _number(value: object) -> int | float | None:
    whole = _integer(value)
    if whole is not None or _is_whole(value):
        # As a double it would be another number.
        return whole
    if isinstance(value, str):
        number = float(value) if _NUMBER.fullmatch(value.strip()) else math.nan
    else:
        number = value if isinstance(value, float) else math.nan
    return number if math.isfinite(number) else None


def _boolean(value: object) -> bool | None:
    if isinstance(value, str):
        return _BOOLEANS.get(value.strip())
    return value if isinstance(value, bool) else None


_READERS = {"string": _string, "integer": _integer, "number": _number, "boolean": _boolean}


def value_problem(declared: Input, value: object) -> str:
    """Return which rule of its validation a value of the right type breaks; empty if none."""
    rules = declared.validation
    if rules.enum and not any(_same(value, item) for item in rules.enum):
        return f"must be one of {', '.join(_plain(item) for item in rules.enum)}, got {_shown(value)}"
    if isinstance(value, str):
        return _text_problem(declared, value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if rules.minimum is not None and value < rules.minimum:
            return f"must be at least {rules.minimum}, got {value}"
        if rules.maximum is not None and value > rules.maximum:
            return f"must be at most {rules.maximum}, got {value}"
    return ""


def _text_problem(declared: Input, value: str) -> str:
    rules = declared.validation
    if rules.min_length is not None and len(value) < rules.min_length:
        return f"must have at least {rules.min_length} characters, got {len(value)}"
    if rules.max_length is not None and len(value) > rules.max_length:
        return f"must have at most {rules.max_length} characters, got {len(value)}"
    if rules.pattern:
        from tako.config.patterns import found_in

        if not found_in(rules.pattern, value):
            return f"must match {rules.pattern}, got {_shown(value)}"
    return ""


def _same(value: object, other: object) -> bool:
    # In Python True == 1; in a tako.yml it is not.
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = value if isinstance(value, str) else _plain(value)
    text = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return repr(text) if isinstance(value, str) else text
