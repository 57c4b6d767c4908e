"""Runs a helper program to its end: own session, bounded time, nothing of it left behind.

In flow arguments, a complete environment and bytes for stdin; out flow exit code and output.
The program has no terminal (setsid(2)), so that nothing it starts can ask a question there. When
its time is over its whole process group is killed.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import IO

from attrs import frozen

from tako.system import crash_points
from tako.system.processes import HELPERS, signal_group
from tako.values import FrozenValue


@frozen(eq=False, repr=False)
class Ended(FrozenValue):
    """How a program ended; `returncode` is negative for a signal; `timed_out` when tako killed it."""

    returncode: int
    stdout: bytes
    stderr: bytes
    timed_out: bool = False


def run_program(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    cwd: Path | None = None,
    stdin: bytes = b"",
    stdout: IO[bytes] | int = subprocess.PIPE,
    timeout_s: float | None = None,
) -> Ended:
    """Run a program and wait for it, at most `timeout_s` seconds.

    Raises `OSError` if it cannot be started.
    """
    name = PurePath(arguments[0]).name
    crash_points.before("start", name)
    process = HELPERS.start(
        lambda: subprocess.Popen(
            arguments,
            env=environment,
            cwd=cwd,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    )
    crash_points.after("start", name)
    try:
        output, errors = process.communicate(stdin or None, timeout_s)
    except subprocess.TimeoutExpired:
        signal_group(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        return Ended(process.returncode, output or b"", errors, timed_out=True)
    except BaseException:
        # An interrupt must not leave a fetch running; the group is killed before the error goes on.
        signal_group(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    finally:
        HELPERS.ended(process.pid)
    return Ended(process.returncode, output or b"", errors)
