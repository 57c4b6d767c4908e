"""What is missing in the journal of a run whose processes are dead, and what its whole subtree came to.

In: the state that the journal tells, and how its children ended. Out: records. Pure. They are dated at the
last sign of life: when something ended is worth knowing, when somebody noticed is not.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence

from tako import exit_codes
from tako.journal.records import ChildFinished, Record, RunFinished, RunSettled, StepFinished
from tako.journal.run_state import FanOutState, RunState
from tako.journal.statuses import FAILED, INTERRUPTED, RUNNING, SUCCEEDED, TIMED_OUT, is_good

RUN_MESSAGE = "its tako was killed, or the machine went down"
STEP_MESSAGE = "interrupted"


def missing(state: RunState, ended: Sequence[ChildFinished], at: float) -> list[Record]:
    """The records that a run's journal lacks, `RunSettled` aside; `ended` are its children's."""
    records: list[Record] = [*ended]
    records += [
        StepFinished(
            at, step.id, max(step.attempts, 1), INTERRUPTED, _since(step.started, at), message=STEP_MESSAGE
        )
        for step in state.steps.values()
        if step.status == RUNNING
    ]
    if state.finished is None and state.started is not None:
        records.append(RunFinished(at, INTERRUPTED, state.duration_s(at), RUN_MESSAGE))
    return records


def _since(began: float | None, at: float) -> float:
    return round(max(0.0, at - began), 3) if began is not None else 0.0


def subtree_status(state: RunState) -> str:
    """What a run with all below it came to, once nothing is missing in its journal."""
    finished = state.finished
    if finished is None or finished.status == INTERRUPTED or any(map(_is_cut_off, state.fan_outs.values())):
        return INTERRUPTED
    return FAILED if finished.status == SUCCEEDED and _failed_late(state) else finished.status


def _is_cut_off(fan_out: FanOutState) -> bool:
    """Whether children of it have not ended by themselves, those too that were planned and never started."""
    ended = [child.finished for child in fan_out.children.values()]
    return any(child is None or child.status == INTERRUPTED for child in ended)


def _failed_late(state: RunState) -> bool:
    return any(
        child.finished is not None and not is_good(child.finished.status)
        for fan_out in state.fan_outs.values()
        if not fan_out.emitted.wait_for_children and fan_out.emitted.on_child_failure != "ignore"
        for child in fan_out.children.values()
    )


def settled(state: RunState, at: float) -> RunSettled:
    """The last record of a root run: what its tree came to, and the exit code that nobody could give."""
    status = subtree_status(state)
    own = state.finished.status if state.finished and status != INTERRUPTED else status
    return RunSettled(at, own, _exit_code(state, status))


def _exit_code(state: RunState, status: str) -> int:
    if status == INTERRUPTED:
        return exit_codes.MACHINE
    if state.stop is not None and state.stop.signal in signal.Signals.__members__:
        return exit_codes.of_signal(signal.Signals[state.stop.signal])
    codes: dict[str, int] = {SUCCEEDED: exit_codes.SUCCEEDED, TIMED_OUT: exit_codes.TIMED_OUT}
    return codes.get(status, exit_codes.FAILED)
