"""Puts the pieces of one `tako exec` together, once, in the root process.

    Request ─▶ settings, source ─▶ RunSpec ─▶ first segment (forked) ─▶ Driver ─▶ report

What only a driver, a fan-out or a report needs is imported after the first step has started.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from tako.cli.cache_access import LazyCache
from tako.cli.notes import Notes
from tako.cli.options import open_home
from tako.cli.request import Request
from tako.cli.root_run import find_source, make_run
from tako.config.schema import Settings, Workflow
from tako.engine.environment import scrubbed
from tako.engine.forked_cell import ForkedCell
from tako.engine.root_source import RootSource
from tako.engine.run_directory import machine_limits, whole_machine
from tako.engine.run_ids import RunIds
from tako.engine.secrets import SecretKeeper, read_grants
from tako.engine.segment import SSH_AGENT, RunSpec, Segments
from tako.errors import UsageError
from tako.layout import Home
from tako.recovery.sweep import leave, sweep
from tako.repositories.reference import Repository, parse_repository
from tako.sandbox.isolation import Isolation
from tako.sandbox.policy import AUTO, PROCESS, Limits, Mount
from tako.system.signals import STOPPING, SignalPipe
from tako.system.user_environment import user_environment, user_home, withhold
from tako.system.warden import Post
from tako.units import parse_duration
from tako.values import FrozenValue

if TYPE_CHECKING:
    from tako.engine.child_runner_factory import ChildRunnerFactory
    from tako.engine.fanout import FanOutExecutor
    from tako.engine.observer import Observer

_SIGNALS = (*STOPPING, signal.SIGTSTP, signal.SIGCONT)


@frozen(eq=False, repr=False)
class Parts(FrozenValue):
    """What everything below is made from."""

    request: Request
    post: Post
    home: Home
    settings: Settings
    notes: Notes
    cache: LazyCache
    run_ids: RunIds
    #: What children see of the user's environment.
    passed_on: Mapping[str, str]
    jobs: int
    secrets: SecretKeeper


def execute(request: Request, post: Post, cell: ForkedCell) -> int:
    """Run what was asked for, report it, and give the exit code; raises `TakoError` before anything started.

    `cell` is the worker for the root run's first segment.
    """
    environment = user_environment()
    home, settings = open_home(request.home)
    # Before anything else is started, which would inherit them.
    secrets = SecretKeeper(read_grants(settings, request.grants), partial(withhold, spare=(SSH_AGENT,)))
    notes = Notes(quiet=request.quiet)
    parts = Parts(
        request=request,
        post=post,
        home=home,
        settings=settings,
        notes=notes,
        cache=LazyCache(
            home, settings, notes, local=request.local, lock_timeout_s=_lock_timeout_s(request, settings)
        ),
        run_ids=RunIds(lambda: os.urandom(4).hex()),
        passed_on=scrubbed(environment, settings.environment),
        jobs=request.jobs or settings.jobs or len(os.sched_getaffinity(0)),
        secrets=secrets,
    )
    source = find_source(request, parts.cache)
    _check_secrets(parts, source)
    isolation = _isolation(parts, source, environment)
    sweep(home, settings, notes.say)
    whole = _spec(parts, source, isolation, environment)
    spec, lock = make_run(home, whole, parts.run_ids, post.temporary)
    try:
        return _run(parts, spec, isolation, cell)
    finally:
        leave(home, spec.paths)
        os.close(lock)


def _check_secrets(parts: Parts, source: RootSource) -> None:
    """Raise `SecretMissingError` before anything is made; takes them out of the environment, too."""
    if source.in_place:
        parts.secrets.for_trusted(source.workflow)
    else:
        parts.secrets.for_repository(parse_repository(source.repository), source.workflow)


def _spec(parts: Parts, source: RootSource, isolation: Isolation, environment: Mapping[str, str]) -> RunSpec:
    return RunSpec(
        run_id="",
        root_run_id="",
        directory=parts.home.workspaces,
        repository=source.repository,
        branch=source.branch,
        commit=source.commit,
        source=source.source,
        workflow=source.workflow,
        config_digest=source.config.digest,
        artifact_names=tuple(source.config.artifacts),
        inputs=source.inputs,
        # The steps in the user's own checkout are trusted like any command the user types.
        isolation=Isolation() if source.in_place else isolation,
        environment=dict(environment) if source.in_place else parts.passed_on,
        limits=_limits(parts, in_place=source.in_place),
        in_place=source.in_place,
        keep=parts.request.keep,
        tracked_changes=source.tracked_changes,
        git_identity=("", "") if source.in_place else parts.cache.git_identity(),
        mounts=()
        if source.in_place
        else _mounts(parts, parse_repository(source.repository), source.workflow),
        tool_caches=() if source.in_place else _tool_caches(parts, isolation),
    )


def _limits(parts: Parts, *, in_place: bool) -> Limits:
    """A run's share of the machine; the trusted steps in the user's checkout have what they declare."""
    share = machine_limits(parts.home.path, parts.jobs)
    return evolve(share, memory=None, disk=None, tasks=None) if in_place else share


def _mounts(parts: Parts, repository: Repository, workflow: Workflow) -> tuple[Mount, ...]:
    """What a run sees beyond its workspace; raises `TakoError` if it asks for more than it may have."""
    from tako.engine.extra_mounts import extra_mounts
    from tako.engine.limits import check_fits

    check_fits(workflow, whole_machine(parts.home.path))
    return extra_mounts(parts.settings, user_environment(), repository, workflow)


def _tool_caches(parts: Parts, isolation: Isolation) -> tuple[tuple[Path, str], ...]:
    wanted = parts.settings.sandbox.tool_caches
    if not wanted:
        return ()
    if not isolation.overlays:
        parts.notes.say(
            "sandbox.tool_caches of config.yml is without effect: it needs overlays (`tako doctor`)"
        )
        return ()
    home = user_home(user_environment())
    return tuple((home / path, path) for path in wanted if (home / path).is_dir())


def _run(parts: Parts, spec: RunSpec, isolation: Isolation, cell: ForkedCell) -> int:
    parts.notes.say(
        f"run {spec.run_id}: {spec.workflow.name} of {spec.repository},"
        f" isolation {isolation.level}, jobs {parts.jobs}"
    )
    signals = SignalPipe(_SIGNALS)
    segments = Segments(Path(parts.post.temporary), parts.secrets.for_run)
    segment = segments.new(spec, 0, 1)
    cell.start(segment)

    from tako.engine.child_workflow_executor import ChildWorkflowExecutor
    from tako.engine.driver import Driver, raise_open_files
    from tako.engine.limits import amounts
    from tako.report.summary import report

    gc.freeze()
    gc.enable()
    raise_open_files()
    runner = ChildWorkflowExecutor(parts.jobs, temporary=parts.post.temporary, on_tracker=parts.post.announce)
    if spec.workflow.fans_out:
        runner.prepare(1)
    driver = Driver(
        spec,
        runner,
        planner=lambda: _planner(parts),
        factory=lambda: _factory(parts, spec, isolation),
        segments=segments,
        signals=signals,
        observers=_observers(parts.request),
        capacity=amounts(whole_machine(parts.home.path)),
    )
    result = driver.run((segment, runner.adopt(segment, cell)))
    if not result.at_once:
        runner.close()
        report(spec.paths, result, output=parts.request.output, quiet=parts.request.quiet)
    return result.exit_code


def _observers(request: Request) -> list[Observer]:
    if request.quiet or request.output == "json":
        return []
    from tako.report.live import LiveText

    return [LiveText(sys.stderr)]


def _factory(parts: Parts, spec: RunSpec, isolation: Isolation) -> ChildRunnerFactory:
    from tako.engine.child_runner_factory import ChildRunnerFactory

    return ChildRunnerFactory(
        parts.passed_on,
        _limits(parts, in_place=False),
        isolation,
        parts.cache.git_identity,
        tool_caches=_tool_caches(parts, isolation),
        keep=spec.keep,
    )


def _planner(parts: Parts) -> FanOutExecutor:
    from tako.engine.fanout import FanOutExecutor

    return FanOutExecutor(
        parts.cache,
        parts.run_ids,
        mounts=partial(_mounts, parts),
        secrets=parts.secrets.for_repository,
    )


def _lock_timeout_s(request: Request, settings: Settings) -> float:
    if not request.lock_timeout:
        return settings.lock_timeout_s
    try:
        return parse_duration(request.lock_timeout)
    except ValueError as error:
        message = f"--lock-timeout: {error}"
        raise UsageError(message) from error


def _isolation(parts: Parts, source: RootSource, environment: Mapping[str, str]) -> Isolation:
    """How children are kept apart; nothing is tried where there can be none and nothing was asked for."""
    asked = parts.request.isolation or parts.settings.isolation
    if asked == PROCESS or (asked == AUTO and source.in_place and not source.workflow.fans_out):
        return Isolation()
    from tako.sandbox.levels import choose

    return choose(asked, parts.home, environment)
