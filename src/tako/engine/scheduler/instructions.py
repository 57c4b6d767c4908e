"""What the machine tells the driver to do."""

from __future__ import annotations

from attrs import evolve, frozen

from tako.values import FrozenValue


@frozen(eq=False, repr=False)
class Tally(FrozenValue):
    """How many children of one fan-out ended how."""

    succeeded: int = 0
    failed: int = 0
    timed_out: int = 0
    cancelled: int = 0
    skipped: int = 0

    def with_one(self, status: str) -> Tally:
        """One more that ended with `status`."""
        return evolve(self, **{status: getattr(self, status) + 1})

    @property
    def not_well(self) -> int:
        """All that did not succeed."""
        return self.failed + self.timed_out + self.cancelled


@frozen(eq=False, repr=False)
class StartSegment(FrozenValue):
    """Start the run's next segment; `attempt` counts from 1 in each segment."""

    run_id: str
    number: int
    attempt: int


@frozen(eq=False, repr=False)
class CancelSegment(FrozenValue):
    """End the run's running segment by the ladder."""

    run_id: str
    status: str


@frozen(eq=False, repr=False)
class PlanFanOut(FrozenValue):
    """Find and record the children of a fan-out."""

    run_id: str
    step: str


@frozen(eq=False, repr=False)
class CloseFanOut(FrozenValue):
    """Record how the fan-out step ended; no child of it is open."""

    run_id: str
    step: str
    status: str
    tally: Tally


@frozen(eq=False, repr=False)
class ReportChild(FrozenValue):
    """Record in the parent's journal that a child settled, from the child's own journal."""

    parent: str
    step: str
    run_id: str
    status: str


@frozen(eq=False, repr=False)
class FinishRun(FrozenValue):
    """Record the end of a run that no worker will end: never started, waiting, or dead for good."""

    run_id: str
    status: str
    kind: str


@frozen(eq=False, repr=False)
class SettleTree(FrozenValue):
    """The whole tree has ended; `late_failure` tells of one below a fan-out that nobody waited for."""

    status: str
    late_failure: bool


Instruction = StartSegment | CancelSegment | PlanFanOut | CloseFanOut | ReportChild | FinishRun | SettleTree
