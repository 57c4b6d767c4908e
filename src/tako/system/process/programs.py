"""Runs a helper program to its end: own session, bounded time, nothing of it left behind.

In: arguments, a complete environment and bytes for stdin. Out: exit code and output.
The program has no terminal (setsid(2)), so that nothing it starts can ask a question there. It is over when
the program has ended and what was written so far is read: what it leaves in a session of its own, as ssh
and credential helpers do for the next call, is not waited for. When its time is over its whole process
group is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePath

from tako.system import crash_points
from tako.system.process.descendants import HELPERS, signal_group
from tako.system.process.pipes import Pipes
from tako.values import value

#: For what others still write that have the program's pipes.
_GRACE_S = 0.2
#: How long a killed program may take to be gone.
_GONE_WITHIN_S = 10.0


@value
class Ended:
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
    timeout_s: float | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Ended:
    """Run a program and wait for it, at most `timeout_s` seconds. Of a long stderr only the end is kept.

    `meanwhile` is called several times a second, and ends the program by raising.
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
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    )
    crash_points.after("start", name)
    try:
        return _to_its_end(process, stdin, timeout_s, meanwhile)
    except BaseException:
        # An interrupt must not leave a fetch running; the group is killed before the error goes on.
        signal_group(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        HELPERS.ended(process.pid)


def _to_its_end(
    process: subprocess.Popen[bytes],
    stdin: bytes,
    timeout_s: float | None,
    meanwhile: Callable[[], None] | None,
) -> Ended:
    pipes = Pipes(process, stdin)
    pidfd = os.pidfd_open(process.pid)
    try:
        in_time = ended = pipes.attend(pidfd, timeout_s, meanwhile)
        if not in_time:
            signal_group(process.pid, signal.SIGKILL)
            ended = pipes.attend(pidfd, _GONE_WITHIN_S)
    finally:
        os.close(pidfd)
    pipes.drain(_GRACE_S)
    with suppress(subprocess.TimeoutExpired):
        # A traced process has ended a moment before anybody but its tracer can collect it (ptrace(2)).
        process.wait(_GONE_WITHIN_S if ended else 0)
    code = process.returncode
    # What hangs in the kernel (uninterruptible sleep) is left to whoever ends everything.
    return Ended(-signal.SIGKILL if code is None else code, *pipes.said, timed_out=not in_time)
