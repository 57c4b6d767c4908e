"""The plan of a fan-out: its children, each with all that running it needs, and what it leaves out."""

from __future__ import annotations

from pathlib import Path

from tako.config.schema import Config, Workflow
from tako.journal.parts import ChildExecutionError
from tako.journal.records import ChildPlanned, SubscriptionFiltered
from tako.sandbox.policy import Mount
from tako.values import value


@value
class PlannedChild:
    """One child: its record, and what running it needs; with an error, what went wrong before."""

    record: ChildPlanned
    workflow: Workflow | None = None
    source: Path | None = None
    config_digest: str = ""
    artifact_names: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    error: ChildExecutionError | None = None


@value
class FanOutPlan:
    """All that a fan-out will run, and all that it will not."""

    found: int
    children: tuple[PlannedChild, ...]
    filtered: tuple[SubscriptionFiltered, ...]
    #: Only the children of an earlier plan that have not ended.
    again: bool = False
    #: Of these, those that do not subscribe any more.
    gone: tuple[ChildPlanned, ...] = ()


def ready_child(
    record: ChildPlanned, workflow: Workflow, source: Path, config: Config, mounts: tuple[Mount, ...]
) -> PlannedChild:
    """A child that can run: of this tree of its repository, with this tako.yml."""
    return PlannedChild(
        record,
        workflow=workflow,
        source=source,
        config_digest=config.digest,
        artifact_names=tuple(config.artifacts),
        mounts=mounts,
    )
