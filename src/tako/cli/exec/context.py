"""The parts of one `tako exec`: settings, cache, secrets, limits, and the makers of children."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tako.cli.exec.cache_access import LazyCache
from tako.cli.exec.request import Request
from tako.cli.options import check_cache_dir, open_home
from tako.cli.stderr_notes import Notes
from tako.config.schema import Resources, Settings, Workflow
from tako.engine.root.open_files import jobs_within, too_few
from tako.engine.run.environment import scrubbed, trusted
from tako.engine.run.root_source import RootSource
from tako.engine.run.run_directory import machine_limits, whole_machine
from tako.engine.run.run_ids import RunIds
from tako.engine.run.secrets import SecretKeeper, read_grants
from tako.engine.run.spec import RunSpec
from tako.errors import MachineError, UsageError
from tako.layout.home import Home
from tako.repositories.caveats import STALE, Caveats
from tako.repositories.reference import Repository, parse_repository
from tako.sandbox.isolation import Isolation
from tako.sandbox.policy import AUTO, PROCESS, Limits, Mount
from tako.system.process.warden import private_base
from tako.system.user_environment import user_environment
from tako.units import parse_duration
from tako.values import evolve, value

if TYPE_CHECKING:
    from tako.engine.fan_out.child_runner_factory import ChildRunnerFactory
    from tako.engine.fan_out.deliveries import Deliveries
    from tako.engine.fan_out.fan_out_executor import FanOutExecutor


@value
class ExecContext:
    """The parts that all of one command shares."""

    request: Request
    home: Home
    settings: Settings
    notes: Notes
    cache: LazyCache
    run_ids: RunIds
    #: What children see of the user's environment.
    passed_on: Mapping[str, str]
    jobs: int
    secrets: SecretKeeper
    #: What the cache and planning come upon: warnings.
    caveats: Caveats

    @property
    def strict(self) -> bool:
        """Whether some kinds of warnings fail a fan-out."""
        return self.settings.strict if self.request.strict is None else self.request.strict


def make_context(request: Request, take: Callable[[Iterable[str]], Mapping[str, str]]) -> ExecContext:
    """Read the settings and prepare the rest; `take` gives the values of secrets, as `SecretKeeper` wants."""
    environment = user_environment()
    check_cache_dir(request.home)
    home, settings = open_home(request.home)
    # Before anything else is started, which would inherit them.
    secrets = SecretKeeper(read_grants(settings, request.grants), take)
    notes = Notes(quiet=request.quiet)
    caveats = Caveats()
    return ExecContext(
        request=request,
        home=home,
        settings=settings,
        notes=notes,
        cache=LazyCache(
            home,
            settings,
            notes,
            local=request.local,
            lock_timeout_s=_lock_timeout_s(request, settings),
            caveats=caveats,
        ),
        run_ids=RunIds(lambda: os.urandom(4).hex()),
        passed_on=scrubbed(environment, settings.environment),
        jobs=jobs_within(_jobs(request, settings)),
        secrets=secrets,
        caveats=caveats,
    )


def _jobs(request: Request, settings: Settings) -> int:
    return request.jobs or settings.jobs or len(os.sched_getaffinity(0))


def tell_jobs(context: ExecContext) -> None:
    """Say it where the limit of open files lets fewer run at once than were asked for."""
    wanted = _jobs(context.request, context.settings)
    if context.jobs < wanted:
        context.notes.say(too_few(wanted, context.jobs))


def check_root_is_current(context: ExecContext, source: RootSource) -> None:
    """Raise `MachineError` where it is to be strict and what `--repo` names cannot be fetched."""
    if source.in_place or not context.strict:
        return
    for caveat in context.caveats.all():
        if caveat.kind == STALE and caveat.repository == source.repository:
            message = f"--strict: {caveat.reason}"
            raise MachineError(message, hint="--no-strict uses the last fetched state")


def check_secrets(context: ExecContext, source: RootSource) -> None:
    """Raise `SecretMissingError` before anything is made; takes them out of the environment, too."""
    context.secrets.require(source.workflow, None if source.in_place else parse_repository(source.repository))


def root_spec(context: ExecContext, source: RootSource, isolation: Isolation) -> RunSpec:
    """The root run; without an id and a directory of its own yet."""
    return RunSpec(
        run_id="",
        root_run_id="",
        directory=context.home.workspaces,
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
        environment=_environment(context, in_place=source.in_place),
        limits=_limits(context, in_place=source.in_place),
        quota=_root_quota(context, source),
        in_place=source.in_place,
        keep=context.request.keep,
        isolation_asked=context.request.isolation,
        strict=context.strict,
        tracked_changes=source.tracked_changes,
        git_identity=("", "") if source.in_place else context.cache.git_identity(),
        mounts=()
        if source.in_place
        else mounts(context, parse_repository(source.repository), source.workflow),
        tool_caches=() if source.in_place else _tool_caches(context, isolation),
    )


def _environment(context: ExecContext, *, in_place: bool) -> Mapping[str, str]:
    return trusted(user_environment(), context.settings.environment) if in_place else context.passed_on


def _limits(context: ExecContext, *, in_place: bool) -> Limits:
    """A run's share of the machine; the trusted steps in the user's checkout have what they declare."""
    share = machine_limits(context.home.path, context.jobs, context.settings.min_free)
    return evolve(share, memory=None, disk=None, tasks=None, min_free=None) if in_place else share


def _root_quota(context: ExecContext, source: RootSource) -> Resources:
    if source.in_place or not context.settings.quotas:
        return Resources()
    from tako.engine.run.quotas import quota_of

    return quota_of(context.settings, parse_repository(source.repository))


def mounts(context: ExecContext, repository: Repository, workflow: Workflow) -> tuple[Mount, ...]:
    """Return the mounts of a run beyond its workspace.

    Raises `TakoError` if it asks for more than granted.
    """
    from tako.engine.run.extra_mounts import extra_mounts
    from tako.engine.run.quotas import quota_of
    from tako.engine.scheduler.limits import check_fits

    check_fits(workflow, whole_machine(context.home.path), quota_of(context.settings, repository))
    own = (context.home.path, context.home.cache.path)
    environment = user_environment()
    return extra_mounts(
        context.settings, environment, repository, workflow, own=own, private=private_base(environment)
    )


def _tool_caches(context: ExecContext, isolation: Isolation) -> tuple[tuple[Path, str], ...]:
    wanted = context.settings.sandbox.tool_caches
    if not wanted:
        return ()
    if not isolation.overlays:
        context.notes.say(
            "sandbox.tool_caches of config.yml has no effect: it needs overlays (`tako doctor`)"
        )
        return ()
    from tako.engine.run.extra_mounts import tool_caches

    return tool_caches(context.settings, user_environment(), context.notes.say)


def factory(context: ExecContext, isolation: Isolation, *, keep: bool) -> ChildRunnerFactory:
    """Make the factory of children's specs; called when the first is needed."""
    from tako.engine.fan_out.child_runner_factory import ChildRunnerFactory
    from tako.engine.run.quotas import quota_of

    return ChildRunnerFactory(
        context.passed_on,
        _limits(context, in_place=False),
        isolation,
        context.cache.git_identity,
        tool_caches=_tool_caches(context, isolation),
        keep=keep,
        quota=partial(quota_of, context.settings),
    )


