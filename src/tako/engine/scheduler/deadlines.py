"""When the machine has to act although nothing happens: timeouts of runs and fan-outs, ends of rests.

In: runs and fan-outs with deadlines, runs that lost their worker. Out: those whose time has come. Pure;
times are seconds of the machine's clock.
"""

from __future__ import annotations

from tako.engine.scheduler.state import FanOut, Run


class Deadlines:
    """All deadlines of one tree."""

    def __init__(self) -> None:
        self._timed: dict[str, Run | FanOut] = {}
        self._resting: dict[str, float] = {}

    @property
    def next(self) -> float | None:
        """The earliest; None if nothing has a deadline."""
        moments = [held.deadline for held in self._timed.values() if held.deadline is not None]
        return min([*moments, *self._resting.values()], default=None)

    def watch(self, name: str, held: Run | FanOut) -> None:
        """Keep the deadline of a run or a fan-out under this name."""
        self._timed[name] = held

    def drop(self, name: str) -> None:
        """Forget what has ended; no error for what has no deadline."""
        self._timed.pop(name, None)

    def rest(self, run_id: str, until: float) -> None:
        """Let a run that lost its worker wait for the next."""
        self._resting[run_id] = until

    def end_rest(self, run_id: str) -> None:
        """Forget a run that rests no more."""
        del self._resting[run_id]

    def rested(self, now: float) -> list[str]:
        """The runs whose rest is over, which rest no more."""
        over = [run_id for run_id, moment in self._resting.items() if moment <= now]
        for run_id in over:
            del self._resting[run_id]
        return over

    def passed(self, now: float) -> list[Run | FanOut]:
        """The runs and fan-outs whose deadline has passed; each is given once."""
        held = [each for each in self._timed.values() if each.deadline is not None and each.deadline <= now]
        for each in held:
            each.deadline = None
        return held
