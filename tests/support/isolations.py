"""The isolation levels of this machine, as tests use them.

A level that does not work here skips its test with the reason, and fails it in CI, where all must work.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from tako.layout.home import Home
from tako.sandbox import levels
from tako.sandbox.bubblewrap import find
from tako.sandbox.isolation import Isolation
from tako.sandbox.machine_view import machine_view
from tako.sandbox.policy import LANDLOCK, NAMESPACE, PROCESS
from tako.system.user_environment import user_homes

LEVELS = (PROCESS, LANDLOCK, NAMESPACE)
#: For a test of the whole tool at every level of which coverage needs one.
MEASURED_ONCE = (pytest.param(PROCESS, marks=pytest.mark.measured), LANDLOCK, NAMESPACE)
ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.environ.get("HOME", "/")}


@cache
def findings() -> levels.ProbeResults:
    """Try all levels once."""
    with tempfile.TemporaryDirectory() as home:
        return levels.probed(Home(Path(home)), find(ENVIRONMENT), ENVIRONMENT)


def need(level: str) -> None:
    """Skip the calling test, or fail it in CI, where `level` does not work."""
    reason = findings().reason(level)
    if reason and os.environ.get("CI") == "true":
        pytest.fail(f"level {level} must work in CI: {reason}")
    if reason:
        pytest.skip(f"level {level} does not work here: {reason}")


def isolation(level: str, *, hidden: tuple[Path, ...] = ()) -> Isolation:
    """Give a level of this machine as runs have it."""
    need(level)
    return isolation_by(findings(), level, ENVIRONMENT, hidden=hidden)


def isolation_by(
    found: levels.ProbeResults, level: str, environment: Mapping[str, str], *, hidden: tuple[Path, ...] = ()
) -> Isolation:
    """Give a level to the calling user, for whom `found` holds."""
    if level == PROCESS:
        return Isolation()
    machine = machine_view(environment, user_homes(environment), hidden)
    return levels.isolation_of(level, found, find(ENVIRONMENT), machine, "")
