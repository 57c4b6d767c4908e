"""Runs one segment as the tool does: in a forked worker that is a subreaper and takes signals.

In: a spec with steps. Out: what the worker said and what the journal says. No root is needed.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from tako.config.schema import Step, Workflow
from tako.engine.run.run_directory import make_directory
from tako.engine.run.spec import RunSpec, Secrets, Segment, SegmentEnd
from tako.engine.workers.forked_cell import ForkedCell
from tako.journal.fold import fold
from tako.journal.log import read_records
from tako.journal.records import StepFinished
from tako.journal.run_state import RunState
from tako.sandbox.isolation import Isolation
from tako.sandbox.policy import Limits
from tako.values import evolve
from tests.support.records import run_id

NO_SECRETS = Secrets()
ENVIRONMENT: Mapping[str, str] = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}


def run_spec(directory: Path, *steps: Step | str, number: int = 1, **changes: Any) -> RunSpec:  # noqa: ANN401
    """Give a child's run below `directory`; a text is the script of a step named `step-N`.

    Its repository is whatever lies in `directory / "source"`.
    """
    source = directory / "source"
    source.mkdir(exist_ok=True)
    whole = [
        Step(id=f"step-{n}", run=step) if isinstance(step, str) else step for n, step in enumerate(steps, 1)
    ]
    spec = RunSpec(
        run_id=run_id(number),
        root_run_id=run_id(0),
        directory=directory / "runs" / run_id(number),
        repository="acme/app",
        branch="main",
        commit="c0ffee",
        source=source,
        workflow=Workflow(name="check", steps=tuple(whole)),
        config_digest="d1",
        artifact_names=(),
        inputs={},
        isolation=Isolation(),
        environment=ENVIRONMENT,
        limits=Limits(),
    )
    spec = evolve(spec, **changes)
    if spec.isolation.machine is None:
        return spec
    veils = directory / "veils"
    veils.mkdir(exist_ok=True)
    return evolve(spec, isolation=evolve(spec.isolation, veils=str(veils)))


@frozen
class Ran:
    """How a segment ended, from both who may say so."""

    spec: RunSpec
    end: SegmentEnd
    state: RunState

    def step(self, step_id: str = "step-1") -> StepFinished:
        """Give the end of a step."""
        finished = self.state.step(step_id).finished
        assert finished is not None, f"{step_id} has not ended"
        return finished

    def outputs(self, step_id: str = "step-1") -> dict[str, Any]:
        """Give a step's outputs; fails if it did not succeed."""
        finished = self.step(step_id)
        assert finished.status == "succeeded", finished.message
        return dict(finished.outputs)

    def log(self, step_id: str = "step-1") -> str:
        """Give a step's log."""
        return self.spec.paths.log(step_id).read_text("utf-8", "backslashreplace")


def state_of(spec: RunSpec) -> RunState:
    """Give what the run's journal says now."""
    return fold(read_records(spec.paths.journal))


@contextlib.contextmanager
def started(
    spec: RunSpec,
    *,
    number: int = 0,
    attempt: int = 1,
    grace_s: float = 10.0,
    secrets: Secrets = NO_SECRETS,
) -> Iterator[ForkedCell]:
    """Give the running worker of the run's next segment; the caller waits for its end."""
    make_directory(spec.paths)
    with tempfile.TemporaryDirectory() as temporary:
        cell = ForkedCell()
        try:
            cell.start(Segment(spec, number, attempt, temporary, grace_s, secrets))
            yield cell
        finally:
            cell.worker.end()
            cell.close()


def run(
    spec: RunSpec,
    *,
    number: int = 0,
    attempt: int = 1,
    grace_s: float = 10.0,
    secrets: Secrets = NO_SECRETS,
) -> Ran:
    """Run the next segment to its end."""
    with started(spec, number=number, attempt=attempt, grace_s=grace_s, secrets=secrets) as cell:
        end = cell.wait()
    return Ran(spec, end, state_of(spec))
