"""Level `process`: own session, rlimits, scrubbed environment, closed descriptors.

In: a policy and a command. Out: a started process with pipes. The rlimits are those of the worker
itself, which `confine` lowers for good before its first step: so they are in force before the step's
first instruction, and the step can be started by vfork(2), which copies nothing of the worker
(`preexec_fn` would: 1-2 ms for each step). Fails with `OSError` when the program cannot be started.
"""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Sequence

from tako.sandbox.policy import Limits, Policy

_CPU_KILL_AFTER_S = 5


def confine(limits: Limits) -> None:
    """Lower the limits of the calling worker, and so of all it starts, soft and hard."""
    for name, soft, hard in _rlimits(limits):
        resource.setrlimit(name, (soft, hard))


def launch(policy: Policy, command: Sequence[str], *, private: bool = True) -> subprocess.Popen[bytes]:
    """Start `command` in its own session; stdout and stderr are pipes, stdin reads /dev/null.

    `private` applies the umask; the root run's own steps keep the user's. Signals that the worker handles
    have their default action in the step (execve(2)); the worker ignores none.
    """
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=policy.directory,
        env=dict(policy.environment),
        start_new_session=True,
        umask=policy.umask if private else -1,
        bufsize=0,
    )


def _rlimits(limits: Limits) -> tuple[tuple[int, int, int], ...]:
    """The limits as (resource, soft, hard), none above the hard limit in force.

    Core files are limited to one byte: 0 would not keep a core_pattern that starts with a pipe
    from being run (core(5)).
    """
    wanted = (
        (resource.RLIMIT_CORE, 1),
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_FSIZE, limits.file_size),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_NPROC, limits.processes),
    )
    return tuple(_below_hard(name, value) for name, value in wanted if value is not None)


def _below_hard(name: int, value: int) -> tuple[int, int, int]:
    hard = resource.getrlimit(name)[1]
    # At the hard limit of CPU time the kernel sends SIGKILL, at the soft one SIGXCPU, which names the limit.
    room = _CPU_KILL_AFTER_S if name == resource.RLIMIT_CPU else 0
    if hard == resource.RLIM_INFINITY:
        return name, value, value + room
    return name, min(value, hard), min(value + room, hard)
