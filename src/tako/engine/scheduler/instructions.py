"""What the machine tells the driver to do."""

from __future__ import annotations

from tako.values import evolve, value


@value
class Tally:
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


@value
class StartSegment:
    """Start the run's next segment; `attempt` counts from 1 in each segment."""

    run_id: str
    number: int
    attempt: int


@value
class CancelSegment:
    """End the run's running segment by the ladder."""

    run_id: str
    status: str


@value
class PlanFanOut:
    """Find and record the children of a fan-out."""

    run_id: str
    step: str


@value
class StopPlanning:
    """Let nothing more be planned for the run, which is to end; one that is not is no error."""

    run_id: str


@value
class CloseFanOut:
    """Record how the fan-out step ended; no child of it is open."""

    run_id: str
    step: str
    status: str
    tally: Tally


@value
class ReportChild:
    """Record in the parent's journal that a child settled, from the child's own journal."""

    parent: str
    step: str
    run_id: str
    status: str


@value
class FinishRun:
    """Record the end of a run that no worker will end: never started, waiting, or dead for good."""

    run_id: str
    status: str
    kind: str


@value
class SettleTree:
    """The whole tree has ended; `late_failure` tells of one below a fan-out that nobody waited for."""

    status: str
    late_failure: bool


Instruction = (
    StartSegment
    | CancelSegment
    | PlanFanOut
    | StopPlanning
    | CloseFanOut
    | ReportChild
    | FinishRun
    | SettleTree
)
