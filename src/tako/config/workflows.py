"""Reads workflows and subscriptions of a tako.yml.

In: nodes. Out: frozen values of `schema`; mistakes are noted.
"""

from __future__ import annotations

from collections.abc import Mapping

from tako.config.declarations import read_inputs, read_resources, read_sandbox
from tako.config.names import environment, secret_names, source_artifact, timeout
from tako.config.reading.values import Value, check_name
from tako.config.schema import Subscription, Workflow
from tako.config.steps import condition, read_steps

STARTS = ("exec", "event")
WORKSPACES = ("auto", "copy", "reflink", "overlay")
_KEYS = (
    "on", "description", "env", "secrets", "resources", "timeout", "parallel", "workspace", "sandbox",
    "inputs", "steps",
)  # fmt: skip
_SUBSCRIPTION_KEYS = ("artifact", "events", "schema_version", "filters", "workflow", "inputs")


def read_workflows(value: Value, artifacts: Mapping[str, object]) -> dict[str, Workflow]:
    """Read `workflows:`; `artifacts` are the declared ones."""
    return {
        name: _workflow(name, item, artifacts)
        for name, item in value.entries().items()
        if check_name(item, name, "workflow")
    }


def _workflow(name: str, value: Value, artifacts: Mapping[str, object]) -> Workflow:
    table = value.table(_KEYS)
    return Workflow(
        name=name,
        on=table.get("on", _on, STARTS),
        description=table.get("description", Value.text, ""),
        env=table.get("env", environment, {}),
        secrets=table.get("secrets", secret_names, ()),
        resources=table.get("resources", read_resources, None),
        timeout_s=table.get("timeout", timeout, None),
        parallel=table.get("parallel", Value.boolean, False),
        workspace=table.get("workspace", lambda found: found.choice(WORKSPACES), "auto"),
        sandbox=table.get("sandbox", read_sandbox, None),
        inputs=table.get("inputs", read_inputs, {}),
        steps=table.need("steps", lambda found: read_steps(found, artifacts), ()),
        key=value.key,
    )


def _on(value: Value) -> tuple[str, ...]:
    if value.is_list:
        return tuple(dict.fromkeys(item.choice(STARTS) for item in value.filled_items()))
    return (value.choice(STARTS),)


def read_subscriptions(value: Value) -> tuple[Subscription, ...]:
    """Read `subscriptions:`."""
    return tuple(_subscription(item) for item in value.items())


def _subscription(value: Value) -> Subscription:
    table = value.table(_SUBSCRIPTION_KEYS)
    return Subscription(
        artifact=table.need("artifact", source_artifact, ""),
        events=table.need("events", _events, ()),
        workflow=table.need("workflow", lambda found: found.name("workflow"), ""),
        schema_version=table.get("schema_version", Value.filled_text, ""),
        filters=table.get("filters", lambda found: tuple(condition(item) for item in found.items()), ()),
        inputs=table.get("inputs", _inputs, {}),
        key=value.key,
    )


def _events(value: Value) -> tuple[str, ...]:
    return tuple(item.name("event type") for item in value.filled_items())


def _inputs(value: Value) -> dict[str, object]:
    return {name: _input(item) for name, item in value.entries().items()}


def _input(value: Value) -> object:
    if value.is_map or value.is_list or value.kind == "nothing":
        value.expected("a string, a number, true or false")
        return ""
    # The text as written: `1.10` for an input of type string stays that.
    return value.data() if value.kind == "a boolean" else value.text()
