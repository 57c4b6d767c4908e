"""Puts the pieces of one `tako exec` together, once, in the root process.

    Request ─▶ home, settings, checkout ─▶ RunSpec ─▶ first segment (forked) ─▶ Driver ─▶ report

Everything that can be wrong with what the user asked for is found before the first step starts.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tako.cli.options import open_home
from tako.cli.request import Request
from tako.config.inputs import resolve_inputs
from tako.config.loader import load_config_file
from tako.config.schema import Config, Settings, Workflow
from tako.engine.child_runner_factory import ChildRunnerFactory, machine_limits, make_directory
from tako.engine.environment import scrubbed
from tako.engine.fanout import RunIds, runnable
from tako.engine.root_source import RootSource, find_checkout
from tako.engine.segment import RunSpec
from tako.engine.steps.fan_out import FAN_OUT
from tako.errors import MachineError, UsageError
from tako.layout import CONFIG_NAME, Home
from tako.repositories.reference import parse_reference, parse_repository, repository_from_url
from tako.system.signals import STOPPING, SignalPipe
from tako.system.user_environment import put_aside, user_environment
from tako.system.warden import Post

_DRAWS_MAX = 100


def execute(request: Request, post: Post) -> int:
    """Run what was asked for and report it; gives the exit code. Raises `TakoError` before anything started."""
    put_aside()
    environment = user_environment()
    home, settings = open_home(environment, request.cache_dir)
    os.chdir("/")
    isolation = _isolation(request.isolation or settings.isolation)
    notes = _Notes(quiet=request.quiet)
    cache = LazyCache(home, settings, request, notes)
    source = _from_cache(request, cache) if request.repository else _from_checkout(request)
    jobs = request.jobs or settings.jobs or len(os.sched_getaffinity(0))
    limits = machine_limits(home.path, jobs)
    passed_on = scrubbed(environment, settings.environment)
    spec = RunSpec(
        run_id="",
        root_run_id="",
        directory=home.workspaces,
        repository=source.repository,
        branch=source.branch,
        commit=source.commit,
        source=source.source,
        workflow=source.workflow,
        config_digest=source.config.digest,
        artifact_names=tuple(source.config.artifacts),
        inputs=source.inputs,
        isolation=isolation,
        environment=dict(environment) if source.in_place else passed_on,
        limits=limits,
        in_place=source.in_place,
        keep=request.keep,
        tracked_changes=source.tracked_changes,
        git_identity=("", "") if source.in_place else cache.git_identity(),
    )
    run_ids = RunIds(lambda: os.urandom(4).hex())
    spec, lock = _make_run(home, spec, run_ids)
    fans_out = any(step.uses == FAN_OUT for step in source.workflow.steps)
    try:
        return _drive(request, post, spec, jobs, cache, run_ids, notes, passed_on, fans_out=fans_out)
    finally:
        os.close(lock)


def _drive(  # noqa: PLR0913 - the one place where all the pieces meet
    request: Request,
    post: Post,
    spec: RunSpec,
    jobs: int,
    cache: LazyCache,
    run_ids: RunIds,
    notes: _Notes,
    passed_on: Mapping[str, str],
    *,
    fans_out: bool,
) -> int:
    from tako.engine.cell import ForkedCell
    from tako.engine.child_workflow_executor import ChildWorkflowExecutor
    from tako.engine.driver import Driver, raise_open_files
    from tako.engine.fanout import FanOutExecutor
    from tako.report.live import LiveText
    from tako.report.summary import report

    signals = SignalPipe((*STOPPING, signal.SIGTSTP, signal.SIGCONT, signal.SIGUSR1))
    live = LiveText(sys.stderr, spec.run_id)
    observers = [] if request.quiet or request.output == "json" else [live]
    notes.say(f"run {spec.run_id}: {spec.workflow.name} of {spec.repository}, isolation {spec.isolation}, jobs {jobs}")
    raise_open_files()
    runner = ChildWorkflowExecutor(jobs, on_tracker=post.announce)
    factory = ChildRunnerFactory(
        passed_on, spec.limits, spec.isolation, cache.git_identity if fans_out else _nobody, spec.keep
    )
    driver = Driver(
        spec, runner, FanOutExecutor(cache, run_ids), factory, signals, post.temporary, observers
    )
    segment = driver.segment(spec, 0, 1)
    # Forked before the first thread: the step does not wait for a forkserver to start.
    cell = ForkedCell(segment)
    post.watch()
    if fans_out:
        runner.prepare(1)
    result = driver.run((segment, runner.adopt(segment, cell)))
    if result.message == "stopped at once":
        return result.exit_code
    runner.close()
    live.finish()
    report(spec.paths, result, output=request.output, quiet=request.quiet)
    return result.exit_code


def _nobody() -> tuple[str, str]:
    return "", ""


def _isolation(asked: str) -> str:
    if asked in ("auto", "process"):
        return "process"
    message = f"isolation level {asked!r} is not supported yet"
    raise MachineError(message, hint="use --isolation process, or auto")


def _from_checkout(request: Request) -> RootSource:
    from tako.repositories.git import head_branch, head_commit, tracked_changes_digest

    checkout = find_checkout(request.directory)
    config = load_config_file(checkout / CONFIG_NAME)
    workflow = runnable(config, request.workflow, "exec")
    inputs = resolve_inputs(workflow, request.inputs)
    check_templates(config, workflow)
    name = _source_name(checkout, workflow)
    return RootSource(
        repository=name,
        branch=head_branch(checkout),
        commit=head_commit(checkout),
        source=checkout,
        config=config,
        workflow=workflow,
        inputs=inputs,
        in_place=True,
        tracked_changes=tracked_changes_digest(checkout),
    )


def _from_cache(request: Request, cache: LazyCache) -> RootSource:
    resolved, config = cache.root(request.repository)
    workflow = runnable(config, request.workflow, "exec")
    inputs = resolve_inputs(workflow, request.inputs)
    check_templates(config, workflow)
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


def check_templates(config: Config, workflow: Workflow) -> None:
    """Refuse a workflow whose templates or conditions cannot be right, before anything starts."""
    from tako.engine.check import check_workflow
    from tako.errors import ConfigError

    problems = check_workflow(config, workflow)
    if problems:
        raise ConfigError(tuple(problems))


def _source_name(checkout: Path, workflow: Workflow) -> str:
    from tako.repositories.git import origin_url

    guessed = repository_from_url(origin_url(checkout))
    if guessed is not None:
        return guessed.text
    if any(step.uses == FAN_OUT for step in workflow.steps):
        message = f"{checkout} has no git remote `origin` that names its repository, which its events need"
        raise UsageError(
            message, hint="git remote add origin URL, or run it from the cache with --repo owner/name"
        )
    return parse_repository(f"local/{_plain(checkout.name)}").text


def _plain(name: str) -> str:
    text = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name).strip("-")
    return text or "checkout"


def _make_run(home: Home, spec: RunSpec, run_ids: RunIds) -> tuple[RunSpec, int]:
    """Make the root run's directory under an id nobody has, and hold its lock."""
    from attrs import evolve

    from tako.system.files import try_lock

    for _ in range(_DRAWS_MAX):
        run_id = run_ids.new()
        paths = home.run(run_id)
        try:
            paths.path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        except OSError as error:
            message = f"the run directory cannot be made: {error}"
            raise MachineError(message) from error
        lock = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try_lock(lock)
        make_directory(paths)
        return evolve(spec, run_id=run_id, root_run_id=run_id, directory=paths.path), lock
    message = "no free run id"
    raise MachineError(message)


