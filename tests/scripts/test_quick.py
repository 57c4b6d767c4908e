from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.modules import SOURCE

SCRIPT = SOURCE.parents[1] / "scripts" / "test"
_TOLD = 'echo "$(basename "$0") $*"\n'


@pytest.fixture
def told(tmp_path: Path) -> dict[str, str]:
    """Give the variables with which `scripts/test` only tells what it would run."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("ruff", "mypy", "python"):
        (tools / name).write_text(f"#!/bin/sh\n{_TOLD}")
        (tools / name).chmod(0o755)
    project = tmp_path / "project"
    (project / "scripts").mkdir(parents=True)
    (project / "scripts" / "test").write_bytes(SCRIPT.read_bytes())
    (project / "scripts" / "test").chmod(0o755)
    setup = project / "scripts" / "setup"
    setup.write_text(f"#!/bin/sh\necho {tmp_path}\n")
    setup.chmod(0o755)
    return {"PATH": os.defpath, "SCRIPT": str(project / "scripts" / "test"), "TMPDIR": str(tmp_path)}


def _told(told: dict[str, str], *arguments: str) -> list[str]:
    done = subprocess.run(
        [told["SCRIPT"], *arguments], env=told, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()


def test_quick_checks_style_and_types_and_runs_tests_that_exist(told: dict[str, str]) -> None:
    *checks, tests = _told(told, "--quick", "-x")
    assert checks == ["ruff check .", "ruff format --check .", "mypy "]
    assert tests.startswith("python -m pytest -q -n 2 -m not unmeasured -x tests/")
    places = [word for word in tests.split() if word.startswith("tests/")]
    assert len(places) > 10
    assert [place for place in places if not (SCRIPT.parents[1] / place).exists()] == []


def test_arguments_are_pytests_own(told: dict[str, str]) -> None:
    assert _told(told, "tests/journal", "-k", "two") == ["python -m pytest tests/journal -k two"]