def planner(context: ExecContext, deliveries: Deliveries | None = None) -> FanOutExecutor:
    """Make the planner of fan-outs; called when the first is reached."""
    from tako.engine.fan_out.fan_out_executor import FanOutExecutor
    from tako.engine.fan_out.judge import Judge

    return FanOutExecutor(
        context.cache,
        context.run_ids,
        mounts=partial(mounts, context),
        require_secrets=context.secrets.require,
        judge=partial(Judge, context.settings.filter_time),
        deliveries=deliveries,
        caveats=context.caveats,
        strict=context.strict,
    )


def choose_isolation(context: ExecContext, source: RootSource) -> Isolation:
    """How children are kept apart; nothing is tried where there can be none and nothing was asked for."""
    asked = context.request.isolation or context.settings.isolation
    if asked == PROCESS or (asked == AUTO and source.in_place and not source.workflow.fans_out):
        return Isolation()
    from tako.engine.run.extra_mounts import written_by_steps
    from tako.sandbox.levels import choose

    environment = user_environment()
    return choose(asked, context.home, environment, written_by_steps(context.settings, environment))


def _lock_timeout_s(request: Request, settings: Settings) -> float:
    if not request.lock_timeout:
        return settings.lock_timeout_s
    try:
        return parse_duration(request.lock_timeout)
    except ValueError as error:
        message = f"--lock-timeout: {error}"
        raise UsageError(message) from error
