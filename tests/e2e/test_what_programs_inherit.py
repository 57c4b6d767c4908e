"""What the programs outside of the sandbox get, while a repository chooses its steps' environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tako.sandbox.policy import NAMESPACE, PROCESS
from tests.support.isolations import isolation, need
from tests.support.scenes import FAN_OUT, Scene, children
from tests.test_program_starts import DECIDING

pytestmark = pytest.mark.forked

_MARK = "chosen-by-a-repository"
_RECORDING = """#!/bin/sh
/usr/bin/tr '\\0' '\\n' < /proc/$$/environ > "{records}/{name}.$$"
exec "{program}" "$@"
"""


def _recorders(directory: Path, programs: dict[str, str]) -> tuple[Path, Path]:
    """Put programs of these names into a directory that note their environment first; gives both places."""
    records, programs_here = directory / "records", directory / "programs"
    records.mkdir()
    programs_here.mkdir()
    for name, program in programs.items():
        path = programs_here / name
        path.write_text(_RECORDING.format(records=records, name=name, program=program))
        path.chmod(0o755)
    return records, programs_here


def _found(name: str) -> str:
    return next(f"{place}/{name}" for place in os.environ["PATH"].split(":") if Path(place, name).exists())


@pytest.mark.parametrize("level", [PROCESS, NAMESPACE])
def test_no_variable_of_a_step_reaches_a_program_outside(scene: Scene, level: str) -> None:
    """Not from `env` of workflow and step, nor from what an earlier step wrote to `$TAKO_ENV`."""
    need(level)
    programs = {"git": _found("git")}
    if level == NAMESPACE:
        programs["bwrap"] = isolation(level).bubblewrap
    records, here = _recorders(scene.directory, programs)
    names = sorted(DECIDING.keys() - {"LD_PRELOAD", "LD_AUDIT", "HOME", "TMPDIR", "PS4", "IFS", "SHELLOPTS"})
    halves = names[::2], names[1::2]
    writing = "".join(f'echo {name}={_MARK} >> "$TAKO_ENV"\n' for name in halves[0])
    scene.subscriber(
        "acme/web",
        {"id": "first", "run": writing, "env": {"NODE_OPTIONS": _MARK}},
        {"id": "second", "run": "env", "env": {"PS4": _MARK}},
        env=dict.fromkeys(halves[1], _MARK),
    )
    app = scene.git_repo("acme/app", {"tako.yml": "{version: 0.1.0, workflows: {}}"})
    added = scene.tako("cache", "add", "acme/app", "--from", app)
    assert added.code == 0, added.stderr
    path = {"PATH": f"{here}:{os.environ['PATH']}"}
    release = ("exec", "release", "--keep", "--isolation", level)
    done = scene.tako(*release, cwd=scene.library(FAN_OUT), env=path)
    assert done.code == 0, done.stderr
    child = children(scene.status())["acme/web"]["run_id"]
    said = scene.tako("logs", child, "second").stdout.splitlines()
    shell = scene.tako("shell", child, "--step", "second", "--", "env", env=path)
    assert shell.code == 0, shell.stderr
    for seen in (said, shell.stdout.splitlines()):
        assert {f"{name}={_MARK}" for name in (*names, "PS4")} <= set(seen)
    noted = {record.name: record.read_text() for record in records.iterdir()}
    assert {name.split(".")[0] for name in noted} == programs.keys()
    assert [name for name, text in noted.items() if _MARK in text] == []
    assert {text for name, text in noted.items() if name.startswith("bwrap")} <= {""}
