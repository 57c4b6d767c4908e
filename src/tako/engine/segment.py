"""The values that travel to a worker and back: what to run, from where on, and how it ended.

They are pickled into another process, so that all they hold are plain frozen values.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from tako.config.schema import Workflow
from tako.layout import RunDirectory
from tako.sandbox.policy import Limits
from tako.values import FrozenValue

if TYPE_CHECKING:
    # The root makes a segment before it needs any record.
    from tako.journal.records import EventValue

#: Seconds between SIGTERM and SIGKILL of a step, while the root lives.
GRACE_S = 10.0


@frozen(eq=False, repr=False)
class RunSpec(FrozenValue):
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
    inputs: Mapping[str, Any]
    isolation: str
    #: What the steps' environment is made from: the user's own, or what is left of it for a child.
    environment: Mapping[str, str]
    limits: Limits
    in_place: bool = False
    keep: bool = False
    parent_run_id: str = ""
    parent_step: str = ""
    event: EventValue | None = None
    ancestors: tuple[tuple[str, str], ...] = ()
    #: The artifacts directory of the run whose event this run answers.
    received_from: Path | None = None
    git_identity: tuple[str, str] = ("", "")
    tracked_changes: str = ""

    @property
    def paths(self) -> RunDirectory:
        """The run's directory."""
        return RunDirectory(self.directory)

    @property
    def depth(self) -> int:
        """0 for the root run."""
        return len(self.ancestors)


@frozen(eq=False, repr=False)
class Segment(FrozenValue):
    """The steps of a run from where its journal stands to its end or its next fan-out."""

    run: RunSpec
    number: int
    attempt: int
    #: A short private directory for TMPDIR, removed by the root when the segment is over.
    temporary: str
    grace_s: float = GRACE_S


#: How a segment can end: the run is finished, or a fan-out step was reached.
FINISHED, FAN_OUT = "finished", "fan_out"


@frozen(eq=False, repr=False)
class SegmentEnd(FrozenValue):
    """What a worker says at its end; the journal says the same with all details."""

    kind: str
    status: str = ""
    step: str = ""
    #: True when the machine, not the run, is at fault (disk full): the root ends with exit code 4.
    machine_fault: bool = False
    message: str = field(default="")


def new_segment(spec: RunSpec, number: int, attempt: int, temporary: Path, serial: int) -> Segment:
    """The next segment of a run, with a directory of its own for TMPDIR, named by `serial`."""
    own = temporary / str(serial)
    own.mkdir(mode=0o700)
    return Segment(spec, number, attempt, str(own))
