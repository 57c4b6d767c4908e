"""The sandbox of one segment: what its steps see, and how each of them is started.

In: a segment whose workspace is in place, then steps. Out: `Started` steps. The policy is data made here from
the run and the settings; the level's own module turns it into operations. Fails with `SandboxFailedError`.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tako.config.schema import Step
from tako.engine.run.spec import SSH_AGENT, RunSpec, Segment
from tako.engine.steps.workspace import COPIED, OVERLAID
from tako.layout.cache import objects_of
from tako.layout.machine import DEV_SHM, ETC, RESOLV_CONF
from tako.layout.names import NOTHING
from tako.layout.run import RunDirectory, SeenDirectory
from tako.sandbox.mount_places import check_led, placed
from tako.sandbox.policy import LANDLOCK, NAMESPACE, Limits, Mount, Policy
from tako.sandbox.started import SandboxFailedError, Started
from tako.sandbox.watchdog import Watched, cpus_for
from tako.system.accounting.cgroups import NO_GROUPS, Groups, make_groups, remove
from tako.system.walls.veils import Hung, behind

if TYPE_CHECKING:
    from tako.sandbox.machine_view import MachineView

_SHELL = ("/bin/sh", "-e")
#: Tasks of the sandbox itself, and so many that the watchdog sees a bomb before it meets the wall.
_ROOM = 64


class StepSandbox:
    """Starts the steps of one segment at its level."""

    def __init__(self, segment: Segment, veiled: Hung) -> None:
        """`veiled` says for directories of the machine where an overlay of them is mounted."""
        self._spec: RunSpec = segment.run
        self._level = segment.run.isolation.level
        self._veiled = veiled
        self._groups = NO_GROUPS
        self._others: tuple[int, ...] = ()
        self._script: Path | None = None
        self._temporary = segment.temporary
        # Another for each segment of the tree, so that not all sit on the same CPU.
        self._serial = int(Path(segment.temporary).name) if Path(segment.temporary).name.isdigit() else 0
        #: Before any step was given fewer.
        self._cpus = os.sched_getaffinity(0)
        inside = self._level == NAMESPACE
        #: The run's directory as its steps see it.
        self.seen: RunDirectory = _seen(self._spec) if inside else self._spec.paths
        #: TMPDIR as they see it.
        self.temporary: str = str(_seen(self._spec).temporary) if inside else segment.temporary

    @property
    def _words(self) -> dict[str, str]:
        """What tools need to know where HOME is not that of the password file, or most paths are closed."""
        if self._spec.in_place:
            return {}
        words = {} if self.seen.home == _home_of_user() else _homes_of_java(str(self.seen.home))
        if self._level != LANDLOCK or self._spec.isolation.machine is None:
            return words
        # git takes a configuration that it may not read for an error.
        return {**words, "GIT_CONFIG_NOSYSTEM": "1", **self._spec.isolation.machine.variables}

    @property
    def directory(self) -> Path:
        """Where steps start, as they see it."""
        return self._spec.source if self._spec.in_place else self.seen.repo

    def enforced(self) -> tuple[str, ...]:
        """What holds the segment's steps, in words."""
        found = ["session", "rlimits", "environment", "descriptors", "dies with its worker"]
        if self._level == NAMESPACE:
            found += ["mount, pid, ipc, uts, user and cgroup namespaces", "no capabilities", "seccomp filter"]
        elif self._level == LANDLOCK:
            from tako.sandbox import landlock_level

            found += landlock_level.describe(**self._apart)
        found += ["shown directories as overlays"] if self._veiled.machine else []
        if not self._spec.in_place:
            found.append(OVERLAID if self._spec.overlaid else COPIED)
        return tuple(found)

    def watched(self) -> Watched:
        """Where the started step can fill something; nothing of what it does in the user's checkout."""
        spec, paths = self._spec, self._spec.paths
        if spec.in_place:
            return Watched(groups=self._groups, others=self._others)
        changed = paths.upper if spec.overlaid else paths.repo
        shared = paths.shared_memory if self._level == NAMESPACE else DEV_SHM
        caches = [(paths.cache_view(place)[0], paths.home / place) for _, place in spec.tool_caches]
        own = (changed, paths.home, paths.exchange, Path(self._temporary), *(upper for upper, _ in caches))
        return Watched(
            # What tako itself keeps of the run's steps counts with what they write.
            (*own, paths.logs, paths.artifacts),
            (paths.repo, *(shown for _, shown in caches)),
            shared if spec.in_namespaces else None,
            self._groups,
            self._others,
        )

    @property
    def _apart(self) -> dict[str, bool]:
        isolation = self._spec.isolation
        return {"own_root": isolation.own_root, "own_processes": isolation.own_processes}

    def start(
        self, step: Step, environment: Mapping[str, str], limits: Limits, script: Path | None = None
    ) -> Started:
        """Start the step's script; raises `SandboxFailedError`.

        It lies beside the step's log if no other place is given.
        """
        self._script = script
        seen = script if script and self._level != NAMESPACE else self.seen.script(step.id)
        return self.run((*_SHELL, str(seen)), step, environment, limits)

    def run(
        self,
        command: Sequence[str],
        step: Step,
        environment: Mapping[str, str],
        limits: Limits,
        *,
        terminal: str = "",
        reads: bool = False,
    ) -> Started:
        """Start any command as the step would be; raises `SandboxFailedError`.

        `terminal` and `reads` are those of `Policy`.
        """
        self._groups = self._bounding(limits)
        policy = Policy(
            self._words | dict(environment),
            str(self.directory),
            mounts=placed(self._mounts(step, environment)),
            links=self._spec.isolation.machine.links if self._spec.isolation.machine else (),
            network=step.network,
            limits=limits,
            umask=-1 if self._spec.in_place else 0o077,
            groups=self._groups.directories,
            terminal=terminal,
            reads=reads,
        )
        # The worker's own too: it only waits for its steps.
        os.sched_setaffinity(0, cpus_for(limits, self._serial, self._cpus))
        if self._level == NAMESPACE:
            from tako.sandbox import namespace_level

            return namespace_level.launch(self._spec.isolation.bubblewrap, policy, command)
        if self._level == LANDLOCK:
            from tako.sandbox import landlock_level

            started = landlock_level.launch(policy, command, **self._apart)
            self._others = started.others
            return started
        if step.network != "default":
            message = f"`network: {step.network}` is not kept at isolation level {self._level}"
            raise SandboxFailedError(message, hint="use --isolation landlock or namespace")
        from tako.sandbox import process_level

        return process_level.launch(policy, command)

    def _bounding(self, limits: Limits) -> Groups:
        """The kernel's own bounds: a wall against fork bombs of root's, and memory where that is declared.

        The wall is well above what the watchdog allows. Undeclared memory is left to the watchdog: a group
        costs time.
        """
        tasks = 2 * limits.tasks + _ROOM if os.getuid() == 0 and limits.tasks is not None else None
        memory = limits.memory if limits.memory_declared else None
        counted = limits.cpu_s is not None
        return make_groups(tasks, memory, cpu=counted) if tasks or memory or counted else NO_GROUPS

    def ended(self) -> None:
        """The last step that was started is gone, and all it started."""
        remove(self._groups)
        self._groups = NO_GROUPS
        if self._script is not None:
            self._script.unlink(missing_ok=True)
            self._script = None

    def _mounts(self, step: Step, environment: Mapping[str, str]) -> Iterator[Mount]:
        """What the step sees: the machine first, then its own, which may lie below."""
        machine = self._spec.isolation.machine
        if machine is None:
            return
        rest = tuple(self._mounts_besides(machine, step, environment))
        for path in machine.system:
            yield from _shown(_same(path), self._veiled.machine)
        if can_hold(self._veiled.gathered, rest):
            yield Mount(self._veiled.gathered, str(ETC))
        else:
            yield from (shown for path in machine.etc for shown in _shown(_same(path), self._veiled.machine))
        yield from rest

    def _mounts_besides(
        self, machine: MachineView, step: Step, environment: Mapping[str, str]
    ) -> Iterator[Mount]:
        """What is neither of the system nor of its settings, or is laid over them."""
        if machine.resolv_conf:
            yield Mount(machine.resolv_conf, RESOLV_CONF)
        yield from self._own()
        for path in (*machine.tools, *machine.authorities):
            check_led(path, machine.written)
            yield from _shown(_same(path), self._veiled.machine)
        # What nothing is laid over: bubblewrap lets no device be opened, without it the file is an empty one.
        # What an overlay does not show is hidden already, and nothing can be mounted there.
        if self._level == NAMESPACE or self._spec.isolation.own_root:
            covered = (*machine.closed, *machine.tables)
            there = (path for path in covered if _is_there(path, self._veiled.machine))
            yield from (Mount(str(NOTHING), path) for path in there)
        objects = objects_of(self._spec.source)
        if objects is not None and objects.is_dir():
            yield _same(str(objects))
        for mount in self._spec.mounts:
            _check_still_there(mount)
            yield from (mount,) if mount.writable else _shown(mount, self._veiled.granted)
        agent = Path(environment.get(SSH_AGENT, ""))
        if agent.is_socket():
            check_led(str(agent), machine.written)
            yield _same(str(agent))
        script = self._script or self._spec.paths.script(step.id)
        if script.exists():
            inside = self._level == NAMESPACE
            yield Mount(str(script), str(self.seen.script(step.id) if inside else script))

    def _own(self) -> Iterator[Mount]:
        """The run's own directories."""
        paths, seen = self._spec.paths, self.seen
        yield Mount(self._temporary, self.temporary, writable=True)
        yield Mount(str(paths.home), str(seen.home), writable=True)
        yield Mount(str(paths.repo), str(seen.repo), writable=True)
        yield Mount(str(paths.exchange), str(seen.exchange), writable=True)
        yield Mount(str(paths.received_children), str(seen.received_children))
        if paths.received_artifacts.is_dir():
            yield Mount(str(paths.received_artifacts), str(seen.received_artifacts))
        if self._spec.in_namespaces:
            shared = paths.shared_memory if self._level == NAMESPACE else DEV_SHM
            yield Mount(str(shared), str(DEV_SHM), writable=True)


