"""Reads what a workflow declares: inputs, resources, the sandbox.

In: nodes of a tako.yml. Out: frozen values of `schema`; mistakes are noted.
"""

from __future__ import annotations

from tako.config.inputs import TYPES, value_problem
from tako.config.names import duration, outer_path
from tako.config.reading.values import Table, Value, check_name
from tako.config.schema import Input, Resources, Sandbox, Validation
from tako.units import parse_cpu, parse_quantity

_INPUT_KEYS = ("type", "required", "default", "description", "validation")
_VALIDATION_KEYS = ("enum", "pattern", "min", "max", "min_length", "max_length")
_RESOURCE_KEYS = (
    "cpu_limit", "mem_limit", "disk_limit", "process_limit", "cpu_time_limit", "address_space_limit",
)  # fmt: skip
_NEEDS_TYPE = {
    "pattern": ("string",),
    "min": ("integer", "number"),
    "max": ("integer", "number"),
    "min_length": ("string",),
    "max_length": ("string",),
}


def read_inputs(value: Value) -> dict[str, Input]:
    """Read `inputs:` of a workflow."""
    return {
        name: _input(name, item) for name, item in value.entries().items() if check_name(item, name, "input")
    }


def _input(name: str, value: Value) -> Input:
    table = value.table(_INPUT_KEYS)
    kind = table.get("type", lambda found: found.choice(TYPES), "string")
    has_default = "default" in table.entries
    required = table.get("required", Value.boolean, not has_default)
    description = table.get("description", Value.text, "")
    mistakes = len(value.problems)
    validation = table.get("validation", lambda found: _validation(found, kind), Validation())
    default = table.get("default", lambda found: typed(found, kind), None)
    declared = Input(name, kind, required, has_default, default, description, validation)
    if has_default and required:
        table.entries["required"].fail("an input with a default cannot be required; remove one of the two")
    if has_default and len(value.problems) == mistakes:
        problem = value_problem(declared, default)
        if problem:
            table.entries["default"].fail(f"the default {problem}")
    return declared


def typed(value: Value, kind: str) -> object:
    """Read a value of an input type."""
    if kind == "boolean":
        return value.boolean()
    if kind == "integer":
        return value.integer()
    if kind == "number":
        return value.number()
    return value.text()


def _validation(value: Value, kind: str) -> Validation:
    table = value.table(_VALIDATION_KEYS)
    for name, kinds in _NEEDS_TYPE.items():
        if name in table.entries and kind not in kinds:
            table.entries[name].note(
                f"{name!r} is for inputs of type {' or '.join(kinds)}; this one is of type {kind}"
            )
    found = Validation(
        enum=table.get("enum", lambda enum: tuple(typed(item, kind) for item in enum.filled_items()), ()),
        pattern=table.get("pattern", _pattern, ""),
        minimum=table.get("min", Value.number, None),
        maximum=table.get("max", Value.number, None),
        min_length=table.get("min_length", lambda length: length.integer(0), None),
        max_length=table.get("max_length", lambda length: length.integer(0), None),
    )
    _check_order(table, "min", found.minimum, found.maximum)
    _check_order(table, "min_length", found.min_length, found.max_length)
    return found


def _check_order(table: Table, name: str, low: float | None, high: float | None) -> None:
    if low is not None and high is not None and low > high:
        table.entries[name].fail(f"{low} is above the maximum {high}")


def _pattern(value: Value) -> str:
    """Return a pattern, none if it cannot be used: values are checked against it."""
    from tako.config.patterns import pattern_problem

    text = value.text()
    problem = pattern_problem(text)
    if problem:
        value.fail(problem)
    return "" if problem else text


def read_resources(value: Value, keys: tuple[str, ...] = _RESOURCE_KEYS) -> Resources:
    """Read `resources:` of a workflow or step, or a quota of config.yml, which has fewer `keys`."""
    table = value.table(keys)
    return Resources(
        cpu_limit=table.get("cpu_limit", lambda found: found.converted(parse_cpu, None), None),
        mem_limit=table.get("mem_limit", _size, None),
        disk_limit=table.get("disk_limit", _size, None),
        process_limit=table.get("process_limit", lambda found: found.integer(1), None),
        cpu_time_limit=table.get("cpu_time_limit", _cpu_time, None),
        address_space_limit=table.get("address_space_limit", _size, None),
    )


def _cpu_time(value: Value) -> float | None:
    """Whole seconds are what the kernel knows (RLIMIT_CPU)."""
    seconds = duration(value)
    if seconds < 1:
        value.fail("expected at least 1s")
    return seconds


def _size(value: Value) -> int | None:
    size = value.converted(parse_quantity, None)
    if size == 0:
        value.fail("expected a size above 0")
    return size


def read_sandbox(value: Value) -> Sandbox:
    """Read `sandbox:` of a workflow."""
    table = value.table(("read", "write"))
    return Sandbox(read=table.get("read", outer_paths, ()), write=table.get("write", outer_paths, ()))


def outer_paths(value: Value) -> tuple[str, ...]:
    """Read a list of absolute paths, or paths below the user's home."""
    return tuple(outer_path(item) for item in value.items())
