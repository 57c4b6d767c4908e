"""Level `landlock`: files only where they are allowed, no signals or abstract sockets to outside.

In: a policy and a command. Out: a `Started` step. Paths stay as they are: each source of the policy's mounts
is allowed where it lies. Everything is set in the forked process before execve(2); a failure there is a
`SandboxFailedError`. Needs no privilege, so it works where user namespaces are forbidden.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from functools import partial

from tako.sandbox.policy import Mount, Policy
from tako.sandbox.process_level import confine, start
from tako.sandbox.seccomp import program
from tako.sandbox.started import SandboxFailedError, Started
from tako.system import landlock
from tako.system.landlock import Allowed
from tako.system.libc import die_with_parent
from tako.system.privileges import drop_capabilities, filter_calls, forbid_new_privileges

_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
#: Without the terminals in /dev/pts: what is written there a person reads.
_READABLE = ("/proc", "/etc/gitconfig")
#: Whichever terminal a process has as its own (tty(4)).
_OWN_TERMINAL = "/dev/tty"


def launch(policy: Policy, command: Sequence[str]) -> Started:
    """Start `command`; raises `SandboxFailedError` if it cannot be held as the policy says."""
    allowed = tuple(rules(policy))
    filters = program(network=policy.network, among_others=True)
    return start(
        policy,
        command,
        [
            die_with_parent,
            partial(confine, policy.limits),
            forbid_new_privileges,
            drop_capabilities,
            partial(landlock.restrict, allowed, network=policy.network),
            partial(filter_calls, filters),
        ],
    )


def rules(policy: Policy) -> Iterator[Allowed]:
    """What the step may do with which file."""
    for mount in policy.mounts:
        yield Allowed(mount.source, landlock.READ | landlock.WRITE if mount.writable else landlock.READ)
    for path, _ in policy.links:
        yield Allowed(path, landlock.READ)
    yield from (Allowed(path, landlock.READ) for path in _READABLE)
    yield from (Allowed(path, landlock.DEVICE) for path in _DEVICES)
    if policy.terminal:
        yield from (Allowed(path, landlock.DEVICE) for path in (policy.terminal, _OWN_TERMINAL))


def describe() -> tuple[str, ...]:
    """What this kernel enforces, in words."""
    version = landlock.abi()
    held = ["files"]
    held += ["signals", "abstract sockets"] if version >= landlock.ABI_SCOPES else []
    return (
        f"landlock ABI {version}: {', '.join(held)}",
        "no capabilities",
        "no new privileges",
        "seccomp filter",
    )


def works() -> str:
    """Why the level does not work here; empty if a file outside was refused and one inside was written."""
    if not landlock.abi():
        return "the kernel has no Landlock: it needs Linux 5.13 and `landlock` in its list of LSMs (lsm=)"
    import tempfile

    with tempfile.TemporaryDirectory() as inside, tempfile.NamedTemporaryFile() as outside:
        mounts = (*(Mount(path, path) for path in ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache")),)
        policy = Policy(
            {"PATH": os.defpath, "OUTSIDE": outside.name},
            inside,
            mounts=(*mounts, Mount(inside, inside, writable=True)),
        )
        check = 'echo yes > written && ! cat "$OUTSIDE" 2> /dev/null'
        try:
            started = launch(policy, ("/bin/sh", "-c", check))
        except SandboxFailedError as error:
            return error.message
        _, said = started.process.communicate()
        if started.process.returncode == -signal.SIGSYS:
            return "its filter of system calls does not fit this machine"
        written = os.listdir(inside) == ["written"]
    problem = said.decode(errors="replace").strip() or f"exit code {started.process.returncode}"
    return "" if written and not started.process.returncode else f"it does not hold: {problem}"
