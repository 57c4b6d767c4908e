"""What becomes of each step and child of a run that may be taken up again, and how what is not shows.

In: the state of a run, and what reads those of its children. Out: one `ResumeVerdict` for each step and
child, in the order of the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum

from tako.errors import NotFoundError
from tako.journal.fold import fold
from tako.journal.log import JournalDamagedError, read_records
from tako.journal.run_state import ChildState, RunState, StepState
from tako.journal.statuses import CANCELLED, INTERRUPTED, SKIPPED, TIMED_OUT, is_good
from tako.layout.run import RunDirectory
from tako.values import value


class Verdict(StrEnum):
    """What becomes of a step or a child."""

    KEPT = "kept"
    AGAIN = "runs again"
    FIRST = "runs"
    LEFT_OUT = "left out"
    #: An `on_failure` step: whether it runs depends on the step before it.
    ON_FAILURE = "runs on failure"


NOT_BEGUN = "it had not begun"

#: Gives a run's state; raises `NotFoundError` and `JournalDamagedError`.
Read = Callable[[RunDirectory], RunState]


@value
class ResumeVerdict:
    """One step, or with an empty `step` one child: what becomes of it, and why."""

    depth: int
    repository: str
    run_id: str
    step: str
    verdict: Verdict
    why: str
    #: A step that may have taken effect already, and says `rerun: never`.
    forbidden: bool = False


def read_journal(paths: RunDirectory) -> RunState:
    """The state that a run's journal tells."""
    return fold(read_records(paths.journal))


def untouched(paths: RunDirectory, state: RunState, read: Read, depth: int = 0) -> Iterator[ResumeVerdict]:
    """Give the steps of a run that is not taken up, and all that is below it, as they ended."""
    repository = state.started.repository if state.started else ""
    for step in state.steps.values():
        yield ResumeVerdict(depth, repository, paths.run_id, step.id, *as_it_ended(step))
        if step.id in state.fan_outs:
            for child in state.fan_outs[step.id].children.values():
                yield from untouched_child(paths, child, read, depth + 1, child_as_it_ended(child))


def untouched_child(
    parent: RunDirectory, child: ChildState, read: Read, depth: int, told: tuple[Verdict, str]
) -> Iterator[ResumeVerdict]:
    """Give the same of a child, itself first, with what is `told` of it: verdict and reason."""
    plan = child.plan
    yield ResumeVerdict(depth, plan.repository, plan.run_id, "", *told)
    paths = parent.child(plan.run_id)
    try:
        state = read(paths)
    except (NotFoundError, JournalDamagedError):
        return
    yield from untouched(paths, state, read, depth + 1)


def as_it_ended(step: StepState) -> tuple[Verdict, str]:
    """Verdict and reason for a step that does not run again."""
    if step.finished is None:
        return Verdict.LEFT_OUT, NOT_BEGUN
    if step.finished.tolerated:
        return Verdict.KEPT, "its failure was tolerated"
    told = f"it {said(step.finished.status)}"
    return (
        (Verdict.KEPT, told) if step.allows_next_step else (Verdict.LEFT_OUT, step.finished.message or told)
    )


def child_as_it_ended(child: ChildState) -> tuple[Verdict, str]:
    """The same for a child."""
    if child.finished is None:
        return Verdict.LEFT_OUT, NOT_BEGUN
    status = child.finished.status
    return Verdict.KEPT if is_good(status) else Verdict.LEFT_OUT, f"it {said(status)}"


def said(status: str) -> str:
    """A final status as what happened: `timed out`."""
    words: dict[str, str] = {
        SKIPPED: "was skipped",
        TIMED_OUT: "timed out",
        CANCELLED: "was cancelled",
        INTERRUPTED: "was interrupted",
    }
    return words.get(status, status)