class _Notes:
    """What is worth saying once, on stderr."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet

    def say(self, message: str) -> None:
        if not self._quiet:
            sys.stderr.write(f"tako: {message}\n")
            sys.stderr.flush()


class LazyCache:
    """The repository cache, opened when the first fan-out needs it; fetches once before that."""

    def __init__(self, home: Home, settings: Settings, request: Request, notes: _Notes) -> None:
        self._home = home
        self._settings = settings
        self._request = request
        self._notes = notes
        self._cache: Any = None
        self._identity: tuple[str, str] | None = None

    def _open(self) -> Any:
        if self._cache is None:
            from tako.repositories.cache import Cache
            from tako.repositories.locks import LockManager
            from tako.units import parse_duration

            text = self._request.lock_timeout
            timeout = parse_duration(text) if text else self._settings.lock_timeout_s
            locks = LockManager(self._home.cache, timeout, self._notes.say)
            self._cache = Cache(
                self._home, self._settings, locks, local=self._request.local, on_note=self._notes.say
            )
            for repository, error in self._cache.sync():
                if error is not None:
                    self._notes.say(f"{repository.text} cannot be fetched, its last known state is used: {error}")
        return self._cache

    def root(self, text: str) -> tuple[Any, Config]:
        """What `--repo` names, pinned, and its tako.yml."""
        from tako.config.loader import load_config

        resolved = self._open().resolve(parse_reference(text))
        data = self._open().read_config_bytes(resolved)
        return resolved, load_config(data, f"{resolved.repository.text}/{CONFIG_NAME}")

    def discover(self, source: str, artifact: str, event_type: str) -> Iterable[Any]:
        """All subscriptions to the event."""
        found: Iterable[Any] = self._open().discover(source, artifact, event_type)
        return found

    def resolve(self, reference: Any) -> Any:
        """Pin what will run."""
        return self._open().resolve(reference)

    def snapshot(self, resolved: Any) -> Path:
        """The immutable tree of what was pinned."""
        path: Path = self._open().snapshot(resolved)
        return path

    def git_identity(self) -> tuple[str, str]:
        """The user's name and email for commits, read once."""
        if self._identity is None:
            from tako.repositories.git import identity

            self._identity = identity()
        return self._identity
