"""`tako exec --resume`: continues a run that was interrupted or did not succeed, from its journals.

    find ─▶ lock ─▶ reap ─▶ compare the checkout ─▶ examine, ask ─▶ (under the warden) lock, driver

In: a request that names a run. Out: the exit code, as of `tako exec`. A run that another process executes
raises a `HeldError` that names it. A changed checkout or tako.yml raises a `UsageError` unless it was
accepted. The question about steps that may not run twice comes before the warden exists: only the
foreground reads the terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from tako.cli.exec.context import ExecContext, factory, make_context, planner
from tako.cli.exec.request import ASK, NO, YES, Request
from tako.cli.exec.resume_context import ResumeContext, make_again
from tako.engine.resume.verdicts import Read, ResumeVerdict, read_journal, untouched
from tako.engine.run.spec import SSH_AGENT
from tako.engine.workers.forked_cell import ForkedCell
from tako.errors import HeldError, MachineError, NotFoundError, UsageError
from tako.journal.fold import fold
from tako.journal.log import JournalDamagedError, read_records
from tako.journal.parts import EventValue
from tako.journal.records import Record
from tako.journal.run_state import RunState
from tako.journal.statuses import SUCCEEDED
from tako.journal.stored import StoredValueError, Values
from tako.layout.run import RunDirectory
from tako.recovery.index import note_opened
from tako.recovery.ownership import claim, declare, held_error, lock_error
from tako.recovery.reaper import REAPED, SETTLED, STUCK, Reaped, reap_run
from tako.recovery.sweep import leave, sweep
from tako.recovery.trash import empty
from tako.report.reading import find_run, read_run
from tako.report.result import write_result
from tako.system.storage.writing import size_of
from tako.system.user_environment import withhold
from tako.values import evolve, value

if TYPE_CHECKING:
    from tako.engine.fan_out.deliveries import Delivery
    from tako.engine.resume.explainer import ResumeExplainer
    from tako.system.process.warden import WardenLink


@value
class Ready:
    """A resume that may begin: the request with what was answered, and the root's journal as it is now."""

    request: Request
    records: tuple[Record, ...]
    #: The journal's bytes.
    seen: int


def prepare(request: Request) -> Ready | int:
    """Look before anything runs: explain, refuse or ask. Returns what to do then, or the exit code."""
    context = make_context(evolve(request, local=True), _present)
    with _held(context, request) as paths:
        if request.explain:
            return _explain(context, paths)
        _reap(context, paths)
        seen = size_of(paths.journal)
        records = tuple(read_records(paths.journal))
        state = fold(records)
        if _is_done(state):
            _say_done(context, paths)
            if request.output == "json":
                write_result(read_run(paths), sys.stdout)
            return 0
        again = make_again(context, paths, state)
        findings = list(_examination(again, read_journal, whole=False).findings(again.spec, state))
    return Ready(evolve(request, rerun=_answer(request, findings)), records, seen)


def _explain(context: ExecContext, paths: RunDirectory) -> int:
    from tako.recovery.reap_preview import foreseen
    from tako.report.explanation import explanation_json, explanation_lines

    reaped = _reap(context, paths, dry_run=True)
    states = foreseen(paths) if reaped.outcome == REAPED else {}

    def read(run: RunDirectory) -> RunState:
        return states[run.path] if run.path in states else read_journal(run)

    state = read(paths)
    if _is_done(state):
        _say_done(context, paths)
        findings = untouched(paths, state, read)
    else:
        again = make_again(context, paths, state)
        findings = _examination(again, read, whole=True).findings(again.spec, state)
    if context.request.output == "json":
        sys.stdout.write(explanation_json(findings) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in explanation_lines(findings))
    return 0


def _say_done(context: ExecContext, paths: RunDirectory) -> None:
    context.notes.say(f"run {paths.run_id} has succeeded: there is nothing left to do")


def _present(names: Iterable[str]) -> dict[str, str]:
    """Return the values of these variables; the session under the warden removes them."""
    return {name: os.environ[name] for name in names if name in os.environ}


