"""Level `landlock`: files only where they are allowed, no signals or abstract sockets to outside.

In: a policy and a command. Out: a `Started` step. Paths stay as they are: each source of the policy's mounts
is allowed where it lies. Everything is set in the forked process before execve(2); a failure there is a
`SandboxFailedError`. Needs no privilege, so it works where user namespaces are forbidden.

Landlock does not mediate everything: not who changes mode, owner, times and attributes of a file, nor limits
and priorities of a process, nor who connects to a socket by its path or watches a directory. In a worker
with namespaces a step has a root directory of its own, read-only where it may not write, and a pid namespace;
without, a filter refuses what can be told from numbers.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from tako.sandbox.policy import Mount, Policy
from tako.sandbox.process_level import confine, start
from tako.sandbox.seccomp import program
from tako.sandbox.started import SandboxFailedError, Started
from tako.sandbox.variables import check_environment
from tako.system.libc import die_with_parent
from tako.system.walls import landlock, pid_namespace
from tako.system.walls.landlock import Allowed
from tako.system.walls.own_root import Shown, enter_root
from tako.system.walls.privileges import drop_capabilities, filter_calls, forbid_new_privileges

_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_INIT_AND_STEP = 2
_PROC, _GIT_CONFIG = "/proc", "/etc/gitconfig"
#: What programs expect of /dev besides devices.
_LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    *(
        (f"/dev/{name}", f"/proc/self/fd/{number}")
        for number, name in enumerate(("stdin", "stdout", "stderr"))
    ),
)
_Preparation = Callable[[], None]
#: Without the terminals in /dev/pts: what is written there a person reads.
_READABLE = (_PROC, _GIT_CONFIG)
#: Whichever terminal a process has as its own (tty(4)).
_OWN_TERMINAL = "/dev/tty"


def launch(
    policy: Policy, command: Sequence[str], *, own_root: bool = False, own_processes: bool = False
) -> Started:
    """Start `command`; raises `SandboxFailedError` if the policy cannot be enforced.

    `own_root` and `own_processes` are as in `Isolation`, for a worker with namespaces of its own; the second
    comes with the first.

    Raises `UsageError` if the policy's environment cannot be given to a program.
    """
    check_environment(policy.environment)
    allowed = tuple(rules(policy, own_root=own_root))
    into_root = partial(
        enter_root,
        tuple(_shown(policy)),
        (*policy.links, *_LINKS),
        policy.directory,
        own_processes=own_processes,
    )
    pinned = policy.limits.cpus is not None
    filters = program(network=policy.network, among_others=not own_processes, pinned=pinned)
    preparations: list[_Preparation] = [
        die_with_parent,
        *([into_root] if own_root else []),
        partial(confine, policy.limits),
        forbid_new_privileges,
        drop_capabilities,
        partial(landlock.restrict, allowed, network=policy.network),
        partial(filter_calls, filters),
    ]
    if not own_processes:
        return start(policy, command, preparations)
    return _start_apart(policy, command, preparations)


def _start_apart(policy: Policy, command: Sequence[str], preparations: Sequence[_Preparation]) -> Started:
    """Start `command` in a pid namespace; what subprocess has forked is only the launcher."""
    hear, tell = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            started = start(policy, command, preparations, first=partial(pid_namespace.enter, tell))
        finally:
            os.close(tell)
    except SandboxFailedError:
        pid_namespace.end(pid_namespace.read_pids(hear))
        raise
    else:
        started.process.wait()
        pids = pid_namespace.read_pids(hear)
        if len(pids) != _INIT_AND_STEP:
            pid_namespace.end(pids)
            message = "the step cannot be started: what makes its pid namespace was killed"
            raise SandboxFailedError(message)
        init, started.process.pid = pids
        started.process.returncode = None
        started.others = (init,)
        return started
    finally:
        os.close(hear)


def _shown(policy: Policy) -> Iterator[Shown]:
    """Return the contents of the step's own root directory besides /proc."""
    devices = (*_DEVICES, *((policy.terminal, _OWN_TERMINAL) if policy.terminal else ()))
    yield from (Shown(path, path) for path in devices)
    yield from (Shown(mount.source, mount.target, mount.writable) for mount in policy.mounts)


def rules(policy: Policy, *, own_root: bool = False) -> Iterator[Allowed]:
    """Return the step's rights, by file."""
    for mount in policy.mounts:
        path = mount.target if own_root else mount.source
        yield Allowed(path, landlock.READ | landlock.WRITE if mount.writable else landlock.READ)
    for path, _ in policy.links:
        yield Allowed(path, landlock.READ)
    yield from (Allowed(path, landlock.READ) for path in _READABLE)
    yield from (Allowed(path, landlock.DEVICE) for path in _DEVICES)
    if policy.terminal:
        yield from (Allowed(path, landlock.DEVICE) for path in (policy.terminal, _OWN_TERMINAL))


def describe(*, own_root: bool, own_processes: bool) -> tuple[str, ...]:
    """Describe the measures that this kernel enforces."""
    version = landlock.abi()
    held = ["files"]
    held += ["signals", "abstract sockets"] if version >= landlock.ABI_SCOPES else []
    return (
        *(["file system of its own"] if own_root else []),
        *(["pid namespace"] if own_processes else []),
        f"landlock ABI {version}: {', '.join(held)}",
        "no capabilities",
        "no new privileges",
        "seccomp filter",
    )


#: A file inside is written, one outside can neither be read nor,
_CHECK = 'echo yes > written && ! cat "$OUTSIDE" 2> /dev/null'
#: with a root of its own, seen,
_CHECK_ROOT = ' && chmod 600 written && ! test -e "$OUTSIDE"'
#: and with a pid namespace the step is among the first, and /proc knows it.
_CHECK_PROCESSES = ' && test "$$" -lt 10 && test -e "/proc/$$/stat"'


def works(*, own_root: bool = False, own_processes: bool = False) -> str:
    """Why the level does not work here; empty if a file outside was refused and one inside was written.

    With `own_root` and `own_processes` why that does not, in a process that is in namespaces of its own.
    """
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
        check = _CHECK + _CHECK_ROOT * own_root + _CHECK_PROCESSES * own_processes
        try:
            started = launch(policy, ("/bin/sh", "-c", check), own_root=own_root, own_processes=own_processes)
        except SandboxFailedError as error:
            return error.message
        _, said = started.process.communicate()
        pid_namespace.end(started.others)
        if started.process.returncode == -signal.SIGSYS:
            return "its filter of system calls does not fit this machine"
        written = os.listdir(inside) == ["written"]
    problem = said.decode(errors="replace").strip() or f"exit code {started.process.returncode}"
    return "" if written and not started.process.returncode else f"it does not hold: {problem}"
