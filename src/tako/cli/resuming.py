"""`tako exec --resume`: takes up a run that broke off or did not succeed, from its journals.

    find ─▶ lock ─▶ reap ─▶ compare the checkout ─▶ examine, ask ─▶ (under the warden) lock, driver

In: a request that names a run. Out: the exit code, as of `tako exec`. A run that another process executes
is a `HeldError` that says who; a checkout or tako.yml that changed is a `UsageError` unless it was accepted.
What may not run twice is asked for on a terminal, before the warden is there: only the foreground reads it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from tako.cli.parts import (
    Parts,
    choose_isolation,
    factory,
    make_parts,
    planner,
    root_spec,
)
from tako.cli.request import Request
from tako.config.inputs import resolve_inputs
from tako.config.loader import load_config_file
from tako.config.schema import Config
from tako.engine.forked_cell import ForkedCell
from tako.engine.root_source import RootSource
from tako.engine.runnable import runnable
from tako.engine.segment import SSH_AGENT, RunSpec
from tako.engine.taking_up import Resumption
from tako.errors import HeldError, NotFoundError, UsageError
from tako.journal.fold import RunState, fold
from tako.journal.log import JournalDamagedError, read_records
from tako.journal.records import SUCCEEDED, Record, RunStarted
from tako.layout import CONFIG_NAME, RunDirectory
from tako.recovery.index import note_opened
from tako.recovery.ownership import claim, declare, held_error
from tako.recovery.reaper import REAPED, SETTLED, reap_run
from tako.recovery.sweep import leave, sweep
from tako.report.reading import find_run, read_run, root_of
from tako.repositories.git import checkout_state
from tako.repositories.reference import parse_repository
from tako.sandbox.isolation import Isolation
from tako.system.files import size_of
from tako.system.user_environment import withhold
from tako.values import FrozenValue

if TYPE_CHECKING:
    from tako.engine.deliveries import Delivery
    from tako.engine.examination import Finding
    from tako.system.warden import Post

ASK, YES, NO = "ask", "yes", "no"


@frozen(eq=False, repr=False)
class Again(FrozenValue):
    """What is taken up: the root's spec and state, and what was found to have changed."""

    parts: Parts
    spec: RunSpec
    #: Of the children.
    isolation: Isolation
    state: RunState
    resumption: Resumption


@frozen(eq=False, repr=False)
class Ready(FrozenValue):
    """A resume that may begin: the request with what was answered, and the root's journal as it is now."""

    request: Request
    records: tuple[Record, ...]
    #: The journal's bytes.
    seen: int


def prepare(request: Request) -> Ready | int:
    """Look before anything runs: explain, refuse or ask. Gives what to do then, or the exit code."""
    from tako.report.explanation import explanation_json, explanation_lines
    from tako.report.result import write_result

    parts = make_parts(evolve(request, local=True), _present)
    with _held(parts, request) as paths:
        if not request.explain:
            _reap(parts, paths)
        seen = size_of(paths.journal)
        records = tuple(read_records(paths.journal))
        state = fold(records)
        if _is_done(state):
            parts.notes.say(f"run {paths.run_id} has succeeded: there is nothing left to do")
            if request.output == "json" and not request.explain:
                write_result(read_run(paths), sys.stdout)
            return 0
        findings = list(_findings(_again(parts, paths, state)))
        if request.explain and request.output == "json":
            sys.stdout.write(explanation_json(findings) + "\n")
        elif request.explain:
            sys.stdout.writelines(f"{line}\n" for line in explanation_lines(findings))
    if request.explain:
        return 0
    return Ready(evolve(request, rerun=_answer(request, findings)), records, seen)


def _present(names: Iterable[str]) -> dict[str, str]:
    """What is set of these variables; the session under the warden takes them away."""
    return {name: os.environ[name] for name in names if name in os.environ}


def resume(ready: Ready, post: Post, cell: ForkedCell) -> int:
    """Take the run up and drive it to its end; called in the root process. `cell` is its first worker."""
    from tako.cli.wiring import run_tree
    from tako.engine.deliveries import Deliveries

    parts = make_parts(ready.request, partial(withhold, spare=(SSH_AGENT,)))
    with _held(parts, ready.request, post, ready.seen) as paths:
        sweep(parts.home, parts.settings, parts.notes.say)
        again = _again(parts, paths, fold(ready.records))
        # Before anything goes on, also to take them out of what others inherit.
        parts.secrets.for_run(again.spec)
        return run_tree(
            parts,
            post,
            again.spec,
            again.isolation,
            cell=cell,
            resumption=again.resumption,
            deliveries=Deliveries(partial(_delivered, paths)),
        )


@contextmanager
def _held(parts: Parts, request: Request, post: Post | None = None, seen: int = 0) -> Iterator[RunDirectory]:
    """Give the root run's directory while nobody else can change the run.

    With `post` it is ours, if its journal still has the bytes that were `seen` of it.
    """
    paths = root_of(find_run(parts.home, request.resume))
    lock = claim(paths)
    if lock is None:
        raise held_error(paths)
    try:
        if post is not None:
            _reap(parts, paths)
            if size_of(paths.journal) != seen:
                message = f"run {paths.run_id} was taken up by somebody else meanwhile"
                raise HeldError(message, hint="look at it with `tako status`, then start the resume again")
            note_opened(parts.home, paths.run_id)
            declare(lock, post.temporary)
        yield paths
        if post is not None:
            leave(parts.home, paths)
    finally:
        os.close(lock)


