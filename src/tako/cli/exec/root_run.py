"""From what the user asked for to the root run: its source, its directory, its lock.

Everything that can be wrong with the request is found here, before anything started: wrong names,
inputs and templates are a `UsageError` (exit 2), an unusable machine is a `MachineError` (exit 4).
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from tako.cli.exec.cache_access import LazyCache
from tako.cli.exec.request import Request
from tako.config.inputs import resolve_inputs
from tako.config.loader import load_config_file
from tako.config.schema import Config, Workflow
from tako.engine.run.root_source import RootSource, find_checkout
from tako.engine.run.run_directory import make_directory
from tako.engine.run.run_ids import RunIds
from tako.engine.run.runnable import runnable
from tako.engine.run.spec import RunSpec
from tako.errors import ConfigError, MachineError, UsageError
from tako.layout.home import Home
from tako.layout.names import CONFIG_NAME
from tako.layout.run import RunDirectory
from tako.recovery.index import note_opened
from tako.recovery.ownership import claim, declare
from tako.repositories.reference import parse_reference, parse_repository, repository_from_url
from tako.repositories.upstream.git import checkout_state
from tako.system import crash_points
from tako.system.process.background import Background
from tako.system.storage.writing import disk_full, is_full
from tako.validation.check import check_workflow
from tako.values import evolve

_DRAWS_MAX = 100
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)


def find_source(request: Request, cache: LazyCache) -> RootSource:
    """Return the source of the root run: `--repo` from the cache, else the user's checkout."""
    return _from_cache(request, cache) if request.repository else _from_checkout(request)


def _from_checkout(request: Request) -> RootSource:
    checkout = find_checkout(request.directory)
    # git and the parser wait for the disk at the same time.
    reading = Background(lambda: checkout_state(checkout))
    config = load_config_file(checkout / CONFIG_NAME)
    workflow, inputs = _chosen(request, config)
    state = reading.result()
    return RootSource(
        repository=_source_name(checkout, state.origin, workflow),
        branch=state.branch,
        commit=state.commit,
        source=checkout,
        config=config,
        workflow=workflow,
        inputs=inputs,
        in_place=True,
        tracked_changes=state.tracked_changes,
    )


def _from_cache(request: Request, cache: LazyCache) -> RootSource:
    resolved, config = cache.root(parse_reference(request.repository))
    workflow, inputs = _chosen(request, config)
    return RootSource(
        repository=resolved.repository.text,
        branch=resolved.branch,
        commit=resolved.commit,
        source=cache.snapshot(resolved),
        config=config,
        workflow=workflow,
        inputs=inputs,
        in_place=False,
    )


def _chosen(request: Request, config: Config) -> tuple[Workflow, dict[str, object]]:
    workflow = runnable(config, request.workflow, "exec")
    inputs = resolve_inputs(workflow, request.inputs)
    problems = check_workflow(config, workflow)
    if problems:
        raise ConfigError(tuple(problems))
    return workflow, inputs


def _source_name(checkout: Path, origin: str, workflow: Workflow) -> str:
    guessed = repository_from_url(origin) if origin else None
    if guessed is not None:
        return guessed.text
    if workflow.fans_out:
        message = (
            f"{checkout} has no git remote `origin` that names its repository, but its events need the name"
        )
        raise UsageError(
            message, hint="git remote add origin URL, or run it from the cache with --repo owner/name"
        )
    return parse_repository(f"local/{_plain(checkout.name)}").text


def _plain(name: str) -> str:
    text = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name).strip("-")
    return text[:100] or "checkout"


def make_run(home: Home, spec: RunSpec, run_ids: RunIds, temporary: str) -> tuple[RunSpec, int]:
    """Make the root run's directory under a free id; return the lock that shows that its root lives.

    `temporary` is the private directory of this `tako exec`. Raises `MachineError` when it cannot be made.
    """
    for _ in range(_DRAWS_MAX):
        paths = home.run(run_ids.new())
        lock = _made(home, paths, temporary)
        if lock is not None:
            make_directory(paths)
            return evolve(spec, run_id=paths.run_id, root_run_id=paths.run_id, directory=paths.path), lock
    message = f"no free run id in {home.workspaces}"
    raise MachineError(message)


def _made(home: Home, paths: RunDirectory, temporary: str) -> int | None:
    """Make a root run's directory and take its lock; None if the id is taken.

    It gets its name when the lock is held: a reaper would take it for one whose tako was killed.
    """
    making = home.making(paths.run_id)
    lock = None
    try:
        note_opened(home, paths.run_id)
        making.path.mkdir(mode=0o700)
        lock = claim(making)
        if lock is not None:
            declare(lock, temporary)
            crash_points.before("replace", "run")
            making.path.rename(paths.path)
            crash_points.after("replace", "run")
    except OSError as error:
        if lock is not None:
            os.close(lock)
        if error.errno in _TAKEN:
            return None
        if is_full(error):
            raise disk_full(error, paths.path) from error
        message = f"the run directory {paths.path} cannot be made: {error.strerror}"
        raise MachineError(message) from error
    return lock
