from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tako import errors, exit_codes

PAGE = (Path(__file__).parents[1] / "docs" / "command-line.md").read_text()


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -USR1 $$", 138)])
def test_a_program_ends_with_the_code_that_a_shell_would_have(script: str, code: int) -> None:
    done = subprocess.run(["/bin/sh", "-c", script], check=False)
    assert exit_codes.of_program(done.returncode) == code


def test_every_code_stands_in_the_reference() -> None:
    table = PAGE.split("| exit code | meaning |")[1].split("\n\n")[0]
    listed = {
        int(code) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for code in row.split(",")
    }
    stopping = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
    names = ("SUCCEEDED", "FAILED", "USAGE", "BUG", "MACHINE", "HELD", "TIMED_OUT")
    assert listed == {*(getattr(exit_codes, name) for name in names), *map(exit_codes.of_signal, stopping)}


def test_every_error_has_a_code_of_the_reference() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.TakoError)}
    assert codes == {1, 2, 3, 4, 5}
