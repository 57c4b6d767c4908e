"""Runs attacks as an ordinary user, also where the tests run as root.

The user's world is a directory that the user owns and can reach. The worker is forked from this interpreter,
with all it needs loaded: the files of the interpreter itself may be closed to the user. Steps find a Python
of the system's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from tako.sandbox.bubblewrap import find
from tako.sandbox.levels import ProbeResults
from tako.sandbox.probe import probe
from tako.system.storage.removal import remove_tree
from tests.sandbox.attacks.outcomes import Judge, Outcome, judged
from tests.sandbox.attacks.shot import Attack
from tests.sandbox.attacks.targets import set_user_id_tool
from tests.support.isolations import ENVIRONMENT, isolation_by
from tests.support.users import NOBODY, become_ordinary, in_process, load_all

_PATH = "/usr/local/bin:/usr/bin:/bin"
_ROOT = 0


@contextlib.contextmanager
def _world() -> Iterator[Path]:
    """A directory of the user's, below one that everybody may pass."""
    directory = Path(tempfile.mkdtemp(prefix="u", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
    try:
        (directory / "home").mkdir()
        if os.geteuid() == _ROOT:
            for path in (directory, directory / "home"):
                os.chown(path, NOBODY, NOBODY)
        yield directory
    finally:
        remove_tree(directory)


def _environment(directory: Path) -> Mapping[str, str]:
    return {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": str(directory / "home")}


@cache
def findings() -> ProbeResults:
    """What works for that user."""
    load_all()
    with _world() as directory:

        def tried() -> str:
            become_ordinary()
            os.environ.clear()
            os.environ.update(_environment(directory))
            tempfile.tempdir = str(directory)
            return json.dumps(probe(directory, find(ENVIRONMENT)))

        answer = in_process(tried)
    try:
        return ProbeResults(**json.loads(answer))
    except ValueError as error:
        raise AssertionError(answer) from error


def outcome(attack: Attack, level: str) -> Outcome:
    """Run one attack at one level as that user."""
    found = findings()
    with _world() as directory:
        tool = set_user_id_tool(directory, os.geteuid())
        environment = _environment(directory)

        def judge() -> Judge:
            become_ordinary()
            if not os.access(sys.executable, os.X_OK):
                sys.executable = shutil.which("python3", path=_PATH) or sys.executable
            return Judge(attack, isolation_by(found, level, environment), directory, tool, environment)

        return judged(judge)
