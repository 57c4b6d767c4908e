"""The worker's half of `tako/fan-out@v1`: build the event; finding and running children is the root's.

In: the step, the run so far. Out: an `EventEmitted` record. Fails with `UsageError` (a template,
a version or a payload that cannot be an event), which fails the step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tako.config.reading.texts import text_problem
from tako.config.reading.yaml_walk import child_key
from tako.config.schema import EventSpec, Step, Workflow
from tako.engine.run.events import to_value
from tako.engine.run.spec import RunSpec
from tako.errors import UsageError
from tako.events.event import DEFAULT_ARTIFACT, Event, checked_event
from tako.expressions.templates import render, render_value
from tako.journal.records import EventEmitted
from tako.journal.run_state import RunState
from tako.journal.statuses import SUCCEEDED

_DEFAULT_VERSION = "1.0.0"


def build_event(
    spec: RunSpec, step: Step, state: RunState, scope: Mapping[str, Any], *, clock: Callable[[], float]
) -> EventEmitted:
    """The event that `step` emits, with the settings of its fan-out.

    Type, artifact, schema version and payload come from the `produces.events` of an earlier step with
    that type; `with:` overrides them.
    """
    # The loader has checked each option's type; the schema only says that `with` holds anything.
    options: Mapping[str, Any] = step.with_
    event_type = render(str(options["event_type"]), scope)
    producer, declared = _producer(spec.workflow, step, state, event_type)
    payload = options.get("payload")
    inner = {**scope, "outputs": state.outputs_of(producer.id)} if producer else scope
    rendered: Any = render_value(declared.payload if payload is None and declared else payload or {}, inner)
    version = str(
        options.get("schema_version") or (declared.schema_version if declared else _DEFAULT_VERSION)
    )
    _check_texts(rendered, "payload")
    event = Event(
        type=event_type,
        schema_version=render(version, inner),
        payload=rendered,
        source=spec.repository,
        artifact=_artifact(spec, options, producer),
        run_id=spec.run_id,
    )
    return EventEmitted(
        at=clock(),
        step=step.id,
        event=to_value(checked_event(event)),
        wait_for_children=bool(options.get("wait_for_children", True)),
        timeout_s=_timeout_s(step, options),
        concurrency_limit=options.get("concurrency_limit"),
        on_child_failure=str(options.get("on_child_failure", "fail")),
    )


def _check_texts(value: object, where: str) -> None:
    """Raise `UsageError` for a text that a template made and that no condition could be given whole."""
    if isinstance(value, str):
        problem = text_problem(value)
        if problem:
            message = f"{where} cannot be used: {problem}"
            raise UsageError(message)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            _check_texts(name, f"a key of {where}")
            _check_texts(item, child_key(where, name))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            _check_texts(item, f"{where}[{position}]")


def _timeout_s(step: Step, options: Mapping[str, Any]) -> float | None:
    """The shorter of the step's own timeout and that of `with:`."""
    return min(
        (limit for limit in (step.timeout_s, options.get("timeout")) if limit is not None), default=None
    )


def _producer(
    workflow: Workflow, step: Step, state: RunState, event_type: str
) -> tuple[Step | None, EventSpec | None]:
    earlier = workflow.steps[: next(i for i, other in enumerate(workflow.steps) if other.id == step.id)]
    for candidate in reversed(earlier):
        for declared in candidate.produces.events:
            if declared.type == event_type and state.step(candidate.id).status == SUCCEEDED:
                return candidate, declared
    return None, None


def _artifact(spec: RunSpec, options: Mapping[str, Any], producer: Step | None) -> str:
    chosen = str(options.get("artifact") or "") or (producer.produces.artifact if producer else "")
    if chosen:
        return chosen
    return spec.artifact_names[0] if len(spec.artifact_names) == 1 else DEFAULT_ARTIFACT
