"""Watches and disturbs system calls of a command and all it starts, by strace(1)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from attrs import frozen

from tests.support.runner import GENEROUS_S, Finished, Tako, command

needs_strace = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("strace") is None,
    reason="needs strace, and root to see what processes have open that may not be looked at",
)
#: `17 write(3</a/file>, "text"..., 9) = 9`, perhaps cut in two: `<unfinished ...>`, `<... write resumed>`.
_CALL = re.compile(
    r'(\d+) +(?:<\.\.\. )?(\w+)(?:\(\d+<([^>]*)>(?:, "((?:[^"\\]|\\.)*)"\.*, \d+)?|(?= resumed))'
)
_RESULT = re.compile(r"\) += (\d+)")


@frozen
class Call:
    """One call on an open file; `began` and `ended` are its places in the order of all that happened."""

    name: str
    path: Path
    began: int
    ended: int
    #: The beginning of what was written, and how much was.
    data: str
    result: int


def traced(tako: Tako, *arguments: str, options: Sequence[str], cwd: Path) -> Finished:
    """Run `tako` under strace."""
    done = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-qq", *options, *command(), *arguments],
        cwd=cwd,
        env=dict(tako.environment),
        capture_output=True,
        text=True,
        timeout=GENEROUS_S,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def calls(tako: Tako, *arguments: str, names: str, output: Path, cwd: Path) -> tuple[Finished, list[Call]]:
    """Run `tako`; gives also all calls with these names (`a,b`), in the order in which they ended."""
    options = ["-y", "-s", "200", "-e", f"trace={names}", "-e", "signal=none", "-o", str(output)]
    done = traced(tako, *arguments, options=options, cwd=cwd)
    return done, list(_calls(output.read_text().splitlines()))


def _calls(lines: list[str]) -> Iterator[Call]:
    begun: dict[str, tuple[int, str, str]] = {}
    for number, line in enumerate(lines):
        found = _CALL.match(line)
        if found is None:
            continue
        pid, name, path, data = found.groups()
        if path is not None:
            begun[pid] = number, path, data or ""
        result = _RESULT.search(line)
        if result is not None:
            began, path, data = begun.pop(pid)
            yield Call(name, Path(path), began, number, data.replace('\\"', '"'), int(result[1]))
