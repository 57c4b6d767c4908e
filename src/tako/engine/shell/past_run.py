"""A run that was, made ready to be entered again from what its journal and its snapshot say.

In: a run's directory, the state its journal tells, and what belongs to this machine and its user now.
Out: the `RunSpec` that its steps had. Fails with `NotFoundError` where nothing is left to enter.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from tako.config.loader import load_config_file
from tako.config.schema import Config, Resources, Step, Workflow, all_steps
from tako.engine.run.spec import RunSpec
from tako.errors import MachineError, NotFoundError
from tako.journal.records import RunStarted
from tako.journal.run_state import RunState
from tako.layout.names import CONFIG_NAME
from tako.layout.run import RunDirectory
from tako.repositories.reference import Repository, parse_repository
from tako.sandbox.isolation import Isolation
from tako.sandbox.policy import Limits, Mount
from tako.values import evolve, value


@value
class Surroundings:
    """What a run has of its machine and user, which no journal holds: as it is now."""

    #: How children are kept apart at a level; may raise `MachineError`.
    isolation: Callable[[str], Isolation]
    environment: Mapping[str, str]
    limits: Limits
    mounts: Callable[[Repository, Workflow], tuple[Mount, ...]]
    tool_caches: tuple[tuple[Path, str], ...] = ()
    quota: Callable[[Repository], Resources] = lambda _repository: Resources()


def started_of(paths: RunDirectory, state: RunState) -> RunStarted:
    """How the run began; raises `NotFoundError` if its steps had no workspace of tako's, or it is gone."""
    started = state.started
    if started is None:
        message = f"run {paths.run_id} never began"
        raise NotFoundError(message)
    if started.in_place:
        message = f"run {paths.run_id} worked in your own checkout, without a sandbox: {started.source}"
        raise NotFoundError(message, hint=f"cd {started.source}")
    if not paths.work.is_dir() or state.sandbox is None:
        message = f"the workspace of run {paths.run_id} is gone: it is removed when a run succeeds"
        raise NotFoundError(message, hint="`tako exec --keep` keeps the workspaces of runs that succeed")
    return started


def spec_from_journal(paths: RunDirectory, state: RunState, now: Surroundings) -> RunSpec:
    """The run as its steps had it, with its workspace as it was made.

    Raises what `started_of` does, `NotFoundError` too if its snapshot is gone, `ConfigError`, and
    `MachineError` if its isolation level, or the overlay that its workspace is, does not work here any more.
    """
    started = started_of(paths, state)
    config = _config(paths, started)
    workflow = config.workflows[started.workflow]
    return RunSpec(
        run_id=started.run_id,
        root_run_id=started.root_run_id,
        directory=paths.path,
        repository=started.repository,
        branch=started.branch,
        commit=started.commit,
        source=Path(started.source),
        workflow=workflow,
        config_digest=started.config_digest,
        artifact_names=tuple(config.artifacts),
        inputs=started.inputs,
        isolation=_isolation(paths, workflow, now.isolation(started.isolation)),
        environment=now.environment,
        limits=now.limits,
        quota=now.quota(parse_repository(started.repository)),
        parent_run_id=started.parent_run_id,
        parent_step=started.parent_step,
        event=started.event,
        ancestors=started.ancestors,
        received_from=paths.parent.artifacts if started.parent_run_id else None,
        mounts=now.mounts(parse_repository(started.repository), workflow),
        tool_caches=now.tool_caches,
    )


def _config(paths: RunDirectory, started: RunStarted) -> Config:
    source = Path(started.source)
    if not source.is_dir():
        message = f"the snapshot that run {paths.run_id} was made from is gone from the cache: {source}"
        raise NotFoundError(message)
    config = load_config_file(source / CONFIG_NAME)
    if started.workflow not in config.workflows:
        message = f"{config.file} has no workflow {started.workflow!r} any more"
        raise NotFoundError(message)
    return config


def _isolation(paths: RunDirectory, workflow: Workflow, found: Isolation) -> Isolation:
    """A copy stays a copy, an overlay an overlay: the kernel has left its own directory in the latter."""
    is_overlay = paths.inner.is_dir() and bool(os.listdir(paths.inner))
    if is_overlay and not (found.overlays and workflow.workspace in ("auto", "overlay")):
        message = f"the workspace of run {paths.run_id} is an overlay, which cannot be mounted here any more"
        raise MachineError(message, hint="`tako doctor` shows what works here")
    return evolve(found, overlays=is_overlay)


def step_to_enter(workflow: Workflow, state: RunState, name: str = "") -> Step:
    """The step of that name; else the one that failed, else the one that was reached last.

    Raises `NotFoundError` with the names that there are.
    """
    steps = {step.id: step for step in all_steps(workflow.steps)}
    if name and name not in steps:
        message = f"workflow {workflow.name} has no step {name!r} (it has: {', '.join(steps)})"
        raise NotFoundError(message)
    reached = [step for step in state.steps.values() if step.started is not None and step.id in steps]
    failed = [step for step in reached if not step.allows_next_step]
    chosen = name or (failed[:1] or reached[-1:] or [state.step(next(iter(steps)))])[0].id
    return steps[chosen]
