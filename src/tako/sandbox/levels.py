"""Chooses the isolation level of an execution tree.

In: what was asked for, `TAKO_HOME`, the user's environment. Out: an `Isolation`. What works here is found
by trying (`sandbox.probe`), and remembered per boot, user, file system and bubblewrap. A named level that
does not work, and `auto` where only `process` would, are a `MachineError`: never a silent step down.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tako.errors import MachineError
from tako.journal.codec import structure
from tako.layout.home import Home
from tako.sandbox.bubblewrap import find
from tako.sandbox.isolation import Isolation
from tako.sandbox.machine_view import MachineView, machine_view
from tako.sandbox.policy import AUTO, LANDLOCK, LEVELS, NAMESPACE, PROCESS
from tako.system.process.identity import boot_id
from tako.system.process.programs import run_program
from tako.system.storage.writing import read_plain, write_whole
from tako.system.user_environment import helper_environment, user_home, user_homes
from tako.values import asdict, value
from tako.version import VERSION

_PROBED_WITHIN_S = 120.0


@value
class ProbeResults:
    """Why each level, and an overlay as workspace, does not work on this machine; empty if it does.

    `own_root` and `own_processes` are of level `landlock`, and as in `Isolation`.
    """

    landlock: str
    namespace: str
    overlay: str
    own_root: str
    own_processes: str

    def reason(self, level: str) -> str:
        """Why a level does not work."""
        return {PROCESS: "", LANDLOCK: self.landlock, NAMESPACE: self.namespace}[level]

    @property
    def strongest(self) -> str:
        """The strongest level that works, above `process`; empty if there is none."""
        return next((level for level in reversed(LEVELS[1:]) if not self.reason(level)), "")


def choose(
    asked: str, home: Home, environment: Mapping[str, str], written: tuple[str, ...] = ()
) -> Isolation:
    """The isolation for children; raises `MachineError` if what was asked for does not work here.

    `written` are directories of the user's that steps may write: no link in there leads to a tool.
    """
    if asked == PROCESS:
        return Isolation()
    bubblewrap = find(environment)
    findings = remembered(home, bubblewrap, environment)
    machine = machine_view(
        environment, user_homes(environment), (home.path, home.cache.path), written=written
    )
    home.veils.mkdir(mode=0o700, parents=True, exist_ok=True)
    return isolation_of(_level(asked, findings), findings, bubblewrap, machine, str(home.veils))


def isolation_of(
    level: str, findings: ProbeResults, bubblewrap: str, machine: MachineView, veils: str
) -> Isolation:
    """A level above `process` with what it needs of this machine; `veils` is an empty directory."""
    own_root = level == LANDLOCK and not findings.own_root
    seen = machine if level == NAMESPACE or own_root else machine.without_closed()
    return Isolation(
        level=level,
        overlays=not findings.overlay,
        bubblewrap=bubblewrap,
        veils=veils,
        machine=seen,
        own_root=own_root,
        own_processes=level == LANDLOCK and not findings.own_processes,
    )


def _level(asked: str, findings: ProbeResults) -> str:
    if asked != AUTO:
        if findings.reason(asked):
            message = f"isolation level {asked} does not work here: {findings.reason(asked)}"
            raise MachineError(message, hint="`tako doctor` shows what works, and how to get the rest")
        return asked
    if strongest := findings.strongest:
        return strongest
    message = "children cannot be isolated here:" + "".join(
        f"\n  {level}: {findings.reason(level)}" for level in reversed(LEVELS[1:])
    )
    hint = "make one of these work (`tako doctor`), or accept less with `--isolation process`"
    raise MachineError(message, hint=hint)


def remembered(home: Home, bubblewrap: str, environment: Mapping[str, str]) -> ProbeResults:
    """Return the levels that work here, probed once for each boot, user, file system and bubblewrap."""
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        known = json.loads(read_plain(home.isolation_probed))
        if known["key"] == _key(home, bubblewrap):
            found: ProbeResults = structure(known["findings"], ProbeResults)
            return found
    return probed(home, bubblewrap, environment)


def probed(home: Home, bubblewrap: str, environment: Mapping[str, str]) -> ProbeResults:
    """Try now which levels work here, and remember it; raises `MachineError` if that fails."""
    findings = _tried(home, bubblewrap, environment)
    known = {"key": _key(home, bubblewrap), "findings": asdict(findings)}
    write_whole(home.isolation_probed, json.dumps(known).encode())
    return findings


def _tried(home: Home, bubblewrap: str, environment: Mapping[str, str]) -> ProbeResults:
    own = helper_environment(environment) | {"HOME": str(user_home(environment))}
    ended = run_program(
        [sys.executable, "-m", "tako.sandbox.probe", str(home.path), bubblewrap],
        environment=own,
        cwd=Path("/"),
        timeout_s=_PROBED_WITHIN_S,
    )
    try:
        return ProbeResults(**json.loads(ended.stdout))
    except (ValueError, TypeError) as error:
        message = f"the isolation levels cannot be tried: {ended.stderr.decode(errors='replace').strip()}"
        raise MachineError(message) from error


def _key(home: Home, bubblewrap: str) -> list[str | int]:
    program: list[str | int] = [bubblewrap]
    if bubblewrap:
        found = os.stat(bubblewrap)
        program += [found.st_ino, found.st_mtime_ns]
    return [VERSION, boot_id(), os.getuid(), os.stat(home.path).st_dev, *program]
