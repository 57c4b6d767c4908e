"""`tako validate`: name every mistake of a tako.yml, without running anything.

In: a path. Out: on stdout one line for each problem as compilers print them, or a summary; with
`--output json` the same as one object. Exit code 2 if there is a problem; warnings do not count.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from tako.config.schema import Config
from tako.errors import ConfigError, Problem
from tako.layout.home import absolute
from tako.layout.names import CONFIG_NAME
from tako.system.terminal.text import shown
from tako.values import asdict, value

_WRONG = ConfigError.exit_code


@value
class _Verdict:
    """The findings in one file; no `config` if it could not be loaded."""

    file: str
    config: Config | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    hint: str = ""


@click.command("validate", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", required=False, metavar="[PATH]")
@click.option(
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Form of the output.",
)
def command(path: str | None, output: str) -> int:
    """Check the tako.yml at PATH (file or directory; default: the checkout you are in)."""
    verdict = _verdict(_file(path))
    if output == "json":
        click.echo(json.dumps(_record(verdict), indent=1))
    else:
        _print(verdict)
    return _WRONG if verdict.problems else 0


def _file(path: str | None) -> Path:
    if path is None:
        from tako.engine.run.root_source import find_checkout

        return find_checkout(absolute("")) / CONFIG_NAME
    given = Path(path)
    return given / CONFIG_NAME if given.is_dir() else given


def _verdict(path: Path) -> _Verdict:
    from tako.config.loader import load_config_file

    try:
        config = load_config_file(path)
    except ConfigError as error:
        return _Verdict(str(path), None, error.problems, hint=error.hint)
    from tako.validation.check import check_config, check_warnings

    problems = tuple(check_config(config))
    return _Verdict(str(path), config, problems, tuple(check_warnings(config)))


def _print(verdict: _Verdict) -> None:
    for problem in verdict.problems:
        click.echo(shown(str(problem)))
    for warning in verdict.warnings:
        click.echo(shown(f"{warning} (warning)"))
    if verdict.hint:
        click.echo(shown(f"tako: {verdict.hint}"), err=True)
    if verdict.config and not verdict.problems:
        click.echo(shown("\n".join(_summary(verdict.file, verdict.config))))


def _summary(file: str, config: Config) -> list[str]:
    count = len(config.subscriptions)
    lines = [f"{file}: ok, {len(config.workflows)} workflows, {count} subscriptions"]
    for workflow in config.workflows.values():
        inputs = ", ".join(f"{item.name}{'' if item.required else '?'}" for item in workflow.inputs.values())
        lines.append(f"  {workflow.name} (on {', '.join(workflow.on)}){': ' if inputs else ''}{inputs}")
    return lines


def _record(verdict: _Verdict) -> dict[str, Any]:
    config = verdict.config
    return {
        "file": verdict.file,
        "ok": not verdict.problems,
        "problems": [asdict(problem) for problem in verdict.problems],
        "warnings": [asdict(warning) for warning in verdict.warnings],
        "workflows": list(config.workflows) if config else [],
        "subscriptions": len(config.subscriptions) if config else 0,
    }