def resume(ready: Ready, post: WardenLink, cell: ForkedCell) -> int:
    """Take the run up and drive it to its end; called in the root process. `cell` is its first worker."""
    from tako.cli.exec.wiring import run_tree
    from tako.engine.fan_out.deliveries import Deliveries

    context = make_context(ready.request, partial(withhold, spare=(SSH_AGENT,)))
    with _held(context, ready.request, post, ready.seen) as paths:
        sweep(context.home, context.settings, context.notes.say)
        again = make_again(context, paths, fold(ready.records))
        # Before anything goes on, also to take them out of what others inherit.
        context.secrets.require_for_run(again.spec)
        return run_tree(
            again.context,
            post,
            again.spec,
            again.isolation,
            cell=cell,
            resumption=again.resumption,
            deliveries=Deliveries(partial(_delivered, paths)),
        )


@contextmanager
def _held(
    context: ExecContext, request: Request, post: WardenLink | None = None, seen: int = 0
) -> Iterator[RunDirectory]:
    """Return the root run's directory while nobody else can change the run.

    With `post` it is ours, if its journal still has the bytes that were `seen` of it.
    """
    paths = find_run(context.home, request.resume).root
    try:
        lock = claim(paths)
    except OSError as error:
        raise lock_error(paths, error) from error
    if lock is None:
        raise held_error(paths)
    try:
        if post is not None:
            _reap(context, paths)
            if size_of(paths.journal) != seen:
                message = f"another tako has resumed run {paths.run_id} meanwhile"
                raise HeldError(message, hint="look at it with `tako status`, then start the resume again")
            note_opened(context.home, paths.run_id)
            declare(lock, post.temporary)
        yield paths
        if post is not None:
            leave(context.home, paths)
    finally:
        os.close(lock)


def _reap(context: ExecContext, paths: RunDirectory, *, dry_run: bool = False) -> Reaped:
    """End and complete what a dead tako left of it; raises `HeldError` where it is not proven dead.

    Raises `MachineError` where what is left of it cannot be used.
    """
    reaped = reap_run(context.home, paths, dry_run=dry_run)
    if reaped.outcome not in (REAPED, SETTLED):
        message = f"run {paths.run_id} cannot be resumed: {reaped.reason}"
        kind = MachineError if reaped.outcome == STUCK else HeldError
        raise kind(message, hint="`tako reap` prints more")
    left = [] if dry_run else empty(context.home, paths.run_id)
    for error in [*reaped.errors, *left]:
        context.notes.say(f"reaping {paths.run_id}: {error}")
    return reaped


def _is_done(state: RunState) -> bool:
    settled = state.settled
    return settled is not None and settled.status == SUCCEEDED and settled.exit_code == 0


def _examination(again: ResumeContext, read: Read, *, whole: bool) -> ResumeExplainer:
    from tako.engine.resume.explainer import ResumeExplainer

    context = again.context
    children = factory(context, again.isolation, keep=again.spec.keep)
    return ResumeExplainer(planner(context), children, again.resumption, read=read, whole=whole)


def _answer(request: Request, findings: list[ResumeVerdict]) -> str:
    """Return the answer for steps with `rerun: never` that may have taken effect; asks on a terminal."""
    never = [finding for finding in findings if finding.forbidden]
    if not never or request.rerun != ASK:
        return request.rerun if request.rerun != ASK else NO
    told = "\n".join(f"{found.repository} {found.run_id}, step {found.step}: {found.why}" for found in never)
    question = f"these steps have `rerun: never` and may have taken effect already:\n{told}"
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        hint = "--rerun yes runs them again, --rerun no counts them as failed"
        raise UsageError(question, hint=hint)
    import click

    click.echo(f"tako: {question}", err=True)
    return YES if click.confirm("run them again?", default=False, err=True) else NO


def _delivered(paths: RunDirectory) -> Iterator[Delivery]:
    """All children that were planned in a tree, from its journals."""
    from tako.engine.fan_out.deliveries import Delivery

    values = Values(paths)
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
            event = _fingerprint(fan_out.emitted.event, values)
            for child in fan_out.children.values():
                yield Delivery(event, child.plan)
                waiting.append(own.child(child.plan.run_id))


def _fingerprint(event: EventValue, values: Values) -> str:
    from tako.engine.run.events import from_value
    from tako.events.event import fingerprint

    try:
        return fingerprint(from_value(event, values))
    except StoredValueError:
        # What it said cannot be known any more: it counts as an event of its own.
        return ""
