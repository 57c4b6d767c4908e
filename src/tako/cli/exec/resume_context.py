"""Makes a run that was ready to be taken up: from its journal, and from what its source is now.

In: the root's directory and state. Out: a `ResumeContext`. A run that never began is a `NotFoundError`;
a checkout or tako.yml that changed is a `UsageError` unless it was accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tako.cli.exec.context import ExecContext, choose_isolation, root_spec
from tako.cli.exec.request import NO, Request
from tako.config.inputs import resolve_inputs
from tako.config.loader import load_config_file
from tako.config.schema import Config
from tako.engine.resume.resumer import Resumption
from tako.engine.run.root_source import RootSource
from tako.engine.run.runnable import runnable
from tako.engine.run.spec import RunSpec
from tako.errors import NotFoundError, UsageError
from tako.journal.records import RunStarted
from tako.journal.run_state import RunState
from tako.journal.stored import Values
from tako.layout.names import CONFIG_NAME
from tako.layout.run import RunDirectory
from tako.repositories.reference import parse_repository
from tako.repositories.upstream.git import checkout_state
from tako.sandbox.isolation import Isolation
from tako.values import evolve, value


@value
class ResumeContext:
    """A run to be resumed: the root's spec and state, and the changes found."""

    context: ExecContext
    spec: RunSpec
    #: Of the children.
    isolation: Isolation
    state: RunState
    resumption: Resumption


def make_again(context: ExecContext, paths: RunDirectory, state: RunState) -> ResumeContext:
    """Compare, and put together what the resume of this root run needs."""
    started = state.started
    if started is None:
        message = f"run {paths.run_id} ended before it began"
        raise NotFoundError(message, hint="start it anew: tako exec WORKFLOW")
    source, changes = _source(context, started, Values(paths))
    if changes and not context.request.accept_changes:
        message = f"{source.source} is not as the run left it: {'; '.join(changes)}"
        hint = "undo the changes, or continue with them: --accept-changes"
        raise UsageError(message, hint=hint)
    # As it was asked for at the beginning: a workspace made at another level could not be gone on with.
    asked = context.request.isolation or started.isolation_asked
    strict = started.strict if context.request.strict is None else context.request.strict
    context = evolve(context, request=evolve(context.request, isolation=asked, strict=strict))
    isolation = choose_isolation(context, source)
    spec = root_spec(context, source, isolation)
    spec = evolve(
        spec,
        run_id=paths.run_id,
        root_run_id=paths.run_id,
        directory=paths.path,
        keep=started.keep or context.request.keep,
    )
    return ResumeContext(
        context, spec, isolation, state, _resumption(context.request, source, changed=bool(changes))
    )


def _resumption(request: Request, source: RootSource, *, changed: bool) -> Resumption:
    return Resumption(
        failed_only=request.failed_only,
        # As long as it is not answered, what would be repeated has to be found.
        may_repeat=request.rerun != NO,
        commit=source.commit if changed else "",
        config_digest=source.config.digest if changed else "",
        tracked_changes=source.tracked_changes if changed else "",
    )


def _source(context: ExecContext, started: RunStarted, values: Values) -> tuple[RootSource, list[str]]:
    """Return the source of the root run, and its changes since the run."""
    inputs = values.read(started.inputs)
    return _checkout(started, inputs) if started.in_place else (_snapshot(context, started, inputs), [])


def _checkout(started: RunStarted, inputs: Mapping[str, Any]) -> tuple[RootSource, list[str]]:
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
    source = _root_source(started, config, checkout, inputs, changed=bool(changes))
    return evolve(source, commit=found.commit, tracked_changes=found.tracked_changes), changes


def _snapshot(context: ExecContext, started: RunStarted, inputs: Mapping[str, Any]) -> RootSource:
    pinned = context.cache.pinned(parse_repository(started.repository), started.branch, started.commit)
    snapshot = context.cache.snapshot(pinned)
    config = load_config_file(snapshot / CONFIG_NAME)
    return _root_source(started, config, snapshot, inputs, changed=False)


def _root_source(
    started: RunStarted, config: Config, source: Path, inputs: Mapping[str, Any], *, changed: bool
) -> RootSource:
    workflow = runnable(config, started.workflow, "exec")
    return RootSource(
        repository=started.repository,
        branch=started.branch,
        commit=started.commit,
        source=source,
        config=config,
        workflow=workflow,
        inputs=resolve_inputs(workflow, dict(inputs)) if changed else inputs,
        in_place=started.in_place,
        tracked_changes=started.tracked_changes,
    )