def _reap(parts: Parts, paths: RunDirectory) -> None:
    """End and complete what a dead tako left of it; raises `HeldError` where it is not proven dead."""
    reaped = reap_run(parts.home, paths)
    if reaped.outcome not in (REAPED, SETTLED):
        message = f"run {paths.run_id} cannot be taken up: {reaped.reason}"
        raise HeldError(message, hint="`tako reap` tells more")
    for error in reaped.errors:
        parts.notes.say(f"reaping {paths.run_id}: {error}")


def _is_done(state: RunState) -> bool:
    settled = state.settled
    return settled is not None and settled.status == SUCCEEDED and settled.exit_code == 0


def _again(parts: Parts, paths: RunDirectory, state: RunState) -> Again:
    started = state.started
    if started is None:
        message = f"run {paths.run_id} ended before it began"
        raise NotFoundError(message, hint="start it anew")
    source, changes = _source(parts, started)
    if changes and not parts.request.accept_changes:
        message = f"{source.source} is not as the run left it: {'; '.join(changes)}"
        hint = "undo that, or go on with it as it is: --accept-changes"
        raise UsageError(message, hint=hint)
    # As it was asked for at the beginning: a workspace made at another level could not be gone on with.
    asked = parts.request.isolation or started.isolation_asked
    parts = evolve(parts, request=evolve(parts.request, isolation=asked))
    isolation = choose_isolation(parts, source)
    spec = root_spec(parts, source, isolation)
    spec = evolve(
        spec,
        run_id=paths.run_id,
        root_run_id=paths.run_id,
        directory=paths.path,
        keep=started.keep or parts.request.keep,
    )
    return Again(parts, spec, isolation, state, _resumption(parts.request, source, changed=bool(changes)))


def _resumption(request: Request, source: RootSource, *, changed: bool) -> Resumption:
    return Resumption(
        failed_only=request.failed_only,
        # As long as it is not answered, what would be repeated has to be found.
        may_repeat=request.rerun != NO,
        commit=source.commit if changed else "",
        config_digest=source.config.digest if changed else "",
        tracked_changes=source.tracked_changes if changed else "",
    )


def _source(parts: Parts, started: RunStarted) -> tuple[RootSource, list[str]]:
    """What the root run is made from, and how it differs from what it was."""
    return _checkout(started) if started.in_place else (_snapshot(parts, started), [])


def _checkout(started: RunStarted) -> tuple[RootSource, list[str]]:
    checkout = Path(started.source)
    config = load_config_file(checkout / CONFIG_NAME)
    found = checkout_state(checkout)
    changes = []
    if config.digest != started.config_digest:
        changes.append(f"{CONFIG_NAME} has changed")
    if found.commit != started.commit:
        changes.append(f"HEAD is {found.commit[:12] or 'gone'}, it was {started.commit[:12] or 'none'}")
    if found.tracked_changes != started.tracked_changes:
        changes.append("its tracked files have changed")
    source = _root_source(started, config, checkout, changed=bool(changes))
    return evolve(source, commit=found.commit, tracked_changes=found.tracked_changes), changes


def _snapshot(parts: Parts, started: RunStarted) -> RootSource:
    pinned = parts.cache.pinned(parse_repository(started.repository), started.branch, started.commit)
    snapshot = parts.cache.snapshot(pinned)
    return _root_source(started, load_config_file(snapshot / CONFIG_NAME), snapshot, changed=False)


def _root_source(started: RunStarted, config: Config, source: Path, *, changed: bool) -> RootSource:
    workflow = runnable(config, started.workflow, "exec")
    return RootSource(
        repository=started.repository,
        branch=started.branch,
        commit=started.commit,
        source=source,
        config=config,
        workflow=workflow,
        inputs=resolve_inputs(workflow, dict(started.inputs)) if changed else started.inputs,
        in_place=started.in_place,
        tracked_changes=started.tracked_changes,
    )


def _findings(again: Again) -> Iterator[Finding]:
    from tako.engine.examination import Examination

    parts = again.parts
    children = factory(parts, again.isolation, keep=again.spec.keep)
    return Examination(planner(parts), children, again.resumption).findings(again.spec, again.state)


def _answer(request: Request, findings: list[Finding]) -> str:
    """Whether steps run again that may have taken effect and say `rerun: never`; asks on a terminal."""
    never = [finding for finding in findings if finding.forbidden]
    if not never or request.rerun != ASK:
        return request.rerun if request.rerun != ASK else NO
    told = "\n".join(f"{found.repository} {found.run_id}, step {found.step}: {found.why}" for found in never)
    question = f"these steps say `rerun: never` and may have taken effect already:\n{told}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        hint = "--rerun yes runs them again, --rerun no counts them as failed"
        raise UsageError(question, hint=hint)
    import click

    click.echo(f"tako: {question}", err=True)
    return YES if click.confirm("run them again?", default=False, err=True) else NO


def _delivered(paths: RunDirectory) -> Iterator[Delivery]:
    """All children that were planned in a tree, from its journals."""
    from tako.engine.deliveries import Delivery

    waiting = [paths]
    while waiting:
        own = waiting.pop()
        try:
            state = fold(read_records(own.journal))
        except NotFoundError:
            continue
        except JournalDamagedError:
            # What it planned cannot be known; what those below it planned can.
            waiting += own.child_directories()
            continue
        # What was planned only in part is planned again.
        for fan_out in (known for known in state.fan_outs.values() if known.planned is not None):
            for child in fan_out.children.values():
                yield Delivery(fan_out.emitted.event, child.plan)
                waiting.append(own.child(child.plan.run_id))
