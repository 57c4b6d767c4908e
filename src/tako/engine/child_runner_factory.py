"""Makes what one child needs to run: identity, run directory, limits, and the spec of its run.

In: a planned child and the run that emitted its event. Out: a `RunSpec`, whose directory is
`<parent's>/children/<child run id>`; `make_directory` is called only when the child starts, so that
10,000 planned children are not 10,000 directories.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import frozen

from tako.engine.fanout import PlannedChild
from tako.engine.segment import RunSpec
from tako.errors import MachineError
from tako.journal.records import EventEmitted
from tako.layout import RunDirectory
from tako.repositories.reference import parse_repository
from tako.sandbox.policy import Limits
from tako.system.files import disk_full, is_full


@frozen
class ChildRunnerFactory:
    """What all children of one tree share."""

    environment: Mapping[str, str]
    limits: Limits
    isolation: str
    git_identity: Callable[[], tuple[str, str]] = lambda: ("", "")
    keep: bool = False

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
            keep=self.keep,
            parent_run_id=parent.run_id,
            parent_step=emitted.step,
            event=emitted.event,
            ancestors=(*parent.ancestors, (parse_repository(parent.repository).key, parent.workflow.name)),
            received_from=parent.paths.artifacts,
            git_identity=self.git_identity(),
        )


def make_directory(paths: RunDirectory) -> None:
    """Make a run's directory and what is in it from the start; what is there already is kept.

    Raises `DiskFullError` or `MachineError`.
    """
    try:
        for directory in (paths.path, paths.logs, paths.artifacts, paths.children):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        if is_full(error):
            raise disk_full(error, paths.path) from error
        message = f"the run directory cannot be made: {error}"
        raise MachineError(message) from error


def machine_limits(directory: Path, jobs: int) -> Limits:
    """What one step gets of this machine when nothing is declared: the machine divided by the jobs.

    RLIMIT_NPROC counts all tasks of the user, so that it is set relative to what runs already; it does
    not bind root (setrlimit(2), CAP_SYS_RESOURCE).
    """
    disk = os.statvfs(directory)
    file_size = max(_FILE_SIZE_MIN, disk.f_bavail * disk.f_frsize // jobs)
    processes = None if os.getuid() == 0 else _user_tasks() + _PROCESSES
    return Limits(file_size=file_size, open_files=_OPEN_FILES, processes=processes)


_FILE_SIZE_MIN = 1 << 30
_OPEN_FILES = 65_536
_PROCESSES = 4096


def _user_tasks() -> int:
    count = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                if entry.stat().st_uid == os.getuid():
                    count += os.stat(f"/proc/{entry.name}/task").st_nlink - 2
            except FileNotFoundError:
                continue
    return count
