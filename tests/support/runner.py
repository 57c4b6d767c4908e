"""Starts the real `tako` as another program would: in an environment of its own, bounded in time.

In: arguments, working directory, more environment. Out: exit code and both streams. What it
started is dead when it returns, also when the test fails in between.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen

GENEROUS_S = 120.0
"""Bounds a hang; no test expects to get near it."""

_ENTRY = "import sys; from tako.cli.main import main; sys.exit(main())"


def command() -> list[str]:
    """Give the installed console script, or the same by hand where tako is only on the module path."""
    script = Path(sys.executable).parent / "tako"
    return [str(script)] if script.exists() else [sys.executable, "-P", "-c", _ENTRY]


@frozen
class Finished:
    """How one command ended; a negative `code` is the signal that ended it."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever the command printed
        """Give stdout, read as JSON."""
        return json.loads(self.stdout)


def _kill_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class Fork(Protocol):
    """What runs the command without executing it: tests.support.zygote."""

    def __call__(self, *arguments: str, cwd: Path, env: Mapping[str, str]) -> Finished:
        """Run it to its end."""


@frozen
class Tako:
    """The command line tool, on one `TAKO_HOME`; `environment` is all that the process gets."""

    environment: Mapping[str, str]
    directory: Path
    #: Runs what is waited for; without it all is executed.
    fork: Fork | None = None

    @property
    def home(self) -> Path:
        """The `TAKO_HOME` of every command."""
        return Path(self.environment["TAKO_HOME"])

    @contextlib.contextmanager
    def started(
        self, *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """Give the running command, with pipes; whatever is left of it is killed at the end."""
        process = subprocess.Popen(
            [*command(), *map(str, arguments)],
            cwd=cwd or self.directory,
            env={**self.environment, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=True,
        )
        with process:
            try:
                yield process
            finally:
                _kill_group(process)

    def __call__(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = GENEROUS_S,
    ) -> Finished:
        """Run one command to its end.

        Raises `subprocess.TimeoutExpired` after `timeout_s` seconds, `TimeoutError` where it is forked.
        """
        if self.fork is not None and timeout_s == GENEROUS_S:
            whole = {**self.environment, **(env or {})}
            return self.fork(*map(str, arguments), cwd=cwd or self.directory, env=whole)
        with self.started(*arguments, cwd=cwd, env=env) as process:
            stdout, stderr = process.communicate(timeout=timeout_s)
        return Finished(process.returncode, stdout, stderr)


def run_program(words: Sequence[str], env: Mapping[str, str], cwd: Path | None = None) -> Finished:
    """Run any program to its end, with nothing to read and no other environment."""
    done = subprocess.run(
        words,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=GENEROUS_S,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def clean_environment(directory: Path) -> dict[str, str]:
    """Give an environment below `directory`, with nothing of the person who runs the tests but PATH."""
    home = directory / "home"
    home.mkdir(exist_ok=True)
    own_bin = str(Path(sys.executable).parent)
    environment = {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PATH": os.pathsep.join([own_bin, os.environ.get("PATH", os.defpath)]),
        "TAKO_HOME": str(directory / "tako-home"),
    }
    # TMPDIR is this worker's own; the others measure coverage of, and find, a tako that is not installed.
    kept = ("TMPDIR", "PYTHONPATH", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "COVERAGE_FILE")
    return environment | {name: os.environ[name] for name in kept if name in os.environ}


def cron_environment(tako: Tako) -> dict[str, str]:
    """Give what cron gives (crontab(5)), and what finds tako where it is not installed."""
    name = pwd.getpwuid(os.geteuid()).pw_name
    environment = {
        "HOME": tako.environment["HOME"],
        "LOGNAME": name,
        "PATH": "/usr/bin:/bin",
        "SHELL": "/bin/sh",
    }
    kept = ("PYTHONPATH", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "COVERAGE_FILE")
    return environment | {key: tako.environment[key] for key in kept if key in tako.environment}
