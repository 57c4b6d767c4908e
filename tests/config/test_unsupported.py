from __future__ import annotations

import pytest

from tako.config.loader import load_config
from tako.config.unsupported import unsupported_keys


def _keys(workflow: str) -> list[tuple[str, str]]:
    config = load_config(f"version: 1.0\nworkflows: {{w: {{{workflow}}}}}\n".encode(), "tako.yml")
    return unsupported_keys(config.workflows["w"])


@pytest.mark.parametrize(
    ("step", "key"),
    [
        ("image: x", "image"),
        ("long_running: true", "long_running"),
        ("cache_key_files: [a]", "cache_key_files"),
    ],
)
def test_a_key_without_behaviour_is_named(step: str, key: str) -> None:
    assert [found for found, _ in _keys(f"steps: [{{run: x, {step}}}]")] == [f"workflows.w.steps[0].{key}"]


def test_steps_after_a_failure_are_looked_at_too() -> None:
    assert _keys("steps: [{run: x, on_failure: [{run: y, image: z}]}]") == [
        ("workflows.w.steps[0].on_failure[0].image", "image")
    ]


def test_a_fan_out_may_not_be_idempotent_yet() -> None:
    fan_out = "steps: [{{uses: tako/fan-out@v1, with: {{event_type: a, idempotent: {}}}}}]"
    assert _keys(fan_out.format("true")) == [("workflows.w.steps[0].with.idempotent", "idempotent: true")]
    assert _keys(fan_out.format("false")) == []


def test_keys_with_their_default_value_are_no_problem() -> None:
    steps = "steps: [{run: x, network: default, rerun: allowed}]"
    assert _keys(f"workspace: copy, sandbox: {{}}, resources: {{}}, secrets: [], {steps}") == []
