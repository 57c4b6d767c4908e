"""What templates, conditions and the environment of a run's steps see: made from its journal alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tako.engine.run.spec import RunSpec
from tako.expressions.text import rendered_all
from tako.journal.fold import RunState


def run_scope(spec: RunSpec, state: RunState) -> dict[str, Any]:
    """The names that a template may use; raises `UsageError` where the workflow's own `env` has a mistake."""
    steps = {}
    for step in spec.workflow.steps:
        finished = state.step(step.id).finished
        if finished is not None:
            steps[step.id] = {
                "outputs": dict(state.outputs_of(step.id)),
                "status": finished.status,
                "exit_code": finished.exit_code,
            }
    scope: dict[str, Any] = {"inputs": dict(spec.inputs), "steps": steps}
    if spec.event is not None:
        scope["event"] = _event_scope(spec)
    scope["env"] = rendered_all(spec.workflow.env, scope) | state.environment
    return scope


def _event_scope(spec: RunSpec) -> Mapping[str, Any]:
    from tako.engine.steps.fan_out import from_value
    from tako.events.scope import event_scope

    assert spec.event is not None
    return event_scope(from_value(spec.event))
