"""What the machine remembers of an execution tree: the unsettled runs and their fan-outs.

Only `engine.scheduler.machine` changes these.
"""

from __future__ import annotations

from enum import StrEnum

from tako.engine.scheduler.instructions import Tally
from tako.engine.scheduler.stimuli import FanOutPlanned, NewRun
from tako.journal.statuses import CANCELLED, FAILED, SUCCEEDED, TIMED_OUT
from tako.values import field, mutable


class Phase(StrEnum):
    """Where an unsettled run stands."""

    #: It waits for a slot, its repository's turn, resources or a place in its fan-out.
    QUEUED = "queued"
    RUNNING = "running"
    #: Its worker died; it waits before it gets another.
    RESTING = "resting"
    #: It stands at a fan-out whose children are being found.
    PLANNING = "planning"
    #: It waits for the children of its fan-out.
    WAITING = "waiting"
    #: It starts over when the children that nobody waits for have settled.
    RESTARTING = "restarting"
    #: Its own steps have ended, not all below it.
    FINISHED = "finished"


@mutable(eq=False)
class Run:
    """One unsettled run."""

    new: NewRun
    parent: FanOut | None
    phase: Phase = Phase.QUEUED
    segment: int = 0
    attempt: int = 1
    deadline: float | None = None
    #: The status with which the run is to end, once something above it decided so.
    doomed: str = ""
    #: Fan-outs with unsettled children, by step.
    fan_outs: dict[str, FanOut] = field(factory=dict)
    #: Fan-outs nobody waits for whose children are being found again.
    reopening: set[str] = field(factory=set)
    status: str = ""
    late_failure: bool = False

    @property
    def run_id(self) -> str:
        """Its id."""
        return self.new.run_id

    @property
    def has_open_children(self) -> bool:
        """Whether something below it has not settled, or may still turn up."""
        return bool(self.fan_outs or self.reopening)

    @property
    def depth(self) -> int:
        """0 for the root run."""
        return 0 if self.parent is None else self.parent.run.depth + 1


@mutable(eq=False)
class FanOut:
    """One fan-out with unsettled children."""

    run: Run
    planned: FanOutPlanned
    open: dict[str, Run] = field(factory=dict)
    tally: Tally = field(factory=Tally)
    deadline: float | None = None
    timed_out: bool = False
    #: `fail_fast` has ended what was open.
    failed_fast: bool = False

    @property
    def place(self) -> str:
        """The name under which its concurrency limit is counted."""
        return f"{self.run.run_id} {self.planned.step}"

    @property
    def outcome(self) -> str:
        """The status with which its step ends when all children have settled."""
        if self.run.doomed == CANCELLED and self.tally.cancelled:
            # Nothing that may be tolerated or ignored: a run that is taken up again runs them.
            return CANCELLED
        if self.timed_out:
            return TIMED_OUT
        if self.tally.not_well and self.planned.on_child_failure != "ignore":
            return FAILED
        return SUCCEEDED
