"""`tako shell RUN`: a shell in the sandbox of a run that has ended, with its workspace as it was.

    RUN ─▶ journal, held ─▶ RunSpec ─▶ ShellSession ─▶ exit code

Under a warden, as `tako exec` is: nothing is left when it ends, also when it is killed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import click
from setproctitle import getproctitle, setproctitle

from tako.cli.errors import guarded
from tako.cli.options import open_home
from tako.cli.stderr_notes import Notes
from tako.config.schema import Settings, Step
from tako.engine.run.environment import scrubbed
from tako.engine.run.extra_mounts import extra_mounts, tool_caches, written_by_steps
from tako.engine.run.quotas import quota_of
from tako.engine.run.run_directory import machine_limits
from tako.engine.run.secrets import named_by
from tako.engine.run.spec import RunSpec
from tako.engine.shell.past_run import Surroundings, spec_from_journal, step_to_enter
from tako.engine.shell.session import ShellSession
from tako.engine.shell.streams import OnPipes, OnTerminal
from tako.engine.steps.workspace import changing
from tako.errors import NotFoundError, UsageError
from tako.journal.fold import fold
from tako.journal.log import Writer
from tako.journal.records import WORKSPACE_CHANGED, Warned
from tako.journal.run_state import RunState
from tako.layout.home import Home, home_from
from tako.layout.machine import BASH
from tako.layout.run import RunDirectory
from tako.recovery.ownership import held_error, lock_error, share
from tako.recovery.settled import settled_record
from tako.report.reading import find_run
from tako.sandbox.levels import choose
from tako.system.process.warden import WardenLink, private_base, under_warden
from tako.system.storage.stamps import stamp_of
from tako.system.terminal import terminals
from tako.system.user_environment import put_aside, user_environment
from tako.values import value

_CHANGED = "its workspace was changed by `tako shell` after its steps had ended"


@value
class Wish:
    """The user's request; without `words` an interactive shell."""

    home: Home
    run: str
    step: str
    words: tuple[str, ...]


@click.command("shell")
@click.argument("run")
@click.argument("words", metavar="[-- COMMAND]", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--step", metavar="STEP", default="", help="Take the environment of this step; default: the failed step."
)
def command(run: str, words: tuple[str, ...], step: str) -> int:
    """Open a shell in the sandbox of RUN, with the workspace as its steps left it.

    RUN is the run id of a root run or a child, or its last four or more digits. Your changes in the
    workspace stay. The shell gets no secrets. With COMMAND, runs that instead, and ends with its exit code.
    """
    wish = Wish(home_from(dict(os.environ)), run, step, words)
    # Here too: the process that changes the terminal may be killed.
    with terminals.kept():
        return under_warden(lambda post: guarded(lambda: _in_root(wish, post)), foreground=True)


def _in_root(wish: Wish, post: WardenLink) -> int:
    post.make_temporary()
    # It finds where the kernel keeps the title only as long as the environment is where it was.
    with suppress(UnicodeDecodeError):
        getproctitle()
    put_aside()
    os.chdir("/")
    home, settings = open_home(wish.home)
    interactive = terminals.is_interactive()
    if not wish.words and not interactive:
        message = "a shell needs a terminal, but stdin and stdout are none"
        raise UsageError(message, hint="tako shell RUN -- COMMAND runs a command without one")
    with _held(find_run(home, wish.run)) as (journal, paths, state), terminals.kept() as restore:
        spec = spec_from_journal(paths, state, _surroundings(home, settings))
        step = step_to_enter(spec.workflow, state, wish.step)
        # As workers have it, so that whoever is refused is told what holds the run.
        setproctitle(f"tako: {spec.repository} {spec.run_id} shell")
        notes = Notes(quiet=False)
        _tell(spec, step, notes, interactive=not wish.words)
        session = ShellSession(
            spec,
            state,
            step,
            _temporary(post),
            on_note=notes.say,
            on_started=partial(post.watch, restore),
        )
        streams = OnTerminal() if interactive else OnPipes()
        before = stamp_of(changing(spec))
        try:
            return session.run(wish.words or _shell(), {} if wish.words else _words(spec, step), streams)
        finally:
            if stamp_of(changing(spec)) != before:
                _mark(journal, state)


def _mark(journal: Writer, state: RunState) -> None:
    """Record that the workspace is no longer as the run's steps have left it."""
    if not any(warned.about == WORKSPACE_CHANGED for warned in state.warnings):
        repository = state.started.repository if state.started else ""
        journal.append(Warned(time.time(), WORKSPACE_CHANGED, _CHANGED, repository=repository))
        if state.settled is not None:
            # The last record of a root run is the one that says that nothing is open.
            journal.append(state.settled, final=True)
        journal.sync()


@contextmanager
def _held(paths: RunDirectory) -> Iterator[tuple[Writer, RunDirectory, RunState]]:
    """Keep others from executing the run or its tree meanwhile; yield its journal and state.

    Raises `HeldError` with the process that executes it, or has a shell in it.
    """
    root = paths.root
    try:
        lock = share(root)
    except OSError as error:
        raise lock_error(root, error) from error
    if lock is None:
        raise held_error(root)
    try:
        if settled_record(root) is None:
            # What is left of it may still have the workspace's overlay mounted.
            message = f"run {root.run_id} was killed, and no reaper has cleaned up after it yet"
            raise UsageError(message, hint="`tako reap`, then start the shell again")
        if not paths.journal.exists():
            message = f"run {paths.run_id} never began"
            raise NotFoundError(message)
        with Writer(paths.journal) as journal:
            yield journal, paths, fold(journal.records)
    finally:
        os.close(lock)


def _surroundings(home: Home, settings: Settings) -> Surroundings:
    environment = user_environment()
    jobs = settings.jobs or len(os.sched_getaffinity(0))
    return Surroundings(
        isolation=lambda level: choose(level, home, environment, written_by_steps(settings, environment)),
        environment=scrubbed(environment, settings.environment),
        limits=machine_limits(home.path, jobs, settings.min_free),
        mounts=partial(
            extra_mounts,
            settings,
            environment,
            own=(home.path, home.cache.path),
            private=private_base(environment),
        ),
        tool_caches=tool_caches(settings, environment, Notes(quiet=False).say),
        quota=partial(quota_of, settings),
    )


def _tell(spec: RunSpec, step: Step, notes: Notes, *, interactive: bool) -> None:
    if interactive:
        notes.say(
            f"a shell in run {spec.run_id} of {spec.repository}, step {step.id},"
            f" isolation {spec.isolation.level}; what you change in the workspace stays"
        )
    if withheld := sorted(named_by(spec.workflow)):
        notes.say(f"a shell gets no secrets: {', '.join(withheld)} not set")


def _temporary(post: WardenLink) -> str:
    """TMPDIR, beside which the warden's directory may hold more."""
    temporary = Path(post.temporary).joinpath("0")
    temporary.mkdir(mode=0o700)
    return str(temporary)


def _shell() -> tuple[str, ...]:
    """Bash without the system's files, which would set another prompt; else what steps are run by."""
    return (str(BASH), "--norc", "-i") if BASH.exists() else ("/bin/sh", "-i")


def _words(spec: RunSpec, step: Step) -> dict[str, str]:
    """The history would lie in the workspace's home."""
    return {"PS1": f"{spec.repository} {step.id} $ ", "HISTFILE": ""}
