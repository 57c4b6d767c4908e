"""Strategies for texts that are nearly a tako.yml: each key may hold what belongs there, or anything else.

In: nothing. Out: YAML in flow style, whose scalars are quoted or not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st


class Plain(str):
    """A scalar that is written without quotes."""

    __slots__ = ()


def written(value: Any) -> str:  # noqa: ANN401 - the tree of a file
    """Give a tree as YAML."""
    if isinstance(value, Plain):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{written(key)}: {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


_LETTERS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
_ODD = st.sampled_from(
    [
        "",
        " ",
        "~",
        "null",
        "true",
        "no",
        "1",
        "-1",
        "0",
        "1.10",
        "1e400",
        ".inf",
        ".nan",
        "0x1F",
        "0o17",
        "1_000",
        "9223372036854775807",
        "9223372036854775808",
        "99999999999999999999999999",
        "1:30",
        "2026-11-28",
        "<<",
    ]
)
_SCALARS = _ODD.map(Plain) | _ODD | _LETTERS | st.integers() | st.floats(allow_nan=False) | st.booleans()
ANYTHING = st.recursive(
    _SCALARS | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_LETTERS, inner, max_size=3),
    max_leaves=5,
)


def _rarely(
    usual: st.SearchStrategy[Any], odd: st.SearchStrategy[Any] = ANYTHING, of: int = 80
) -> st.SearchStrategy[Any]:
    """Mostly what belongs there: with many odd values in each, no file would come to its subscriptions."""
    return st.integers(1, of).flatmap(lambda number: odd if number == of else usual)


def _some(keys: Mapping[str, st.SearchStrategy[Any]], *always: str) -> st.SearchStrategy[Any]:
    """A mapping of the keys that are always needed and a few of the others."""
    optional = sorted(keys.keys() - set(always))
    chosen = st.sets(st.sampled_from(optional), max_size=3) if optional else st.just(set[str]())
    whole = chosen.flatmap(
        lambda names: st.fixed_dictionaries({name: _rarely(keys[name]) for name in (*always, *sorted(names))})
    )
    return _rarely(whole, st.dictionaries(st.sampled_from(sorted(keys)) | _LETTERS, ANYTHING, max_size=3))


def _one_of(*usual: object, odd: Sequence[object] = ()) -> st.SearchStrategy[Any]:
    return _rarely(st.sampled_from(usual), st.sampled_from(odd), 12) if odd else st.sampled_from(usual)


_NAMES = _one_of("check", "build", "lib", "version", "a", "b-c", odd=["1x", "a b", "default", "x" * 101, ""])
_TYPES = _one_of("built", "a", odd=["1x", ""])
_PATTERNS = _one_of(
    "^v", "^[0-9]+$", "(?P<n>x)", "é", odd=["(", "[", "a{2,", "(?=x)", "\\1", "", "*", "a" * 1001]
)
_OF_EVENTS = _one_of(
    "{{ .event.payload.version }}",
    "{{ .event.type }}",
    "{{ .event.payload | to_json }}",
    "{{ .event.payload.deep | length }}",
    "plain",
    odd=[
        "{{",
        "{{ }}",
        "{{ .nope }}",
        "{{ .event.payload.tags | join(1) }}",
        "{{ .event.payload.version | split('') }}",
        '{{ "\\ud800" }}',
        "{{ .event.payload.tags[9] }}",
        "{{ 1e400 }}",
        "{{ .event.payload.n | first }}",
    ],
)
_SCRIPTS = _one_of(
    "true",
    "echo $X",
    odd=[
        "{{ .event.payload.version }}",
        "{{ .inputs.a | upper }}",
        "{{ .steps.build.outputs.x }}",
        "{{",
        " ",
    ],
)
_CONDITIONS = _one_of(
    'event.payload.version == "1.2.3"',
    "true",
    "event.payload.n > 1",
    "event.payload.tags.exists(t, t == 'x')",
    '.event.payload.version in ["1.2.3"]',
    "semver.major(event.payload.version) == 1",
    "dyn(1).x",
    "event.payload.tags[5] == 1",
    "event.payload.version",
    odd=[
        "1",
        "1 +",
        "event.nope",
        "nope",
        "event.payload.tags.map(t, t)",
        "1 / 0 == 1",
        "-9223372036854775808 < 0",
        'event.payload.version.matches("(")',
        "{'a': 1}.a == 1",
        "b'x' == b'y'",
        'timestamp("x") == 1',
        "duration('1s') > 1",
        '"\\ud800" == ""',
        "semver.major('x') == 1",
        "type(event) == 1",
        "event.payload.map(k, k) == []",
        "1u == 1",
        "null",
        "'a'.substring(5)",
        "(" * 33 + "true" + ")" * 33,
        "9" * 30 + " > 1",
    ],
)
_STEP_CONDITIONS = _one_of("true", "inputs.a == 1", odd=["1 +", "nope", 1])
_RANGES = _one_of(
    "*", "^1", ">=1.0.0 <2.0.0", "[1.0.0...2.0.0)", "^2", odd=["(", "", "x", "99999999999999999999.0.0"]
)
_VERSIONS = _one_of("1.0.0", "{{ .inputs.a }}", odd=["1", "", "x"])
_SIZES = _one_of(
    "1Gi", "512Mi", "1e6", "2", odd=["1e400", "-1", "0", "1Ei", "9" * 30 + "Ei", "500m", "0.0001"]
)
_CPUS = _one_of("1", "500m", "0.0001", odd=["1e400", "-1", "0", "9" * 30])
_DURATIONS = _one_of("1s", "1h30m", "300ms", odd=["0s", "-1s", "9" * 30 + "h", "1ns", "x", "1e9s"])
_PATHS = _one_of("dist/*", "a/b", odd=["..", "/etc", "~/x", "a//b", "-x", "a\tb", "", ".", "x" * 300])
_SEEN = _one_of("/opt/x", "~/x", odd=["..", "/", "a"])
_ENVIRONMENT = st.dictionaries(
    _one_of("A", "B", odd=["TAKO_X", "PATH", "1x"]), _SCRIPTS, max_size=2
) | st.lists(_one_of("A=b", odd=["A", "=x", "A=1"]), max_size=1)
_SECRETS = st.lists(_one_of("TOKEN", odd=["PATH", "1x"]), max_size=1)
_RESOURCES = _some(
    {
        "cpu_limit": _CPUS,
        "mem_limit": _SIZES,
        "disk_limit": _SIZES,
        "process_limit": st.integers(1, 1 << 65),
        "cpu_time_limit": _DURATIONS,
        "address_space_limit": _SIZES,
    }
)
_VALUES = _one_of("x", "1", 1, True, odd=[1.5, Plain("1.10"), Plain(".inf"), 1 << 62, Plain("1e400"), None])
_VALIDATION = _some(
    {
        "enum": st.lists(_VALUES, min_size=1, max_size=3),
        "pattern": _PATTERNS,
        "min": _one_of(0, 1.5, odd=[Plain("1e400"), "x"]),
        "max": _one_of(9, odd=[-1, Plain(".nan")]),
        "min_length": _one_of(0, 1, odd=[-1, 5]),
        "max_length": _one_of(9, 3, odd=[-1, 0]),
    }
)
_INPUT = _some(
    {
        "type": _one_of("string", "integer", "number", "boolean", odd=["date"]),
        "required": st.booleans(),
        "default": _VALUES,
        "description": _LETTERS,
        "validation": _VALIDATION,
    }
)
_EVENT = {
    "type": _TYPES,
    "schema_version": _VERSIONS,
    "payload": st.dictionaries(_NAMES, ANYTHING, max_size=2),
}
_PRODUCES = _some(
    {
        "artifact": st.just("lib"),
        "artifacts": st.lists(_PATHS, min_size=1, max_size=2) | st.dictionaries(st.just("lib"), _PATHS),
        "outputs": st.dictionaries(
            _NAMES,
            _one_of("from_stdout", "from_file:x", "(x)", odd=["from_file:..", "from_x", "x", "("]),
            max_size=2,
        ),
        "events": st.lists(_some(_EVENT, "type"), max_size=2),
    }
)
_WITH = _some(
    {
        "event_type": _TYPES,
        "artifact": _one_of("default", odd=["lib"]),
        "payload": st.dictionaries(_NAMES, ANYTHING, max_size=2),
        "schema_version": _VERSIONS,
        "wait_for_children": st.booleans(),
        "timeout": _DURATIONS,
        "concurrency_limit": _one_of(1, 3, odd=[0]),
        "on_child_failure": _one_of("fail", "ignore", odd=["x"]),
    },
    "event_type",
    "payload",
)
_RETRY = {
    "max_attempts": _one_of(2, odd=[-1, 200]),
    "backoff": _DURATIONS,
    "on": _one_of([1], odd=[[], [300]]),
}
_RUN_KEYS: dict[str, st.SearchStrategy[Any]] = {
    "if": _STEP_CONDITIONS,
    "run": _SCRIPTS,
    "env": _ENVIRONMENT,
    "secrets": _SECRETS,
    "timeout": _DURATIONS,
    "resources": _RESOURCES,
    "produces": _PRODUCES,
    "network": _one_of("none", "default", odd=["x"]),
    "retry": _some(_RETRY),
    "rerun": _one_of("never", odd=["x"]),
    "continue_on_error": st.booleans(),
    "name": _LETTERS,
}
_STEP = _some(
    {**_RUN_KEYS, "on_failure": st.lists(_some(_RUN_KEYS, "run"), min_size=1, max_size=1)}, "run"
) | _some({"uses": _one_of("tako/fan-out@v1", odd=["tako/fan-out@v2"]), "with": _WITH}, "uses", "with")
_WORKFLOW = _some(
    {
        "steps": st.lists(_STEP, min_size=1, max_size=2),
        "on": _one_of("event", ["event", "exec"], odd=["exec", []]),
        "inputs": st.dictionaries(_NAMES, _rarely(_INPUT), max_size=3),
        "env": _ENVIRONMENT,
        "secrets": _SECRETS,
        "resources": _RESOURCES,
        "timeout": _DURATIONS,
        "parallel": st.booleans(),
        "workspace": _one_of("copy", odd=["x"]),
        "sandbox": _some({"read": st.lists(_SEEN, max_size=1), "write": st.lists(_SEEN, max_size=1)}),
    },
    "steps",
)
_SUBSCRIPTION = _some(
    {
        "artifact": _one_of("acme/lib:default", odd=["acme/lib", "h:1/acme/lib:default", ":", "a/b/c:x"]),
        "events": _one_of(["built"], odd=[[], ["1x"]]),
        "workflow": _one_of("check", odd=["build", "chekc"]),
        "schema_version": _RANGES,
        "filters": st.lists(_CONDITIONS, max_size=2),
        "inputs": st.dictionaries(_NAMES, _VALUES | _OF_EVENTS, max_size=2),
    },
    "artifact",
    "events",
    "workflow",
)
TAKO_YMLS = _some(
    {
        "version": st.just("0.1.0"),
        "workflows": st.fixed_dictionaries({"check": _rarely(_WORKFLOW)}, optional={"build": _WORKFLOW}),
        "subscriptions": st.lists(_rarely(_SUBSCRIPTION), min_size=1, max_size=3),
        "artifacts": st.just({"lib": {}}),
    },
    "version",
    "workflows",
    "subscriptions",
    "artifacts",
).map(written)
