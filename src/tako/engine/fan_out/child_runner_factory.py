"""Makes what one child needs to run: identity, run directory, limits, and the spec of its run.

In: a planned child and the run that emitted its event. Out: a `RunSpec`, whose directory is
`<parent's>/children/<child run id>`; the directory is made only when the child starts, so that
10,000 planned children are not 10,000 directories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tako.config.schema import Resources
from tako.engine.run.spec import RunSpec
from tako.journal.records import EventEmitted
from tako.repositories.reference import Repository, parse_repository
from tako.sandbox.isolation import Isolation
from tako.sandbox.policy import Limits
from tako.values import value

if TYPE_CHECKING:
    from tako.engine.fan_out.plan import PlannedChild


@value
class ChildRunnerFactory:
    """What all children of one tree share."""

    environment: Mapping[str, str]
    limits: Limits
    isolation: Isolation
    git_identity: Callable[[], tuple[str, str]] = lambda: ("", "")
    tool_caches: tuple[tuple[Path, str], ...] = ()
    keep: bool = False
    quota: Callable[[Repository], Resources] = lambda _repository: Resources()

    def spec(self, parent: RunSpec, emitted: EventEmitted, child: PlannedChild) -> RunSpec:
        """The child's run; `child` must have no error."""
        assert child.workflow is not None
        assert child.source is not None
        record = child.record
        return RunSpec(
            run_id=record.run_id,
            root_run_id=parent.root_run_id,
            directory=parent.paths.child(record.run_id).path,
            repository=record.repository,
            branch=record.branch,
            commit=record.commit,
            source=child.source,
            workflow=child.workflow,
            config_digest=child.config_digest,
            artifact_names=child.artifact_names,
            inputs=record.inputs,
            isolation=self.isolation,
            environment=self.environment,
            limits=self.limits,
            quota=self.quota(parse_repository(record.repository)),
            keep=self.keep,
            parent_run_id=parent.run_id,
            parent_step=emitted.step,
            event=emitted.event,
            ancestors=(*parent.ancestors, (parse_repository(parent.repository).key, parent.workflow.name)),
            received_from=parent.paths.artifacts,
            git_identity=self.git_identity(),
            mounts=child.mounts,
            tool_caches=self.tool_caches,
        )
