"""What is wrong with one repository of the cache stays with it: the others run."""

from __future__ import annotations

import pytest

from tests.support.scenes import FAN_OUT, Scene, children, errors, subscription, tako_yml, workflow

pytestmark = pytest.mark.forked

EXEC = ("exec", "release", "--output", "json")


def test_a_default_that_a_broken_pattern_cannot_check_is_a_mistake_of_that_file(scene: Scene) -> None:
    inputs = {"v": {"default": "x", "validation": {"pattern": "("}}}
    config = tako_yml({"check": workflow("true", inputs=inputs)}, [subscription()])
    broken = scene.checkout("acme/broken", {"tako.yml": config})
    scene.subscriber("acme/good", "true")
    said = scene.tako("validate", str(broken))
    assert (said.code, said.stderr) == (2, "")
    assert "workflows.check.inputs.v.validation.pattern: not a regular expression" in said.stdout
    done = scene.tako(*EXEC, cwd=scene.library(FAN_OUT))
    assert done.code == 1, done.stderr
    assert children(done.json)["acme/good"]["status"] == "succeeded"
    assert errors(done.json)["acme/broken"]["kind"] == "config_invalid"
