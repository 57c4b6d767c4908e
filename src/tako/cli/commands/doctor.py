"""`tako doctor`: what of this machine tako can use, why not the rest, and how to get it.

In: this machine, tried now. Out: a page for people, or JSON. Exit code 4 where children cannot run as
`--isolation auto` would run them, or git is missing.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import click

from tako.errors import MachineError
from tako.layout.home import Home
from tako.sandbox.policy import LANDLOCK, NAMESPACE, PROCESS
from tako.system.terminal.text import shown
from tako.units import format_bytes
from tako.values import asdict
from tako.version import VERSION

_LEVELS = {
    NAMESPACE: "own files, processes, network and users: contains a malicious step",
    LANDLOCK: "only allowed files, no signals to outside: contains most of it",
    PROCESS: "contains mistakes; does not contain a malicious step",
}
#: What level landlock has besides where workers can have namespaces.
_BESIDES = {
    "own_root": "have a file system of their own, and see nothing outside",
    "own_processes": "have processes of their own and see no others",
}
_OK, _NO = "yes", "no "


@click.command("doctor")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(output: str) -> int:
    """Show which features of this machine tako can use: isolation levels, overlays, git."""
    from tako.cli.options import open_home

    home, settings = open_home()
    found = _found(home, dict(os.environ), settings.isolation)
    if output == "json":
        click.echo(json.dumps(found, indent=1))
    else:
        _print(found)
    return 0 if found["git"] and found["auto"] else MachineError.exit_code


def _found(home: Home, environment: Mapping[str, str], isolation: str) -> dict[str, Any]:
    from tako.sandbox import bubblewrap, levels
    from tako.system.accounting.machine import machine_of

    program = bubblewrap.find(environment)
    findings = levels.probed(home, program, environment)
    return {
        "version": VERSION,
        "python": platform.python_version(),
        "kernel": f"{platform.system()} {platform.release()}",
        "home": str(home.path),
        "machine": asdict(machine_of(home.path)),
        "git": shutil.which("git") or "",
        "bubblewrap": program,
        "levels": {level: findings.reason(level) for level in _LEVELS},
        "overlay": findings.overlay,
        "own_root": findings.own_root,
        "own_processes": findings.own_processes,
        "auto": findings.strongest,
        "setting": isolation,
    }


def _machine_lines(found: dict[str, Any]) -> Iterator[str]:
    has = found["machine"]
    memory, available = format_bytes(has["memory"]), format_bytes(has["memory_available"])
    yield f"{has['cpus']} CPUs, {memory} of memory, {available} of it available"
    free, size = format_bytes(has["disk_free"]), format_bytes(has["disk"])
    kind = has["file_system"] or "an unknown file system"
    yield f"TAKO_HOME {found['home']} on {kind}, {free} of {size} free\n"


def _print(found: dict[str, Any]) -> None:
    click.echo(shown(f"tako {found['version']}, Python {found['python']}, {found['kernel']}"))
    for line in _machine_lines(found):
        click.echo(shown(line))
    click.echo("isolation levels of children, strongest first:")
    for level, meaning in _LEVELS.items():
        reason = found["levels"][level]
        click.echo(shown(f"  {_NO if reason else _OK} {level:<10} {reason or meaning}"))
    auto = found["auto"] or "no level: `tako exec` of a workflow with children ends with 4"
    click.echo(shown(f"  --isolation auto takes {auto}"))
    click.echo(shown(f"  config.yml has isolation {found['setting']}\n"))
    overlay = found["overlay"]
    meaning = "are overlays over their snapshots" if not overlay else f"are copies: {overlay}"
    click.echo(shown(f"{_NO if overlay else _OK} workspaces {meaning}"))
    for key, what in _BESIDES.items():
        click.echo(
            shown(f"{_NO if found[key] else _OK} steps at landlock {what}{found[key] and f': {found[key]}'}")
        )
    for name, remedy in (("git", "install git"), ("bubblewrap", "see level namespace")):
        click.echo(shown(f"{_OK if found[name] else _NO} {name} {found[name] or remedy}"))
