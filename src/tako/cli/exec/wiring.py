"""Puts the pieces of one `tako exec` together, once, in the root process.

    Request ─▶ settings, source ─▶ RunSpec ─▶ first segment (forked) ─▶ Driver ─▶ report

What only a driver, a fan-out or a report needs is imported after the first step has started. A run
that is taken up again comes from its journal instead (`cli.exec.resuming`), and joins at the driver.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tako.cli.exec import context as made
from tako.cli.exec.context import ExecContext
from tako.cli.exec.request import Request
from tako.cli.exec.root_run import find_source, make_run
from tako.engine.run.run_directory import vanished, whole_machine
from tako.engine.run.spec import SSH_AGENT, RunSpec, Segments
from tako.engine.workers.forked_cell import ForkedCell
from tako.errors import TakoError
from tako.recovery.sweep import leave, sweep
from tako.sandbox.isolation import Isolation
from tako.system.accounting.usage import disk_size
from tako.system.process.signals import STOPPING, SignalPipe
from tako.system.process.warden import WardenLink
from tako.system.storage.writing import is_gone
from tako.system.user_environment import withhold

if TYPE_CHECKING:
    from tako.engine.fan_out.deliveries import Deliveries
    from tako.engine.resume.resumer import Resumption
    from tako.engine.root.observer import Observer
    from tako.engine.root.reserve import Reserve

_SIGNALS = (*STOPPING, signal.SIGTSTP, signal.SIGCONT)


def execute(request: Request, post: WardenLink, cell: ForkedCell) -> int:
    """Run the request, report the result, and return the exit code.

    Raises `TakoError` before anything started.

    `cell` is the worker for the root run's first segment.
    """
    context = made.make_context(request, partial(withhold, spare=(SSH_AGENT,)))
    source = find_source(request, context.cache)
    made.check_root_is_current(context, source)
    made.check_secrets(context, source)
    if source.tracked_changes:
        context.notes.say(
            f"{source.source} has uncommitted changes: this run does not test commit"
            f" {source.commit[:12]} (the result has `dirty`)"
        )
    isolation = made.choose_isolation(context, source)
    sweep(context.home, context.settings, context.notes.say)
    whole = made.root_spec(context, source, isolation)
    spec, lock = make_run(context.home, whole, context.run_ids, post.temporary)
    try:
        return run_tree(context, post, spec, isolation, cell=cell)
    finally:
        leave(context.home, spec.paths)
        os.close(lock)


def run_tree(
    context: ExecContext,
    post: WardenLink,
    spec: RunSpec,
    isolation: Isolation,
    *,
    cell: ForkedCell | None = None,
    resumption: Resumption | None = None,
    deliveries: Deliveries | None = None,
) -> int:
    """Run a tree to its end and report it, from its beginning or from where a `resumption` takes it up.

    `cell` is the worker for the first segment. Raises `MachineError` if the run's directory vanishes.
    """
    try:
        return _run_tree(
            context, post, spec, isolation, cell=cell, resumption=resumption, deliveries=deliveries
        )
    except (OSError, TakoError) as error:
        if not is_gone(spec.directory):
            raise
        raise vanished(spec.paths, context.home.path) from error


def _run_tree(
    context: ExecContext,
    post: WardenLink,
    spec: RunSpec,
    isolation: Isolation,
    *,
    cell: ForkedCell | None,
    resumption: Resumption | None,
    deliveries: Deliveries | None,
) -> int:
    made.tell_jobs(context)
    context.notes.say(
        f"run {spec.run_id}: {spec.workflow.name} of {spec.repository},"
        f" isolation {isolation.level}, jobs {context.jobs}"
    )
    signals = SignalPipe(_SIGNALS)
    segments = Segments(Path(post.temporary), context.secrets.for_run)
    segment = segments.new(spec, 0, 1) if cell and resumption is None else None
    if cell and segment:
        cell.start(segment)

    from tako.engine.root.driver import Driver
    from tako.engine.root.open_files import raise_open_files
    from tako.engine.scheduler.limits import amounts
    from tako.engine.workers.child_workflow_executor import ChildWorkflowExecutor
    from tako.report.summary import report

    gc.freeze()
    gc.enable()
    raise_open_files()
    runner = ChildWorkflowExecutor(context.jobs, temporary=post.temporary, on_tracker=post.announce)
    if cell and resumption:
        # What comes first the driver finds out, and whether there will be more.
        runner.keep(cell)
    elif spec.workflow.fans_out:
        runner.prepare(1)
    driver = Driver(
        spec,
        runner,
        planner=lambda: made.planner(context, deliveries),
        factory=lambda: made.factory(context, isolation, keep=spec.keep),
        segments=segments,
        signals=signals,
        observers=_observers(context.request),
        capacity=amounts(whole_machine(context.home.path)),
        resumption=resumption,
        caveats=context.caveats,
        reserve=_reserve(context),
    )
    result = driver.run((segment, runner.adopt(segment, cell)) if cell and segment else None)
    # What is left is to read and to print, as `tako status` does it.
    gc.disable()
    if not result.at_once:
        runner.close()
        if is_gone(spec.directory):
            # A quiet success would hide it.
            raise vanished(spec.paths, context.home.path)
        report(spec.paths, result, output=context.request.output, quiet=context.request.quiet)
    return result.exit_code


def _reserve(context: ExecContext) -> Reserve | None:
    from tako.engine.root.reserve import Reserve

    size = context.settings.min_free.of(disk_size(context.home.path))
    return Reserve(context.home.path, size) if size else None


def _observers(request: Request) -> list[Observer]:
    if request.quiet or request.output == "json":
        from tako.report.only_warnings import OnlyWarnings

        return [OnlyWarnings(sys.stderr)]
    from tako.report.live import LiveText

    return [LiveText(sys.stderr)]
