"""Bombs and killers of every kind beside quiet children, under one real `tako exec`.

The quiet ones end as they do without the others; each of the others fails alone, told for what it did.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tako.sandbox.policy import LANDLOCK, NAMESPACE
from tests.sandbox.attacks.shot import python
from tests.support import scenes
from tests.support.git import Repositories
from tests.support.isolations import need
from tests.support.runner import Tako
from tests.support.scenes import (
    FAN_OUT,
    Scene,
    children,
    errors,
    records,
    subscription,
    tako_yml,
    workflow,
)

#: Ends tako's worker, forkserver, root and warden, and all the children of the forkserver, if it is let.
_KILLS = """
pid=$PPID
for level in 1 2 3 4; do
  test "$pid" -gt 1 || break
  above=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$pid/status)
  test $level != 2 || for child in $(cat /proc/$pid/task/*/children); do
    test $child = $worker || kill -KILL $child || true
  done
  test $level != 1 || worker=$pid
  kill -KILL $pid || true
  pid=$above
done
exit 3
"""
_QUIET = """
for n in 1 2 3 4 5 6; do head -c 5000000 /dev/zero | sha256sum >> sums; done
sha256sum < sums > report.txt
"""
_QUIET_STEP: Mapping[str, Any] = {
    "id": "works",
    "run": _QUIET,
    "produces": {
        "artifact": "report",
        "artifacts": ["report.txt"],
        "outputs": {"sum": "from_file:report.txt"},
    },
}
#: By name: the step, then what its failure is told as (kind, limit).
_HOSTILE: Mapping[str, tuple[Mapping[str, Any], tuple[str, str]]] = {
    "forks": (
        {"run": "b() { b | b & }; b; sleep 600", "resources": {"process_limit": 50}},
        ("limit_exceeded", "processes"),
    ),
    "remembers": (
        {
            "run": python("import time; x = b'x' * (300 << 20); time.sleep(600)"),
            "resources": {"mem_limit": "100Mi"},
        },
        ("limit_exceeded", "memory"),
    ),
    "shares": (
        {
            "run": "head -c 130000000 /dev/zero > /dev/shm/held; sleep 600",
            "resources": {"mem_limit": "100Mi"},
        },
        ("limit_exceeded", "memory"),
    ),
    "hoards": (
        {
            "run": "i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero > f$i; done",
            "resources": {"disk_limit": "20Mi"},
        },
        ("limit_exceeded", "disk"),
    ),
    "floods": ({"run": "yes", "resources": {"disk_limit": "20Mi"}}, ("limit_exceeded", "file size")),
    "spins": ({"run": "while :; do :; done", "timeout": "1s"}, ("timed_out", "")),
    "stays": (
        {"run": "(setsid sh -c \"trap '' TERM HUP; sleep 600\" > /dev/null 2>&1 &); exit 4"},
        ("step_failed", ""),
    ),
    "kills": ({"run": _KILLS}, ("step_failed", "")),
}


@pytest.fixture
def scene(tako: Tako, git_repo: Repositories, tmp_path: Path) -> Iterator[Scene]:
    """Give a library with subscribers."""
    with scenes.scene(tako, git_repo, tmp_path) as made:
        yield made


def _outputs(result: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """What the quiet children gave: statuses, outputs and hashes of artifacts."""
    return {
        name: (child["status"], child["steps"][0]["outputs"], child["steps"][0]["artifacts"])
        for name, child in children(result).items()
        if "quiet" in name
    }


def _left(scene: Scene) -> list[str]:
    """Mounts, control groups, workspaces of the quiet; processes are looked for after each test."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found = [line for line in mounts if str(scene.directory) in line]
    for journal in scene.directory.rglob("journal.jsonl"):
        written = records(journal.parent)
        pid = written[0]["identity"]["pid"]
        found += map(str, Path("/sys/fs/cgroup").glob(f"**/tako-{pid}-*"))
        if written[-1].get("status") == "succeeded" and (journal.parent / "work").exists():
            found.append(str(journal.parent / "work"))
    return found


@pytest.mark.parametrize("level", [LANDLOCK, NAMESPACE])
def test_quiet_children_end_as_without_the_hostile_ones_beside_them(scene: Scene, level: str) -> None:
    need(level)
    words = ("exec", "release", "--jobs", "2", "--isolation", level, "--output", "json")
    checkout = scene.library(FAN_OUT)
    numbers = itertools.count(10)
    # Children start in the order of their names: every hostile one has a quiet one beside it.
    hostile = {name: f"acme/{2 * next(numbers)}-{name}" for name in _HOSTILE}
    for number in range(21, 20 + 2 * len(hostile), 2):
        config = tako_yml(
            {"check": workflow(_QUIET_STEP)}, [subscription()], artifacts={"report": {"path": "."}}
        )
        scene.checkout(f"acme/{number}-quiet", {"tako.yml": config})
    alone = scene.tako(*words, cwd=checkout)
    assert alone.code == 0, alone.json["failures"]
    for name, repository in hostile.items():
        scene.subscriber(repository, {"id": "attacks", **_HOSTILE[name][0]})
    together = scene.tako(*words, cwd=checkout)
    assert together.code == 1, together.stdout
    assert _outputs(together.json) == _outputs(alone.json)
    assert len(_outputs(alone.json)) == len(_HOSTILE)
    told = errors(together.json)
    assert {
        name: (told[repository]["kind"], told[repository]["limit"]) for name, repository in hostile.items()
    } == {name: verdict for name, (_, verdict) in _HOSTILE.items()}, json.dumps(told, indent=1)
    assert _left(scene) == []
