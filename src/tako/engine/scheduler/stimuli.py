"""What can happen to an execution tree: the machine's input. Times are seconds of one monotonic clock."""

from __future__ import annotations

from tako.engine.scheduler.instructions import Tally
from tako.engine.scheduler.resources import Amounts, Quota
from tako.values import field, value


@value
class NewRun:
    """A run that may be scheduled; `turn` is empty if its workflow waives the repository's turn.

    The fields after `needs` say where a run stands that is taken up again.
    """

    run_id: str
    turn: str
    timeout_s: float | None = None
    #: A child that failed before it could run: its error is recorded already.
    failed: bool = False
    needs: Amounts = field(factory=Amounts)
    quota: Quota = field(factory=Quota)
    #: The number of its next segment.
    segment: int = 0
    #: The fan-out that it waits at.
    fan_out: str = ""
    #: Fan-outs nobody waits for that have children left.
    open_fan_outs: tuple[str, ...] = ()
    #: How its own steps ended, if only its subtree is not settled.
    finished: str = ""
    #: A child of a fan-out that nobody waits for has failed already.
    late_failure: bool = False


@value
class Began:
    """The root run is known; `running` if its first segment runs already."""

    run: NewRun
    now: float
    running: bool = False


@value
class SegmentEnded:
    """The worker ended, the journal says how: finished with `status`, at fan-out `step`, or `restarted`."""

    run_id: str
    status: str = ""
    step: str = ""
    restarted: bool = False
    #: The machine is at fault (disk full): everything stops.
    machine_fault: bool = False


@value
class WorkerLost:
    """The worker is proven dead and the journal's lock was obtained."""

    run_id: str
    #: The journal says that the run is to start over, as of `SegmentEnded`.
    restarting: bool = False


@value
class FanOutPlanned:
    """The children of a fan-out are known and recorded."""

    run_id: str
    step: str
    children: tuple[NewRun, ...]
    now: float
    wait: bool = True
    timeout_s: float | None = None
    limit: int | None = None
    on_child_failure: str = "fail"
    #: Children that have ended before the run was taken up again.
    ended: Tally = field(factory=Tally)
    #: The step is recorded as ended already: one that nobody waits for, taken up again.
    closed: bool = False


@value
class FanOutFailed:
    """The fan-out could not be planned; its step is recorded as failed, unless it was `closed` already.

    If it was `stopped`, as the run is to end, nothing is recorded.
    """

    run_id: str
    step: str
    closed: bool = False
    stopped: bool = False


@value
class TimePassed:
    """The clock shows `now`."""

    now: float


@value
class RoomChanged:
    """The reserve of free disk is whole, or it is not: then no segment may start."""

    enough: bool


@value
class StopAsked:
    """A signal, or a machine fault, ends the whole tree by the ladder."""


Stimulus = (
    Began | SegmentEnded | WorkerLost | FanOutPlanned | FanOutFailed | TimePassed | RoomChanged | StopAsked
)
