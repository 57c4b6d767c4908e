"""Level `process`: own session, rlimits, scrubbed environment, closed descriptors, death with the worker.

In: a policy and a command. Out: a `Started` step. All is set in the forked process between fork(2) and
execve(2): so it is in force before the step's first instruction. `preexec_fn` costs a millisecond,
which posix_spawn(3) and vfork(2) would not, but neither can set a parent-death signal. A failure in
there is told through the pipe of CPython's `_posixsubprocess` that execve closes: `SandboxFailedError`.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from tako.sandbox.policy import Limits, Policy
from tako.sandbox.started import SandboxFailedError, Started
from tako.sandbox.variables import check_environment
from tako.system import crash_points
from tako.system.accounting.cgroups import enter
from tako.system.libc import die_with_parent
from tako.system.terminal import terminals

_CPU_KILL_AFTER_S = 5


def confine(limits: Limits) -> None:
    """Lower the rlimits of the calling process, and so of all it starts, soft and hard."""
    for name, soft, hard in _rlimits(limits):
        resource.setrlimit(name, (soft, hard))


def launch(policy: Policy, command: Sequence[str]) -> Started:
    """Start `command`; raises `SandboxFailedError` if it cannot be started under the policy.

    Raises `UsageError` if the policy's environment cannot be given to a program.
    """
    check_environment(policy.environment)
    return start(policy, command, [die_with_parent, lambda: confine(policy.limits)])


def start(
    policy: Policy,
    command: Sequence[str],
    preparations: Sequence[Callable[[], None]],
    *,
    directory: str = "",
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
    first: Callable[[], None] = lambda: None,
) -> Started:
    """Start `command` in its own session after `preparations` were called in its process.

    It starts in `directory` with `environment`, the policy's unless given, and inherits `descriptors` and
    nothing else. Callers that start a program of tako's own, with the step behind it, pass both. `first` is
    called before the process enters its control groups and gets its terminal.
    stdout and stderr are pipes and stdin reads /dev/null, unless the policy says otherwise. Signals that the
    worker handles have their default action in the step (execve(2)); the worker ignores none.
    """

    def prepare() -> None:  # pragma: no cover - between fork and exec, from where nothing measured comes back
        first()
        for group in policy.groups:
            enter(group)
        if policy.terminal:
            terminals.make_own()
        for preparation in preparations:
            preparation()

    crash_points.before("start", "step")
    try:
        with _streams(policy) as (stdin, stdout, stderr):
            process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=directory or policy.directory,
                env=dict(policy.environment if environment is None else environment),
                start_new_session=True,
                umask=policy.umask,
                pass_fds=descriptors,
                preexec_fn=prepare,  # noqa: PLW1509 - the worker has one thread
                bufsize=0,
            )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        message = f"the step cannot be started: {error}"
        raise SandboxFailedError(message) from error
    crash_points.after("start", "step")
    return Started(process)


@contextmanager
def _streams(policy: Policy) -> Iterator[tuple[int, int, int]]:
    """Yield the step's standard streams; a terminal is open only until the step has it."""
    if not policy.terminal:
        yield subprocess.PIPE if policy.reads else subprocess.DEVNULL, subprocess.PIPE, subprocess.PIPE
        return
    terminal = os.open(policy.terminal, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        yield terminal, terminal, terminal
    finally:
        os.close(terminal)


def _rlimits(limits: Limits) -> tuple[tuple[int, int, int], ...]:
    """The limits as (resource, soft, hard), none above the hard limit in force.

    Core files are limited to one byte: 0 would not keep the kernel from running the program that takes
    cores (core(5)).
    """
    wanted = (
        (resource.RLIMIT_CORE, 1),
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_FSIZE, limits.file_size),
        (resource.RLIMIT_NOFILE, limits.open_files),
        (resource.RLIMIT_NPROC, limits.processes),
        (resource.RLIMIT_AS, limits.address_space),
    )
    return tuple(_below_hard(name, value) for name, value in wanted if value is not None)


def _below_hard(name: int, value: int) -> tuple[int, int, int]:
    hard = resource.getrlimit(name)[1]
    # At the hard limit of CPU time the kernel sends SIGKILL, at the soft one SIGXCPU, which names the limit.
    room = _CPU_KILL_AFTER_S if name == resource.RLIMIT_CPU else 0
    if hard == resource.RLIM_INFINITY:
        return name, value, value + room
    return name, min(value, hard), min(value + room, hard)
