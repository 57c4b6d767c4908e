"""Level `process`: own session, rlimits, scrubbed environment, closed descriptors.

In: a policy and a command. Out: a started process with pipes. The limits are in force before
the command's first instruction, because they are set between fork and exec; that is also why
the caller must have a single thread (CPython's warning on `preexec_fn`). Fails with `OSError`
when the program cannot be started.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Sequence

from tako.sandbox.policy import Limits, Policy
from tako.system.step_process import prepare_step

_CPU_KILL_AFTER_S = 5


def launch(policy: Policy, command: Sequence[str], *, private: bool = True) -> subprocess.Popen[bytes]:
    """Start `command` in its own session; stdout and stderr are pipes, stdin reads /dev/null.

    `private` applies the umask; the root run's own steps keep the user's.
    """
    limits = _rlimits(policy.limits)
    umask = policy.umask if private else -1
    owner = os.getpid()
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=policy.directory,
        env=dict(policy.environment),
        start_new_session=True,
        umask=umask,
        bufsize=0,
        preexec_fn=lambda: prepare_step(limits, owner),  # noqa: PLW1509 - one thread, see above
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
