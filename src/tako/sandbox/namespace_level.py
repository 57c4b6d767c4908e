"""Level `namespace`: bubblewrap, with namespaces of its own for each step.

In: a policy and a command, in a worker that is in its own user and mount namespace already. Out: a
`Started` step. bubblewrap writes the pid of the sandbox's pid 1 to a pipe at once, and the step's exit
code only if the step was reached (bwrap(1), --json-status-fd): so a sandbox that failed is told from a
step that failed.

bubblewrap builds the wall outside of it, as the user. So bubblewrap has no environment at all: a variable
of the step's could make its loader run a file that the step wrote. The step's variables travel in a file in
memory, and bubblewrap sets them for the step alone.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial

from tako.sandbox.policy import Policy
from tako.sandbox.process_level import confine, start
from tako.sandbox.seccomp import program
from tako.sandbox.started import SandboxFailedError, Started
from tako.sandbox.variables import check_environment
from tako.system.storage.writing import memory_file
from tako.system.walls.landlock import keep_inside
from tako.system.walls.privileges import forbid_new_privileges

#: The sandbox itself, before anything of the machine is put into it.
_WALLS = (
    "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
    "--die-with-parent", "--cap-drop", "ALL", "--proc", "/proc", "--dev", "/dev",
)  # fmt: skip
_SAYS_ITS_PID_WITHIN_MS = 2000
#: bubblewrap takes no more words, those in the file of arguments included (its source: MAX_ARGS).
_WORDS_MAX = 9000
#: bubblewrap's own name, the options with descriptors, and what ends them.
_WORDS_OF_OURS = 8
_PAUSING = (signal.SIGSTOP, signal.SIGCONT)


def launch(bubblewrap: str, policy: Policy, command: Sequence[str]) -> Started:
    """Start `command` in a sandbox; raises `SandboxFailedError` if bubblewrap cannot be started.

    Raises `UsageError` if the policy's environment cannot be handed over.
    """
    encoded = _encoded(policy, command)
    listen, say = os.pipe2(os.O_CLOEXEC)
    filters = memory_file("seccomp", _filters(policy))
    arguments = memory_file("arguments", encoded)
    given = {"--json-status-fd": say, "--seccomp": filters, "--args": arguments}
    options = [word for name, descriptor in given.items() for word in (name, str(descriptor))]
    try:
        started = start(
            policy,
            (bubblewrap, *options, "--", *command),
            [partial(confine, policy.limits), forbid_new_privileges, keep_inside],
            directory="/",
            environment={},
            descriptors=tuple(given.values()),
        )
    except SandboxFailedError:
        os.close(listen)
        raise
    finally:
        for descriptor in given.values():
            os.close(descriptor)
    return Sandboxed(started.process, listen)


def _filters(policy: Policy) -> bytes:
    return program(network=policy.network, own_network=True, pinned=policy.limits.cpus is not None)


def _encoded(policy: Policy, command: Sequence[str]) -> bytes:
    """The operations as `--args` reads them, NUL behind each word; raises `UsageError`."""
    fixed = len(command) + _WORDS_OF_OURS + sum(map(len, _without_variables(policy)))
    check_environment(policy.environment, most=(_WORDS_MAX - fixed) // len(_set("", "")))
    words = [os.fsencode(word) for operation in operations(policy) for word in operation]
    if any(b"\0" in word for word in words):
        # What is behind it would be read as another operation.
        message = "the step cannot be started: a path of its sandbox holds a NUL character"
        raise SandboxFailedError(message)
    return b"".join(word + b"\0" for word in words)


def operations(policy: Policy) -> Iterator[tuple[str, ...]]:
    """Return bubblewrap's operations in order, each with its arguments (bwrap(1))."""
    yield from _without_variables(policy)
    for name, value in policy.environment.items():
        yield _set(name, value)


def _set(name: str, value: str) -> tuple[str, ...]:
    return ("--setenv", name, value)


def _without_variables(policy: Policy) -> Iterator[tuple[str, ...]]:
    yield _WALLS
    if not policy.terminal:
        # A session without a terminal; one that tako has made for the step alone is left to it.
        yield ("--new-session",)
    if policy.network == "none":
        yield ("--unshare-net",)
    for mount in policy.mounts:
        yield ("--bind" if mount.writable else "--ro-bind", mount.source, mount.target)
    for path, target in policy.links:
        yield ("--symlink", target, path)
    # Some of /proc root may write without any capability, and it changes the whole machine. The skeletons are
    # memory of the machine that no limit would see.
    for read_only in ("/proc", "/dev", "/"):
        yield ("--remount-ro", read_only)
    yield ("--chdir", policy.directory)


class Sandboxed(Started):
    """bubblewrap, and behind it the step in a pid namespace."""

    def __init__(self, process: subprocess.Popen[bytes], status: int) -> None:
        super().__init__(process)
        self._status = status
        self._said = b""
        self._inside: int | None = None

    def signal(self, number: int) -> None:
        """Signal the group of the step inside: bubblewrap itself would end at once and take it along.

        pid 1 of the sandbox leads that group; the kernel keeps from it all but SIGKILL and SIGSTOP
        (pid_namespaces(7)). A sandbox that is not up yet is killed, unless it is only to pause.
        """
        inside = self._find_inside()
        if inside is None:
            self.process.send_signal(signal.SIGKILL)
            return
        with suppress(ProcessLookupError, PermissionError):
            try:
                os.killpg(inside, number)
            except ProcessLookupError:
                # Not in a session of its own yet, or all have ended.
                os.kill(inside, number if number in _PAUSING else signal.SIGKILL)

    def check(self, said: str) -> None:
        """Raise `SandboxFailedError` if the step was never reached; `said` is the end of its log."""
        while self._read():
            pass
        os.close(self._status)
        if "exit-code" not in self._reported() and (self.process.returncode or 0) >= 0:
            message = f"the sandbox could not be set up: {said or 'bubblewrap gave no reason'}"
            raise SandboxFailedError(message, hint="`tako doctor` shows what works here")

    def _find_inside(self) -> int | None:
        if self._inside is None:
            poll = select.poll()
            poll.register(self._status, select.POLLIN)
            while "child-pid" not in self._reported():
                if not poll.poll(_SAYS_ITS_PID_WITHIN_MS) or not self._read():
                    return None
            self._inside = int(self._reported()["child-pid"])
        return self._inside

    def _read(self) -> bool:
        data = os.read(self._status, 4096)
        self._said += data
        return bool(data)

    def _reported(self) -> dict[str, int]:
        reported: dict[str, int] = {}
        for line in self._said.splitlines():
            with suppress(ValueError):
                reported |= json.loads(line)
        return reported
