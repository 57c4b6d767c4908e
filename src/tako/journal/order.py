"""What may follow what in a journal, whose lines may all be whole, and some missing or in another order.

In: records, one after the other. Out: nothing, or an `OutOfOrderError` for one that speaks of what no line
before it has told. So the fold may rely on it.
"""

from __future__ import annotations

from tako.journal.records import (
    ChildFinished,
    ChildPlanned,
    EventEmitted,
    FanOutPlanned,
    Noted,
    Record,
    RunFinished,
    RunResumed,
    RunSettled,
    RunStarted,
    StopRequested,
    SubscriptionFiltered,
    Warned,
    WorkerDied,
)

#: What others than the run's own worker write: a worker may have died before it wrote anything.
_BEFORE_THE_START = (
    RunStarted,
    WorkerDied,
    StopRequested,
    RunFinished,
    RunSettled,
    RunResumed,
    Noted,
    Warned,
)


class OutOfOrderError(ValueError):
    """A record that cannot stand where it stands: lines before it are missing, or were moved."""


class Order:
    """The records of one journal so far; with `begun` its first ones are not looked at."""

    def __init__(self, *, begun: bool = False) -> None:
        self._knows_all = not begun
        self._started = begun
        #: Of each step that emitted an event: the children planned since then.
        self._planned: dict[str, set[str]] = {}
        self._children: set[str] = set()

    def check(self, record: Record) -> None:
        """Take in one more record; raises `OutOfOrderError`."""
        self._check_start(record)
        match record:
            case EventEmitted(step=step):
                self._planned[step] = set()
            case SubscriptionFiltered(step=step):
                self._of_fan_out(record, step)
            case ChildPlanned(step=step, run_id=run_id):
                self._of_fan_out(record, step).add(run_id)
                self._children.add(run_id)
            case FanOutPlanned(step=step):
                planned = len(self._of_fan_out(record, step))
                if self._knows_all and planned < record.children:
                    _refuse(record, f"it counts {record.children} children, and {planned} are planned")
            case ChildFinished(step=step, run_id=run_id):
                self._of_fan_out(record, step)
                if self._knows_all and run_id not in self._children:
                    _refuse(record, f"no record before it plans the child {run_id}")

    def _check_start(self, record: Record) -> None:
        if isinstance(record, RunStarted):
            if self._started:
                _refuse(record, "the run has begun before")
            self._started = True
        elif not self._started and not isinstance(record, _BEFORE_THE_START):
            _refuse(record, "no record before it says that the run began")

    def _of_fan_out(self, record: Record, step: str) -> set[str]:
        if self._knows_all and step not in self._planned:
            _refuse(record, f"no record before it says that step {step!r} emitted an event")
        return self._planned.setdefault(step, set())


def _refuse(record: Record, why: str) -> None:
    message = f"{type(record).__name__} cannot stand here, so that lines are missing or moved: {why}"
    raise OutOfOrderError(message)
