"""What is wrong with one repository of the cache stays with it: the others run."""

from __future__ import annotations

import signal
import time

import psutil
import pytest

from tests.support.run_processes import survivors, title, whole_tree
from tests.support.runner import GENEROUS_S
from tests.support.scenes import FAN_OUT, Scene, children, errors, fan_out, subscription, tako_yml, workflow

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


#: Looks at a long text sixty times: some tenths of a second, in a process of its own.
_DEAR = " && ".join(f'!event.payload.text.contains("{"y" * 20}{number}")' for number in range(60))
_HEAVY = fan_out(payload={"text": "y" * 900_000})


def _await_filters(warden: int) -> None:
    """Wait until the process that evaluates filters lives: it has no other event for a bystander."""
    deadline = time.monotonic() + GENEROUS_S
    while not any(
        title(child) == "tako: filters" for child in psutil.Process(warden).children(recursive=True)
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_filters_that_take_too_long_are_their_own_repositorys_failure(scene: Scene) -> None:
    scene.settings("filter_time: {repository: 150ms}\n")
    scene.subscriber("acme/greedy", "true", subscribed={"filters": [_DEAR]})
    scene.subscriber("acme/modest", "true", subscribed={"filters": ["size(event.payload.text) > 5"]})
    done = scene.tako(*EXEC, cwd=scene.library(_HEAVY))
    assert done.code == 1, done.stderr
    assert children(done.json)["acme/modest"]["status"] == "succeeded"
    error = errors(done.json)["acme/greedy"]
    assert error["kind"] == "limit_exceeded"
    assert error["message"].startswith("filter `!event.payload.text.contains")
    assert "needs more computing than one repository may use: 150ms" in error["message"]


def test_an_interrupt_ends_filters_at_once_and_a_resume_plans_anew(scene: Scene) -> None:
    scene.settings("filter_time: {repository: 1h, fan_out: 1h}\n")
    for number in range(20):
        # All of one repository are evaluated one after the other: minutes in all.
        scene.subscriber(f"acme/heavy-{number}", "true", subscribed={"filters": [_DEAR] * 20})
    checkout = scene.library(_HEAVY)
    with scene.tako.started(*EXEC, cwd=checkout) as process:
        _await_filters(process.pid)
        tree = whole_tree(process.pid)
        asked = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=GENEROUS_S)
        assert time.monotonic() - asked < 10
        assert survivors(tree, time.monotonic()) == []
    assert process.returncode == 130
    result = scene.status()
    assert (result["status"], result["exit_code"]) == ("cancelled", 130)
    assert [step["status"] for step in result["steps"]] == ["cancelled"]
    scene.settings("filter_time: {repository: 10ms, fan_out: 10ms}\n")
    again = scene.tako("exec", "--resume", result["run_id"], "--output", "json")
    assert again.code == 1, again.stderr
    assert {error["kind"] for error in errors(again.json).values()} == {"limit_exceeded"}
    assert len(errors(again.json)) == 20
