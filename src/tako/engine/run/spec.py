"""The values that travel to a worker and back: what to run, from where on, and how it ended.

They are pickled into another process, so that all they hold are plain frozen values.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tako.config.schema import Resources, Step, Workflow
from tako.errors import MachineError
from tako.layout.machine import ETC, RESOLV_CONF
from tako.layout.run import RunDirectory
from tako.sandbox.isolation import Isolation
from tako.sandbox.policy import NAMESPACE, Limits, Mount
from tako.system.clock import start_of_steady
from tako.system.walls.veils import Veils
from tako.values import field, value

if TYPE_CHECKING:
    # The root makes a segment before it needs any record.
    from tako.journal.parts import EventValue, Held

#: Seconds between SIGTERM and SIGKILL of a step, while the root lives.
GRACE_S = 10.0
#: A secret that names a socket, which the sandbox has to show; the path itself is none.
SSH_AGENT = "SSH_AUTH_SOCK"


@value
class RunSpec:
    """One run with everything pinned.

    `source` is the snapshot to copy, or the user's checkout of a root run that works in place.
    """

    run_id: str
    root_run_id: str
    directory: Path
    repository: str
    branch: str
    commit: str
    source: Path
    workflow: Workflow
    config_digest: str
    artifact_names: tuple[str, ...]
    inputs: Held
    isolation: Isolation
    #: What the steps' environment is made from: the user's own, or what is left of it for a child.
    environment: Mapping[str, str]
    limits: Limits
    #: What its repository may use, of which it can have all.
    quota: Resources = field(factory=Resources, kw_only=True)
    in_place: bool = False
    keep: bool = False
    #: Of a root run: the isolation level that was asked for on the command line.
    isolation_asked: str = ""
    #: Of a root run: a warning of some kinds fails its fan-outs.
    strict: bool = False
    parent_run_id: str = ""
    parent_step: str = ""
    event: EventValue | None = None
    ancestors: tuple[tuple[str, str], ...] = ()
    #: The artifacts directory of the run whose event this run answers.
    received_from: Path | None = None
    git_identity: tuple[str, str] = ("", "")
    #: What the user's settings let this repository's steps see and write beyond the workspace.
    mounts: tuple[Mount, ...] = ()
    #: The user's directories shown below HOME with changes of the run's own, each with its place there.
    tool_caches: tuple[tuple[Path, str], ...] = ()
    tracked_changes: str = ""

    @property
    def paths(self) -> RunDirectory:
        """The run's directory."""
        return RunDirectory(self.directory)

    @property
    def overlaid(self) -> bool:
        """Whether the workspace is an overlay over its snapshot."""
        wanted = self.workflow.workspace in ("auto", "overlay")
        return wanted and self.isolation.overlays and not self.in_place

    @property
    def in_namespaces(self) -> bool:
        """Whether its worker enters namespaces of its own."""
        needed = self.isolation.level == NAMESPACE or self.isolation.own_root or self.overlaid
        return needed and not self.in_place

    @property
    def veils(self) -> Veils:
        """The directories of the machine that its steps see behind overlays."""
        machine = self.isolation.machine
        if machine is None or not (self.isolation.level == NAMESPACE or self.isolation.own_root):
            return Veils()
        shown = (*machine.system, *machine.etc, *machine.tools, *machine.authorities)
        granted = (mount.source for mount in self.mounts if not mount.writable)
        return Veils(
            self.isolation.veils,
            _directories(shown),
            _directories(granted),
            str(ETC),
            (*machine.etc, *((RESOLV_CONF,) if machine.resolv_conf else ())),
        )

    @property
    def depth(self) -> int:
        """0 for the root run."""
        return len(self.ancestors)


def _directories(paths: Iterable[str]) -> tuple[str, ...]:
    """Those that are directories, without links on the way: in an overlay these would lead elsewhere."""
    return tuple(os.path.realpath(path) for path in paths if Path(path).is_dir())


@value
class Secrets:
    """Values by name for one run; only the names are shown and compared."""

    names: frozenset[str] = frozenset()
    _values: Mapping[str, str] = field(factory=dict, eq=False, repr=False)

    def of(self, workflow: Workflow, step: Step) -> dict[str, str]:
        """What one step gets, as environment variables."""
        return {name: self._values[name] for name in (*workflow.secrets, *step.secrets)}

    @property
    def hidden(self) -> tuple[bytes, ...]:
        """What must not be seen in anything that steps say."""
        return tuple(os.fsencode(value) for name, value in self._values.items() if name != SSH_AGENT)


def secrets_of(values: Mapping[str, str]) -> Secrets:
    """Keep these values, by the names of their environment variables."""
    return Secrets(frozenset(values), dict(values))


@value
class Segment:
    """The steps of a run from where its journal stands to its end or its next fan-out."""

    run: RunSpec
    number: int
    attempt: int
    #: A short private directory for TMPDIR, removed by the worker; by the root, in a thread, if that died.
    temporary: str
    grace_s: float = GRACE_S
    #: Only here and in its worker's memory: a `RunSpec` is shown and recorded.
    secrets: Secrets = field(factory=Secrets)
    #: When the root's steady clock started, so that the worker tells the same time (`system.clock`).
    clock_start: float | None = None


#: How a segment can end: the run is finished, a fan-out step was reached, or the run starts over.
FINISHED, FAN_OUT, RESTARTED = "finished", "fan_out", "restarted"


@value
class SegmentEnd:
    """What a worker says at its end; the journal says the same with all details."""

    kind: str
    status: str = ""
    step: str = ""
    #: True when the machine, not the run, is at fault (disk full): the root ends with exit code 4.
    machine_fault: bool = False
    message: str = field(default="")
    #: Of a run that failed while the disk is too full: its workspace goes at once.
    makes_room: bool = False


class Segments:
    """Makes the segments of one execution tree; for the root only, which works in one thread."""

    def __init__(self, temporary: Path, secrets: Callable[[RunSpec], Secrets]) -> None:
        """`temporary` is private and short; `secrets` gives what a run was found to have."""
        self._temporary = temporary
        self._secrets = secrets
        self._serial = itertools.count()

    def new(self, spec: RunSpec, number: int, attempt: int) -> Segment:
        """The next segment of a run, with a directory of its own for TMPDIR.

        Raises `MachineError` if that cannot be made: somebody may have cleaned up above it.
        """
        own = self._temporary / str(next(self._serial))
        try:
            own.mkdir(mode=0o700)
        except OSError as error:
            message = f"the temporary directory {own} cannot be made: {error.strerror}"
            raise MachineError(message) from error
        return Segment(
            spec, number, attempt, str(own), clock_start=start_of_steady(), secrets=self._secrets(spec)
        )
