"""The runs of one execution tree as the root process knows them: their specs, workers and journals."""

from __future__ import annotations

from collections.abc import Callable

from tako.engine.run.journals import Journals
from tako.engine.run.spec import RunSpec, Segment
from tako.errors import DiskFullError
from tako.journal.records import Record
from tako.journal.run_state import RunState
from tako.values import mutable


@mutable(eq=False)
class LiveRun:
    """A run that has not settled, and what the root knows of it beside its journal."""

    spec: RunSpec
    #: What its worker executes; None while it has no worker.
    segment: Segment | None = None
    #: When its worker is killed if it has not ended by itself; seconds of the monotonic clock.
    kill_at: float | None = None
    #: The root asked it to end for what it holds on the disk.
    makes_room: bool = False
    #: Why it ended, if its own journal cannot tell.
    reason: str = ""
    #: What its journal said at its end, until its parent's journal has that.
    ended: RunState | None = None


class Tree:
    """Unsettled runs by id; only the driver's thread uses it."""

    def __init__(self, root: RunSpec, on_full: Callable[[DiskFullError], None]) -> None:
        """`on_full` hears of a full disk; from then on records use the reserved room."""
        self.root = root
        self.runs: dict[str, LiveRun] = {}
        #: Those of them that have a worker: as few as there are slots, however many runs wait.
        self.working: dict[str, LiveRun] = {}
        self.journals = Journals(on_full)
        self.add(root)

    def add(self, spec: RunSpec) -> LiveRun:
        """Take in a run that begins or is taken up again."""
        run = self.runs[spec.run_id] = LiveRun(spec)
        return run

    def worker_started(self, segment: Segment) -> None:
        """The run has a worker, which executes this segment."""
        run = self.runs[segment.run.run_id]
        run.segment = segment
        # An order that its last worker was too late for is none for this one.
        run.makes_room = False
        self.working[segment.run.run_id] = run

    def worker_gone(self, run_id: str) -> LiveRun:
        """The run has no worker any more: its journal's lock may be taken again."""
        run = self.working.pop(run_id)
        run.segment = run.kill_at = None
        self.journals.worker_gone(run.spec.paths)
        return run

    def record(self, run_id: str, record: Record, *, final: bool = False) -> None:
        """Add a record to a run's journal, now or when its worker is gone; raises as `Journals.record`."""
        self.journals.record(self.runs[run_id].spec.paths, record, final=final)
