"""The state of one run: its steps, its fan-outs and their children, as `fold` makes it of the records.

Only `fold.apply` changes a state, in the order of the records. Resume, reaper and reports read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tako.journal.parts import Attempt, Usage
from tako.journal.records import (
    ArtifactCollected,
    ChildFinished,
    ChildPlanned,
    EventEmitted,
    FanOutPlanned,
    Noted,
    RunFinished,
    RunSettled,
    RunStarted,
    SandboxEntered,
    StepFinished,
    StopRequested,
    SubscriptionFiltered,
    Warned,
    WorkerDied,
)
from tako.journal.statuses import INTERRUPTED, PENDING, RUNNING, SKIPPED, FailureKind, is_good
from tako.system.process.identity import Identity
from tako.values import field, mutable


@mutable
class StepState:
    """One step: its attempts, and how the last one ended."""

    id: str
    attempts: int = 0
    started: float | None = None
    finished: StepFinished | None = None
    #: The attempts before the present one.
    earlier: list[Attempt] = field(factory=list)
    #: How many attempts failed since the run was begun or taken up: what `retry` counts.
    failures: int = 0
    #: Where the present attempt's output begins in the log, in bytes.
    log_offset: int = 0

    @property
    def status(self) -> str:
        """A final status, `running`, or `pending`."""
        if self.finished:
            return self.finished.status
        return PENDING if self.started is None else RUNNING

    @property
    def allows_next_step(self) -> bool:
        """Whether the steps after this one run."""
        return self.finished is not None and (is_good(self.finished.status) or self.finished.tolerated)

    @property
    def was_cut_off(self) -> bool:
        """Whether it was started and nobody knows how far it came."""
        if self.finished is None:
            return self.started is not None
        return self.finished.status == INTERRUPTED

    def reset(self, at: float) -> None:
        """Forget how it ended, so that it runs again."""
        if self.finished is not None and self.finished.status != SKIPPED:
            self.earlier.append(_attempt(self.finished))
        elif self.finished is None and self.started is not None:
            self.earlier.append(Attempt(self.attempts, at, INTERRUPTED, "its worker died"))
        self.finished = self.started = None


def _attempt(ended: StepFinished) -> Attempt:
    return Attempt(ended.attempt, ended.at, ended.status, ended.message, ended.exit_code, ended.signal)


@mutable
class ChildState:
    """One child as its parent's journal knows it."""

    plan: ChildPlanned
    finished: ChildFinished | None = None


@mutable
class FanOutState:
    """One fan-out step: the event, who did not match, who runs."""

    emitted: EventEmitted
    filtered: list[SubscriptionFiltered] = field(factory=list)
    planned: FanOutPlanned | None = None
    children: dict[str, ChildState] = field(factory=dict)
    #: When it was reached, when its time began, and when the last of it ended, as `RunState.lived` counts.
    began: float = 0.0
    since: float = 0.0
    last: float = 0.0

    @property
    def outputs(self) -> dict[str, Any]:
        """The children's outputs by repository, all of one together, which are the fan-out step's outputs.

        A fan-out that does not wait has none: which children have ended by now would be chance.
        """
        if not self.emitted.wait_for_children:
            return {}
        found: dict[str, Any] = {}
        for child in self.children.values():
            if child.finished:
                found.setdefault(child.plan.repository, {}).update(child.finished.outputs)
        return found


@mutable
class RunState:
    """All that one journal says."""

    started: RunStarted | None = None
    identity: Identity | None = None
    temporary: str = ""
    segment: int = 0
    attempt: int = 1
    deaths: list[WorkerDied] = field(factory=list)
    steps: dict[str, StepState] = field(factory=dict)
    fan_outs: dict[str, FanOutState] = field(factory=dict)
    artifacts: dict[str, ArtifactCollected] = field(factory=dict)
    sandbox: SandboxEntered | None = None
    notes: list[Noted] = field(factory=list)
    warnings: list[Warned] = field(factory=list)
    stop: StopRequested | None = None
    finished: RunFinished | None = None
    settled: RunSettled | None = None
    #: How often it was taken up after an end.
    resumes: int = 0
    #: How often it had ended because its workers died.
    given_up: int = 0
    #: It asked to be run again from its first step, and no worker has taken it on since.
    restarting: bool = False
    #: The workspace has to be made anew before a step runs.
    rebuilds: bool = False
    #: When it began and when its time did, as `lived` counts.
    began: float = 0.0
    since: float = 0.0
    #: Seconds in which nobody was there; below 0 if the clock was set back meanwhile.
    away_s: float = 0.0
    #: Of all its steps together, each time they ran: CPU seconds added up, of the others the most.
    usage: Usage = field(factory=Usage)
    last_at: float = 0.0
    #: When the last thing happened before a record said `interrupted`.
    interrupted_at: float | None = None

    @property
    def status(self) -> str:
        """The run's own final status, or `running` for one without an end (see recovery for the dead)."""
        if self.settled:
            return self.settled.status
        return self.finished.status if self.finished else RUNNING

    @property
    def attempts(self) -> int:
        """How often the run was taken on: by workers that died, by the one that did not, after an end."""
        return len(self.deaths) + self.resumes + 1 - self.given_up - self.gave_up

    @property
    def gave_up(self) -> bool:
        """Whether it ended because its workers died too often."""
        return self.finished is not None and self.finished.error_kind == FailureKind.WORKER_DIED

    @property
    def environment(self) -> dict[str, str]:
        """What the steps wrote to `$TAKO_ENV`, a later one over an earlier one."""
        ended = (step.finished for step in self.steps.values() if step.finished)
        return {name: value for end in ended for name, value in end.environment.items()}

    def lived(self, at: float) -> float:
        """A moment of the run's present life, counted as if somebody had been there all the time."""
        return at - self.away_s

    def active_s(self, since: float, now: float) -> float:
        """Seconds from a moment as `lived` counts to now in which somebody was there to go on."""
        return max(0.0, self.lived(now) - since)

    def duration_s(self, now: float) -> float:
        """Seconds since the run began in which somebody was there, as records tell it."""
        return round(self.active_s(self.began, now), 3) if self.started else 0.0

    def step(self, step_id: str) -> StepState:
        """The step's state, made when first named."""
        return self.steps.setdefault(step_id, StepState(step_id))

    def outputs_of(self, step_id: str) -> Mapping[str, Any]:
        """A step's outputs; of a fan-out, its children's by repository."""
        if step_id in self.fan_outs:
            return self.fan_outs[step_id].outputs
        step = self.steps.get(step_id)
        return step.finished.outputs if step and step.finished else {}
