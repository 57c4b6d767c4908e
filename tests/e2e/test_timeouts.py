"""Timeouts of a workflow and of a fan-out go down the ladder, and what was said on the way is kept."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.scenes import FAN_OUT, Scene, children, fan_out

pytestmark = pytest.mark.forked

_GRACE_S = 10.0
_TIMEOUT_S = 4.0
_STUBBORN = "trap 'printf heard' TERM; echo begun; while :; do sleep 600 & wait || true; done"
_POLITE = "trap 'echo ending; printf ended >&2; exit 7' TERM; echo begun; sleep 600 & wait"


def _log(scene: Scene, run: dict[str, Any]) -> bytes:
    [root] = scene.runs()
    directory = root if run["run_id"] == root.name else root / "children" / run["run_id"]
    return (directory / "logs" / "step-1.log").read_bytes()


def _timed_out(scene: Scene, checkout: Path) -> Any:  # noqa: ANN401 - JSON
    """Run until it is out of time; gives the result."""
    since = time.monotonic()
    done = scene.tako("exec", "release", "--jobs", "2", "--output", "json", cwd=checkout)
    assert done.code == 124, done.stderr
    assert time.monotonic() - since >= _TIMEOUT_S + _GRACE_S
    return done.json


def _killed(scene: Scene, run: dict[str, Any]) -> None:
    step = run["steps"][0]
    assert (run["status"], step["status"], step["signal"]) == ("timed_out", "timed_out", "SIGKILL")
    assert _log(scene, run) == b"begun\nheard\n"


@pytest.mark.parametrize("whose", ["workflow", "fan-out"])
def test_a_child_that_ignores_its_end_is_killed_after_the_grace_with_its_log_complete(
    scene: Scene, whose: str
) -> None:
    scene.settings("isolation: process\n")
    scene.subscriber("acme/stubborn", _STUBBORN)
    scene.subscriber("acme/polite", _POLITE)
    if whose == "workflow":
        checkout = scene.library(FAN_OUT, timeout=f"{_TIMEOUT_S:.0f}s")
    else:
        checkout = scene.library(fan_out(timeout=f"{_TIMEOUT_S:.0f}s"))
    result = _timed_out(scene, checkout)
    found = children(result)
    _killed(scene, found["acme/stubborn"])
    polite = found["acme/polite"]
    assert (polite["steps"][0]["status"], polite["steps"][0]["exit_code"]) == ("timed_out", 7)
    assert _log(scene, polite) == b"begun\nending\nended\n"


def test_a_step_of_a_workflow_that_is_out_of_time_is_killed_after_the_grace(scene: Scene) -> None:
    result = _timed_out(scene, scene.library(_STUBBORN, timeout=f"{_TIMEOUT_S:.0f}s"))
    _killed(scene, result)
