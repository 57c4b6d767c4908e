"""Reads the steps of a workflow and gives each an id.

In: nodes of a tako.yml. Out: frozen steps; mistakes are noted.
"""

from __future__ import annotations

from collections.abc import Mapping

from tako.config.built_in import BUILT_IN, missing_with, read_with
from tako.config.declarations import read_resources
from tako.config.names import duration, environment, inner_path, secret_names, timeout
from tako.config.produces import read_produces
from tako.config.reading.problems import Problems, did_you_mean
from tako.config.reading.values import Table, Value
from tako.config.schema import Produces, Retry, Step, all_steps
from tako.values import evolve, value

NETWORKS = ("default", "none")
RERUNS = ("allowed", "never")
_KEYS = (
    "id", "name", "if", "run", "uses", "with", "env", "secrets", "timeout", "retry", "rerun", "resources",
    "network", "image", "long_running", "cache_key_files", "continue_on_error", "produces", "on_failure",
)  # fmt: skip
_RUN_ONLY = (
    "env", "secrets", "network", "image", "long_running", "cache_key_files", "produces", "retry", "rerun",
)  # fmt: skip
_RETRY_KEYS = ("max_attempts", "backoff", "on", "clean")
_NAME_MAX = 100
_ATTEMPTS_MAX = 100


@value
class _Scope:
    """The surroundings of a step: declared artifacts, form of made-up ids, whether it follows a failure."""

    artifacts: Mapping[str, object]
    id_prefix: str = "step-"
    after_failure: bool = False


def read_steps(value: Value, artifacts: Mapping[str, object]) -> tuple[Step, ...]:
    """Read `steps:` of a workflow; ids are unique in it, `on_failure` included."""
    steps = _steps(value, _Scope(artifacts))
    _check_ids(steps, value.problems)
    return steps


def _steps(value: Value, scope: _Scope) -> tuple[Step, ...]:
    items = value.filled_items()
    return tuple(
        _step(item, f"{scope.id_prefix}{position}", scope) for position, item in enumerate(items, start=1)
    )


def _step(value: Value, own_id: str, scope: _Scope) -> Step:
    table = value.table(_KEYS)
    step_id = table.get("id", lambda found: found.name("step id"), own_id)
    uses = table.get("uses", _uses, "")
    if scope.after_failure and "uses" in table.entries:
        table.entries["uses"].note("a step of 'on_failure' must be a script, without 'uses'")
    _check_kind(table)
    return Step(
        id=step_id,
        name=table.get("name", Value.text, ""),
        condition=table.get("if", condition, ""),
        run=table.get("run", Value.filled_text, ""),
        uses=uses,
        with_=_with(table, uses, scope),
        env=table.get("env", environment, {}),
        secrets=table.get("secrets", secret_names, ()),
        timeout_s=table.get("timeout", timeout, None),
        retry=table.get("retry", _retry, None),
        rerun=table.get("rerun", lambda found: found.choice(RERUNS), "allowed"),
        resources=table.get("resources", read_resources, None),
        network=table.get("network", lambda found: found.choice(NETWORKS), "default"),
        image=table.get("image", Value.filled_text, ""),
        long_running=table.get("long_running", Value.boolean, False),
        cache_key_files=table.get("cache_key_files", lambda found: tuple(map(inner_path, found.items())), ()),
        continue_on_error=table.get("continue_on_error", Value.boolean, False),
        produces=table.get("produces", lambda found: read_produces(found, scope.artifacts), Produces()),
        on_failure=table.get("on_failure", lambda found: _on_failure(found, step_id, scope), ()),
        key=value.key,
    )


def condition(value: Value) -> str:
    """Return a CEL expression; `true` and `false` need no quotes."""
    if value.kind == "a boolean":
        return "true" if value.boolean() else "false"
    return value.filled_text()


def _uses(value: Value) -> str:
    text = value.text()
    if value.is_text and text not in BUILT_IN:
        value.fail(f"unknown built-in step {text!r}{did_you_mean(text, BUILT_IN)}")
    return text


def _check_kind(table: Table) -> None:
    if not table.value.is_map:
        return
    has_run, has_uses = "run" in table.entries, "uses" in table.entries
    if has_run and has_uses:
        table.entries["uses"].note("a step has either 'run' or 'uses', this one has both")
    if not has_run and not has_uses:
        table.value.note("a step needs 'run' (a shell script) or 'uses' (a built-in step)")
    if has_run and not has_uses and "with" in table.entries:
        table.entries["with"].note("'with' belongs to 'uses'; pass values to a script by 'env'")
    for name in _RUN_ONLY if has_uses and not has_run else ():
        if name in table.entries:
            table.entries[name].note(f"{name!r} belongs to 'run', a built-in step does not take it")


def _with(table: Table, uses: str, scope: _Scope) -> dict[str, object]:
    if uses not in BUILT_IN:
        return {}
    none: dict[str, object] = {}
    given = table.get("with", lambda found: read_with(uses, found, scope.artifacts), none)
    target = table.entries.get("with", table.value)
    for name in missing_with(uses, given) if target.is_map else ():
        target.note(f"the key {name!r} is missing in 'with' of {uses}")
    return given


def _retry(value: Value) -> Retry:
    table = value.table(_RETRY_KEYS)
    return Retry(
        max_attempts=table.get("max_attempts", lambda found: found.integer(1, _ATTEMPTS_MAX), 1),
        backoff_s=table.get("backoff", duration, 1.0),
        on=table.get("on", lambda found: tuple(item.integer(1, 255) for item in found.filled_items()), ()),
        clean=table.get("clean", Value.boolean, False),
    )


def _on_failure(value: Value, step_id: str, scope: _Scope) -> tuple[Step, ...]:
    if scope.after_failure:
        value.note("a step of 'on_failure' cannot have 'on_failure' itself")
        return ()
    return _steps(value, evolve(scope, id_prefix=f"{step_id}-failure-", after_failure=True))


def _check_ids(steps: tuple[Step, ...], problems: Problems) -> None:
    first: dict[str, str] = {}
    for step in all_steps(steps):
        given = f"{step.key}.id" in problems.marks
        place = f"{step.key}.id" if given else step.key
        if step.id in first:
            other = problems.marks[first[step.id]]
            where = f"first at line {other.line}, column {other.column}"
            made_up = "" if given else "; a step without an id gets this one; give it another"
            problems.at(place, f"the step id {step.id!r} is used twice, {where}{made_up}")
        first.setdefault(step.id, place)
        if not given and len(step.id) > _NAME_MAX:
            problems.at(step.key, "give this step an id; the id made from its parent's would be too long")
