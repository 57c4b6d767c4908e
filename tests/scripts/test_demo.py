from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support import runner
from tests.support.modules import SOURCE

DEMO = SOURCE.parents[1] / "scripts" / "demo"
REPOSITORIES = ("acme/greeting", "acme/web", "acme/tool", "acme/kit", "acme/app")


@pytest.fixture
def command(tmp_path: Path) -> str:
    """One file that starts the tako under test, installed or not."""
    file = tmp_path / "tako"
    file.write_text(f'#!/bin/sh\nexec {shlex.join(runner.command())} "$@"\n')
    file.chmod(0o755)
    return str(file)


def _demo(tmp_path: Path, command: str, *arguments: str) -> tuple[int, str]:
    """Run it; gives its exit code and what a person sees, both streams in order."""
    done = subprocess.run(
        [DEMO, *arguments],
        cwd=tmp_path,
        env=runner.clean_environment(tmp_path) | {"TAKO": command},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=runner.GENEROUS_S,
        check=False,
    )
    return done.returncode, done.stdout


def _halves(output: str) -> tuple[str, str]:
    release, _, afterwards = output.partition("What the journals say afterwards")
    return release.partition("The library is released")[2], afterwards


def _tree(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.lstrip("│├└─ ").startswith(("✓", "✗", "·"))]


def test_the_release_goes_through_every_repository_and_status_agrees(tmp_path: Path, command: str) -> None:
    code, output = _demo(tmp_path, command)
    assert code == 0, output
    release, afterwards = _halves(output)
    tree = _tree(release)
    assert [name for name in REPOSITORIES if not any(f"✓ {name}" in line for line in tree)] == []
    assert _tree(afterwards) == tree


def test_a_failing_child_is_named_with_step_exit_code_and_last_lines(tmp_path: Path, command: str) -> None:
    code, output = _demo(tmp_path, command, "--fail")
    assert code == 1, output
    release, _ = _halves(output)
    summary = release[release.index("✗ acme/greeting") :]
    assert "acme/web" in summary
    assert "test" in summary
    assert "exit code 1" in summary
    assert "-Good morning, world!" in summary


def test_an_unknown_argument_is_refused(tmp_path: Path, command: str) -> None:
    code, output = _demo(tmp_path, command, "--nonsense")
    assert code == 2
    assert "--nonsense" in output
