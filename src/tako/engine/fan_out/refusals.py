"""Why a fan-out or one of its children cannot be planned: the checks, and the failures that they become.

In: the runs above, what was found of subscribers. Out: nothing, a `TakoError`, or the record of a child that
failed before it started.
"""

from __future__ import annotations

from collections.abc import Sequence

from tako.engine.fan_out.judge import TooExpensiveError
from tako.engine.run.spec import RunSpec
from tako.engine.scheduler.limits import DoesNotFitError
from tako.errors import (
    ConfigError,
    InputsInvalidError,
    NotFoundError,
    TakoError,
    UnexpectedError,
    UsageError,
)
from tako.journal.parts import ChildExecutionError
from tako.journal.records import ChildPlanned
from tako.journal.statuses import FailureKind
from tako.repositories.caveats import NESTED, Caveats
from tako.repositories.reference import parse_repository

DEPTH_MAX = 10
DEPTH_WARNING = 7
#: Reasons that the message of a `StrictError` shows.
_REASONS_MAX = 5


class StrictError(TakoError):
    """With `--strict`: somebody may have been missed."""


def child_failure(plan: ChildPlanned, error: TakoError) -> ChildExecutionError:
    """The failure of a child that this error keeps from starting."""
    return ChildExecutionError(
        repository=plan.repository,
        workflow=plan.workflow,
        run_id=plan.run_id,
        kind=failure_kind(error),
        message=error.message,
    )


def failure_kind(error: TakoError) -> FailureKind:
    """The kind of `ChildExecutionError` that a failure before the start is."""
    match error:
        case InputsInvalidError():
            return FailureKind.INPUTS_INVALID
        case NotFoundError():
            return FailureKind.NOT_FOUND
        case DoesNotFitError() | TooExpensiveError():
            return FailureKind.LIMIT_EXCEEDED
        case ConfigError() | UsageError():
            return FailureKind.CONFIG_INVALID
        case UnexpectedError():
            return FailureKind.INTERNAL_ERROR
        case _:
            return FailureKind.SANDBOX_FAILED


def check_depth(parent: RunSpec, caveats: Caveats) -> None:
    """Raise `UsageError` if children of this run would be too deep in the tree; note if they nearly are."""
    depth = parent.depth + 1
    if depth > DEPTH_MAX:
        message = f"fan-outs are nested deeper than {DEPTH_MAX}"
        raise UsageError(message)
    if depth >= DEPTH_WARNING:
        reason = f"fan-outs are nested {depth} deep; {DEPTH_MAX} is the most"
        caveats.add(NESTED, parent.repository, reason)


def check_cycle(parent: RunSpec, repository: str, workflow: str) -> None:
    """Raise `UsageError` if this workflow of the repository (a `Repository.key`) runs above already."""
    lineage = (*parent.ancestors, (parse_repository(parent.repository).key, parent.workflow.name))
    if (repository, workflow) in lineage:
        way = " → ".join(f"{name} {flow}" for name, flow in (*lineage, (repository, workflow)))
        message = f"this would run in a circle: {way}"
        raise UsageError(message)


def refuse_strictly(reasons: Sequence[str]) -> None:
    """Raise `StrictError` with the reasons, if there are any."""
    if reasons:
        more = f"; and {len(reasons) - _REASONS_MAX} more" if len(reasons) > _REASONS_MAX else ""
        message = f"--strict: {'; '.join(reasons[:_REASONS_MAX])}{more}"
        raise StrictError(message, hint="--no-strict runs those that there are")
