from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support import runner
from tests.support.modules import SOURCE
from tests.support.runner import Finished

DEMO = SOURCE.parents[1] / "scripts" / "demo"
REPOSITORIES = ("acme/greeting", "acme/web", "acme/tool", "acme/kit", "acme/app")


@pytest.fixture
def command(tmp_path: Path) -> str:
    """One file that starts the tako under test, installed or not."""
    file = tmp_path / "tako"
    file.write_text(f'#!/bin/sh\nexec {shlex.join(runner.command())} "$@"\n')
    file.chmod(0o755)
    return str(file)


def _demo(tmp_path: Path, command: str, *arguments: str) -> Finished:
    environment = runner.clean_environment(tmp_path) | {"TAKO": command}
    done = subprocess.run(
        [DEMO, *arguments],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=runner.GENEROUS_S,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def _halves(output: str) -> tuple[str, str]:
    release, _, afterwards = output.partition("What the journals say afterwards")
    return release.partition("The library is released")[2], afterwards


def test_the_release_goes_through_every_repository(tmp_path: Path, command: str) -> None:
    done = _demo(tmp_path, command)
    assert done.code == 0, done.stderr
    release, _ = _halves(done.stderr)
    assert [name for name in REPOSITORIES if name not in release] == []


def test_status_agrees_with_what_the_release_printed(tmp_path: Path, command: str) -> None:
    done = _demo(tmp_path, command)
    afterwards = done.stdout + _halves(done.stderr)[1]
    assert [name for name in REPOSITORIES if name not in afterwards] == []
    assert "failed" not in afterwards


def test_a_failing_child_is_named_with_step_exit_code_and_last_lines(tmp_path: Path, command: str) -> None:
    done = _demo(tmp_path, command, "--fail")
    assert done.code == 1
    release, _ = _halves(done.stderr)
    assert "acme/web" in release
    assert "test" in release
    assert "exit code 1" in release
    assert "-Good morning, world!" in release


def test_an_unknown_argument_is_refused(tmp_path: Path, command: str) -> None:
    done = _demo(tmp_path, command, "--nonsense")
    assert done.code == 2
    assert "--nonsense" in done.stderr
