"""`tako exec`: run a workflow and everything that subscribes to its events."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from tako.cli.errors import guarded
from tako.cli.exec.request import Request
from tako.layout.home import absolute, home_from
from tako.system.process.warden import WardenLink, under_warden
from tako.system.user_environment import put_aside

if TYPE_CHECKING:
    from tako.engine.workers.forked_cell import ForkedCell

_INPUT = re.compile(r"--inputs\.([^=]+)(?:=(.*))?", re.DOTALL)


class ExecCommand(click.Command):
    """Takes `--inputs.NAME=VALUE`, whose names only the workflow knows."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Take the inputs out before click sees the rest."""
        inputs: dict[str, str] = {}
        rest: list[str] = []
        words = iter(args)
        for word in words:
            match = _INPUT.fullmatch(word)
            if not match:
                rest.append(word)
                continue
            value = match[2] if match[2] is not None else next(words, None)
            if value is None:
                context.fail(f"option {word!r} needs a value")
            if match[1] in inputs:
                context.fail(f"input {match[1]!r} is given twice")
            inputs[match[1]] = value
        context.obj = inputs
        return super().parse_args(context, rest)


@click.command(
    "exec",
    cls=ExecCommand,
    options_metavar="[--inputs.NAME=VALUE ...] [OPTIONS]",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.argument("workflow", required=False)
@click.option("--repo", metavar="REPOSITORY", help="Run in a clean copy of this repository of the cache.")
@click.option("--root", metavar="DIR", help="Run in the checkout at DIR; default: the one you are in.")
@click.option(
    "--jobs", "--max-concurrent-repos", "jobs", type=click.IntRange(1, 4096), metavar="N",
    help="Run at most N runs at once in the whole tree; default: the CPUs you may use.",
)  # fmt: skip
@click.option("--cache-dir", metavar="DIR", help="Use this repository cache; default: $TAKO_HOME/cache.")
@click.option("--local", is_flag=True, help="Use no network: fetch nothing.")
@click.option(
    "--isolation", type=click.Choice(["auto", "process", "landlock", "namespace"]),
    help="Isolate children at this level; default: auto, the strongest that works here.",
)  # fmt: skip
@click.option(
    "--lock-timeout", metavar="DURATION", help="Wait at most this long for a repository's lock, as in 10m."
)
@click.option(
    "--grant", "grants", multiple=True, metavar="NAME=REPOSITORY",
    help="Give the secret NAME to this repository, if its tako.yml names it; can be repeated.",
)  # fmt: skip
@click.option(
    "--output", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="Form of the result on stdout.",
)  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Print only warnings, unless something fails.")
@click.option(
    "--strict/--no-strict", default=None,
    help="Fail a fan-out that has a stale source, a repository left out, or no subscriber.",
)  # fmt: skip
@click.option("--keep", is_flag=True, help="Keep the workspaces of runs that succeeded.")
@click.option(
    "--resume",
    metavar="RUN_ID",
    help="Continue a run that was interrupted or failed, after its last successful step.",
)
@click.option(
    "--failed-only", is_flag=True, help="With --resume: of the children, run only those that failed."
)
@click.option(
    "--explain", is_flag=True, help="With --resume: print what would run again and why; run nothing."
)
@click.option(
    "--accept-changes",
    is_flag=True,
    help="With --resume: continue although the checkout has changed since the run.",
)
@click.option(
    "--rerun", type=click.Choice(["ask", "yes", "no"]), default="ask", show_default=True,
    help="With --resume: whether interrupted or failed steps with `rerun: never` run again.",
)  # fmt: skip
@click.pass_context
def command(context: click.Context, /, workflow: str | None, **options: Any) -> int:  # noqa: ANN401 - click hands over whatever each option is
    """Run WORKFLOW of the checkout that you are in.

    Its tako/fan-out@v1 steps run the workflows of all subscribed repositories, each in its own process
    and workspace. Exit codes: 0 success, 1 a step or child failed, 2 wrong use, 3 a bug in tako, 4 the
    machine is not usable, 5 another run holds a lock, 124 timed out, 128+N ended by signal N.
    """
    _check(context, workflow, options)
    request = Request(
        workflow=workflow or "",
        inputs=dict(context.obj),
        home=home_from(dict(os.environ), options["cache_dir"] or ""),
        directory=absolute(options["root"] or ""),
        repository=options["repo"] or "",
        jobs=options["jobs"],
        local=options["local"],
        isolation=options["isolation"] or "",
        lock_timeout=options["lock_timeout"] or "",
        grants=options["grants"],
        output=options["output"],
        quiet=options["quiet"],
        keep=options["keep"],
        strict=options["strict"],
        resume=options["resume"] or "",
        failed_only=options["failed_only"],
        explain=options["explain"],
        accept_changes=options["accept_changes"],
        rerun=options["rerun"],
    )
    return _resume(request) if request.resume else _start(request)


def _check(context: click.Context, workflow: str | None, options: Mapping[str, Any]) -> None:
    """Refuse what does not go together."""
    if options["resume"] == "":
        # A script's variable that is not set must not begin a new run.
        context.fail("--resume needs the id of a run: `tako runs` lists them")
    if options["resume"]:
        given = ["WORKFLOW"] if workflow else []
        given += [f"--{name}" for name in ("repo", "root") if options[name]]
        given += ["--inputs"] if context.obj else []
        if given:
            context.fail(
                f"--resume continues a run with its own workflow and inputs; leave out {', '.join(given)}"
            )
        return
    for name in ("failed_only", "explain", "accept_changes", "rerun"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            context.fail(f"--{name.replace('_', '-')} needs --resume")
    if not workflow:
        context.fail("WORKFLOW is missing; `tako validate` lists the workflows of this checkout")


def _start(request: Request) -> int:
    return under_warden(lambda post: guarded(lambda: _in_root(request, post)))


def _resume(request: Request) -> int:
    from tako.cli.exec.resuming import prepare, resume

    ready = prepare(request)
    if isinstance(ready, int):
        return ready
    return under_warden(lambda post: guarded(lambda: _in_resumed_root(partial(resume, ready), post)))


def _in_resumed_root(resume: Callable[[WardenLink, ForkedCell], int], post: WardenLink) -> int:
    from tako.engine.workers.forked_cell import ForkedCell

    post.make_temporary()
    put_aside()
    os.chdir("/")
    cell = ForkedCell()
    post.watch()
    return resume(post, cell)


def _in_root(request: Request, post: WardenLink) -> int:
    """Start the root process; the order of these lines makes it fast and safe."""
    from tako.engine.workers.forked_cell import ForkedCell

    post.make_temporary()
    put_aside()
    os.chdir("/")
    # Forked while there is one thread; it loads its modules while this process loads others.
    cell = ForkedCell()
    post.watch()
    from tako.cli.exec.wiring import execute

    return execute(request, post, cell)
