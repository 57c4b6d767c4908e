"""What templates, conditions and the environment of a run's steps see: made from its journal alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tako.engine.run.spec import RunSpec
from tako.expressions.text import rendered_all
from tako.journal.parts import EventValue
from tako.journal.run_state import RunState
from tako.journal.stored import Values


def run_scope(spec: RunSpec, state: RunState, values: Values) -> dict[str, Any]:
    """The names that a template may use; `values` are those of its tree.

    Raises `UsageError` where the workflow's own `env` has a mistake, `StoredValueError`.
    """
    steps = {}
    for step in spec.workflow.steps:
        finished = state.step(step.id).finished
        if finished is not None:
            steps[step.id] = {
                "outputs": dict(state.outputs_of(step.id)),
                # CEL takes no other class of texts.
                "status": str(finished.status),
                "exit_code": finished.exit_code,
            }
    scope: dict[str, Any] = {"inputs": dict(values.read(spec.inputs)), "steps": steps}
    if spec.event is not None:
        scope["event"] = _event_scope(spec.event, values)
    scope["env"] = rendered_all(spec.workflow.env, scope) | state.environment
    return scope


def _event_scope(event: EventValue, values: Values) -> Mapping[str, Any]:
    from tako.engine.run.events import from_value
    from tako.events.scope import event_scope

    return event_scope(from_value(event, values))
