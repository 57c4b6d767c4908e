from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support.modules import SOURCE

SETUP = SOURCE.parents[1] / "scripts" / "setup"


def _bin(directory: Path, *programs: str) -> Path:
    directory.mkdir()
    for program in programs:
        found = shutil.which(program)
        assert found is not None
        (directory / program).symlink_to(found)
    return directory


def _setup(path: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(cwd), "PATH": str(path), "TAKO_VENV": str(cwd / "venv")}
    return subprocess.run(
        [SETUP, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_without_python_it_says_what_to_install(tmp_path: Path) -> None:
    done = _setup(_bin(tmp_path / "bin", "bash", "dirname", "env"), cwd=tmp_path)
    assert done.returncode == 4
    assert "no Python 3.11 or newer found" in done.stderr
    assert done.stdout == ""


def test_an_old_python_is_passed_over(tmp_path: Path) -> None:
    path = _bin(tmp_path / "bin", "bash", "dirname", "env", "sh")
    (path / "python3").write_text("#!/bin/sh\nexit 1\n")
    (path / "python3").chmod(0o755)
    done = _setup(path, cwd=tmp_path)
    assert done.returncode == 4
    assert "no Python 3.11 or newer found" in done.stderr


def test_a_python_without_venv_is_named(tmp_path: Path) -> None:
    path = _bin(tmp_path / "bin", "bash", "dirname", "env", "sh")
    (path / "python3").write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\n')
    (path / "python3").chmod(0o755)
    done = _setup(path, cwd=tmp_path)
    assert done.returncode == 4
    assert f"{path / 'python3'} cannot make virtual environments" in done.stderr
    assert "python3-venv" in done.stderr


def test_an_unknown_argument_is_refused(tmp_path: Path) -> None:
    done = _setup(_bin(tmp_path / "bin", "bash", "dirname", "env"), "--nonsense", cwd=tmp_path)
    assert done.returncode == 2
    assert "--nonsense" in done.stderr
