"""The seam between the scheduler and what executes segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tako.errors import TakoError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from tako.engine.run.spec import Segment, SegmentEnd


class WorkerLostError(TakoError):
    """The process that executed a segment is proven dead and left no word."""


class WorkflowRunner(Protocol):
    """Executes segments; slots are one implementation.

    A future ends with a `SegmentEnd`, or with `WorkerLostError` only after the worker and all that
    it started are proven gone.
    """

    @property
    def slots(self) -> int:
        """How many segments run at once."""

    def submit(self, segment: Segment) -> Future[SegmentEnd]:
        """Start a segment; at most one at a time for each run."""

    def prepare(self, count: int) -> None:
        """Be ready for `count` more segments soon."""

    def cancel(self, run_id: str, *, timed_out: bool) -> None:
        """Ask the run's segment to end by the ladder."""

    def make_room(self, run_id: str) -> None:
        """End the run's segment for what it holds on the disk."""

    def worker_of(self, run_id: str) -> int | None:
        """The pid of the process that executes the run's segment, if it is one of this machine's."""

    def kill(self, run_id: str) -> None:
        """End the run's segment at once, without a word; may be called until it is over."""

    def pause(self) -> None:
        """Stop all steps until `go_on`."""

    def go_on(self) -> None:
        """Undo `pause`."""

    def close(self) -> None:
        """Return when no process of it is left."""
