"""What one `tako exec` is made from: settings, cache, secrets, limits, and how children come from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from tako.cli.cache_access import LazyCache
from tako.cli.notes import Notes
from tako.cli.options import open_home
from tako.cli.request import Request
from tako.config.schema import Resources, Settings, Workflow
from tako.engine.environment import scrubbed
from tako.engine.root_source import RootSource
from tako.engine.run_directory import machine_limits, whole_machine
from tako.engine.run_ids import RunIds
from tako.engine.secrets import SecretKeeper, read_grants
from tako.engine.segment import RunSpec
from tako.errors import UsageError
from tako.layout import Home
from tako.repositories.reference import Repository, parse_repository
from tako.sandbox.isolation import Isolation
from tako.sandbox.policy import AUTO, PROCESS, Limits, Mount
from tako.system.user_environment import user_environment
from tako.units import parse_duration
from tako.values import FrozenValue

if TYPE_CHECKING:
    from tako.engine.child_runner_factory import ChildRunnerFactory
    from tako.engine.deliveries import Deliveries
    from tako.engine.fanout import FanOutExecutor


@frozen(eq=False, repr=False)
class Parts(FrozenValue):
    """What everything of one command is made from."""

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


def make_parts(request: Request, take: Callable[[Iterable[str]], Mapping[str, str]]) -> Parts:
    """Read the settings and prepare the rest; `take` gives the values of secrets, as `SecretKeeper` wants."""
    environment = user_environment()
    home, settings = open_home(request.home)
    # Before anything else is started, which would inherit them.
    secrets = SecretKeeper(read_grants(settings, request.grants), take)
    notes = Notes(quiet=request.quiet)
    return Parts(
        request=request,
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


def check_secrets(parts: Parts, source: RootSource) -> None:
    """Raise `SecretMissingError` before anything is made; takes them out of the environment, too."""
    if source.in_place:
        parts.secrets.for_trusted(source.workflow)
    else:
        parts.secrets.for_repository(parse_repository(source.repository), source.workflow)


def root_spec(parts: Parts, source: RootSource, isolation: Isolation) -> RunSpec:
    """The root run; without an id and a directory of its own yet."""
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
        environment=dict(user_environment()) if source.in_place else parts.passed_on,
        limits=_limits(parts, in_place=source.in_place),
        quota=_root_quota(parts, source),
        in_place=source.in_place,
        keep=parts.request.keep,
        isolation_asked=parts.request.isolation,
        tracked_changes=source.tracked_changes,
        git_identity=("", "") if source.in_place else parts.cache.git_identity(),
        mounts=() if source.in_place else mounts(parts, parse_repository(source.repository), source.workflow),
        tool_caches=() if source.in_place else _tool_caches(parts, isolation),
    )


def _limits(parts: Parts, *, in_place: bool) -> Limits:
    """A run's share of the machine; the trusted steps in the user's checkout have what they declare."""
    share = machine_limits(parts.home.path, parts.jobs)
    return evolve(share, memory=None, disk=None, tasks=None) if in_place else share


def _root_quota(parts: Parts, source: RootSource) -> Resources:
    if source.in_place or not parts.settings.quotas:
        return Resources()
    from tako.engine.quotas import quota_of

    return quota_of(parts.settings, parse_repository(source.repository))


def mounts(parts: Parts, repository: Repository, workflow: Workflow) -> tuple[Mount, ...]:
    """What a run sees beyond its workspace; raises `TakoError` if it asks for more than it may have."""
    from tako.engine.extra_mounts import extra_mounts
    from tako.engine.limits import check_fits
    from tako.engine.quotas import quota_of

    check_fits(workflow, whole_machine(parts.home.path), quota_of(parts.settings, repository))
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
    from tako.engine.extra_mounts import tool_caches

    return tool_caches(parts.settings, user_environment())


def factory(parts: Parts, isolation: Isolation, *, keep: bool) -> ChildRunnerFactory:
    """What makes children's specs; made when the first is needed."""
    from tako.engine.child_runner_factory import ChildRunnerFactory
    from tako.engine.quotas import quota_of

    return ChildRunnerFactory(
        parts.passed_on,
        _limits(parts, in_place=False),
        isolation,
        parts.cache.git_identity,
        tool_caches=_tool_caches(parts, isolation),
        keep=keep,
        quota=partial(quota_of, parts.settings),
    )


def planner(parts: Parts, deliveries: Deliveries | None = None) -> FanOutExecutor:
    """What plans fan-outs; made when the first is reached."""
    from tako.engine.fanout import FanOutExecutor

    return FanOutExecutor(
        parts.cache,
        parts.run_ids,
        mounts=partial(mounts, parts),
        secrets=parts.secrets.for_repository,
        deliveries=deliveries,
    )


def choose_isolation(parts: Parts, source: RootSource) -> Isolation:
    """How children are kept apart; nothing is tried where there can be none and nothing was asked for."""
    asked = parts.request.isolation or parts.settings.isolation
    if asked == PROCESS or (asked == AUTO and source.in_place and not source.workflow.fans_out):
        return Isolation()
    from tako.sandbox.levels import choose

    return choose(asked, parts.home, user_environment())


def _lock_timeout_s(request: Request, settings: Settings) -> float:
    if not request.lock_timeout:
        return settings.lock_timeout_s
    try:
        return parse_duration(request.lock_timeout)
    except ValueError as error:
        message = f"--lock-timeout: {error}"
        raise UsageError(message) from error