def _homes_of_java(home: str) -> dict[str, str]:
    """Java asks the password file for the home, so that Maven and Gradle would use the user's own caches."""
    words = {"GRADLE_USER_HOME": str(Path(home).joinpath(".gradle"))}
    # mvn splits it into words.
    return words if len(home.split()) > 1 else words | {"MAVEN_OPTS": f"-Duser.home={home}"}


def _shown(mount: Mount, overlays: Mapping[str, str]) -> Iterator[Mount]:
    """A path of the machine by its overlay, or with those of what lies in it."""
    path = os.path.realpath(mount.source)
    source = behind(path, overlays)
    yield Mount(source, mount.target)
    if source == path:
        below = (inner for inner in overlays if inner.startswith(f"{path}/"))
        yield from (Mount(overlays[inner], mount.target + inner.removeprefix(path)) for inner in below)


def _check_still_there(mount: Mount) -> None:
    """Raise `SandboxFailedError` if a link has come into the way of what was granted, which is no link."""
    if os.path.realpath(mount.source) != mount.source:
        message = f"{mount.source} cannot be shown: since the run was planned, a link was put in its way"
        raise SandboxFailedError(message, hint="see who may write there, `sandbox` in config.yml among them")


def can_hold(gathered: str, mounts: Iterable[Mount]) -> bool:
    """Whether the directory of settings, which is read-only, has a place for all that is mounted there."""
    top = str(ETC)
    below = (mount.target.removeprefix(top) for mount in mounts if f"{mount.target}/".startswith(f"{top}/"))
    return bool(gathered) and all(place and os.path.lexists(gathered + place) for place in below)


def _is_there(path: str, overlays: Mapping[str, str]) -> bool:
    return os.path.lexists(behind(os.path.realpath(path), overlays))


def _same(path: str) -> Mount:
    return Mount(path, path)


def _seen(spec: RunSpec) -> SeenDirectory:
    """HOME is where the password file says, because some programs ask that instead of $HOME."""
    system = spec.isolation.machine.system if spec.isolation.machine else ()
    home = _home_of_user()
    if home and home.is_dir() and home != home.parent and not any(map(home.is_relative_to, system)):
        return SeenDirectory(spec.directory, home)
    return SeenDirectory(spec.directory)


def _home_of_user() -> Path | None:
    """What the password file says; None if it does not know the user."""
    with suppress(KeyError):
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    return None
