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
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from tako.cli.cache_access import LazyCache
from tako.cli.notes import Notes
from tako.cli.options import open_home
from tako.cli.request import Request
from tako.cli.root_run import find_source, make_run
from tako.config.schema import Settings
from tako.engine.environment import scrubbed
from tako.engine.forked_cell import ForkedCell
from tako.engine.root_source import RootSource
from tako.engine.run_directory import machine_limits
from tako.engine.run_ids import RunIds
from tako.engine.segment import RunSpec, new_segment
from tako.errors import MachineError, UsageError
from tako.layout import Home
from tako.system.signals import STOPPING, SignalPipe
from tako.system.user_environment import user_environment
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


def execute(request: Request, post: Post, cell: ForkedCell) -> int:
    """Run what was asked for, report it, and give the exit code; raises `TakoError` before anything started.

    `cell` is the worker for the root run's first segment.
    """
    environment = user_environment()
    home, settings = open_home(request.home)
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
    )
    source = find_source(request, parts.cache)
    spec, lock = make_run(home, _spec(parts, source, environment), parts.run_ids)
    try:
        return _run(parts, spec, cell)
    finally:
        os.close(lock)


def _spec(parts: Parts, source: RootSource, environment: Mapping[str, str]) -> RunSpec:
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
        isolation=_isolation(parts.request.isolation or parts.settings.isolation),
        environment=dict(environment) if source.in_place else parts.passed_on,
        limits=machine_limits(parts.home.path, parts.jobs),
        in_place=source.in_place,
        keep=parts.request.keep,
        tracked_changes=source.tracked_changes,
        git_identity=("", "") if source.in_place else parts.cache.git_identity(),
    )


def _run(parts: Parts, spec: RunSpec, cell: ForkedCell) -> int:
    parts.notes.say(
        f"run {spec.run_id}: {spec.workflow.name} of {spec.repository},"
        f" isolation {spec.isolation}, jobs {parts.jobs}"
    )
    signals = SignalPipe(_SIGNALS)
    segment = new_segment(spec, 0, 1, Path(parts.post.temporary), 0)
    cell.start(segment)

    from tako.engine.child_workflow_executor import ChildWorkflowExecutor
    from tako.engine.driver import Driver, raise_open_files
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
        factory=lambda: _factory(parts, spec),
        signals=signals,
        temporary=Path(parts.post.temporary),
        observers=_observers(parts.request),
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


def _factory(parts: Parts, spec: RunSpec) -> ChildRunnerFactory:
    from tako.engine.child_runner_factory import ChildRunnerFactory

    return ChildRunnerFactory(
        parts.passed_on, spec.limits, spec.isolation, parts.cache.git_identity, keep=spec.keep
    )


def _planner(parts: Parts) -> FanOutExecutor:
    from tako.engine.fanout import FanOutExecutor

    return FanOutExecutor(parts.cache, parts.run_ids)


def _lock_timeout_s(request: Request, settings: Settings) -> float:
    if not request.lock_timeout:
        return settings.lock_timeout_s
    try:
        return parse_duration(request.lock_timeout)
    except ValueError as error:
        message = f"--lock-timeout: {error}"
        raise UsageError(message) from error


def _isolation(asked: str) -> str:
    if asked in ("auto", "process"):
        return "process"
    message = f"isolation level {asked!r} is not supported yet"
    raise MachineError(message, hint="use --isolation process, or auto")
