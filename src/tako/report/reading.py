"""Reads runs from their journals for status, results and lists.

A run without an end of its own is `running` while its root process holds the run's lock, and
`interrupted` when no process holds it: the lock is the proof, never a pid.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from tako.errors import NotFoundError
from tako.journal.fold import fold
from tako.journal.log import JournalDamagedError, read_ends, read_records
from tako.journal.parts import CALENDAR
from tako.journal.records import RunSettled, RunStarted
from tako.journal.run_state import RunState
from tako.journal.statuses import INTERRUPTED, RUNNING
from tako.layout.home import Home
from tako.layout.names import RUN_ID
from tako.layout.run import RunDirectory
from tako.system.storage.faults import words_of
from tako.system.storage.writing import is_locked
from tako.values import value

_SHORT_MIN = 4


@value
class RunView:
    """One run as it is now; `owned` is true if its tree's root process lives."""

    paths: RunDirectory
    state: RunState
    owned: bool

    @property
    def status(self) -> str:
        """A final status, `running` or `interrupted`."""
        state = self.state
        status = state.status
        if state.settled is None and state.started is not None and not state.started.parent_run_id:
            # Its own steps may have ended well: the tree has not.
            status = RUNNING
        return INTERRUPTED if status == RUNNING and not self.owned else status

    @property
    def has_begun(self) -> bool:
        """Whether anything of it may have run."""
        return self.state.started is not None

    def child(self, run_id: str) -> RunView | None:
        """A child of the same tree; None if it never started or its journal is damaged or cannot be read."""
        paths = self.paths.child(run_id)
        try:
            return RunView(paths, fold(read_records(paths.journal)), self.owned)
        except (NotFoundError, JournalDamagedError, OSError):
            # What became of it stands in its parent's journal.
            return None


def read_run(paths: RunDirectory) -> RunView:
    """Return the run of a directory.

    Raises `NotFoundError` if there is none, and for damage as the log does.
    """
    try:
        state = fold(read_records(paths.journal))
    except NotFoundError:
        if not paths.path.is_dir():
            raise
        # Its first record is to come, or it was killed before that.
        state = RunState()
    return RunView(paths, state, is_locked(paths.root.lock))


def way_on(view: RunView, words: str = "to continue") -> str:
    """Return the advice for a run that did not succeed: `words` and a command, or how to start it anew."""
    if not view.has_begun and not view.paths.is_child:
        return "to start it anew: tako exec WORKFLOW"
    return f"{words}: tako exec --resume {view.paths.root.run_id}"


def root_runs(home: Home) -> list[RunDirectory]:
    """All root runs, newest first."""
    return sorted(map(home.run, home.run_ids()), key=_begun, reverse=True)


def _begun(paths: RunDirectory) -> tuple[str, float]:
    """When a run began: the second from its id, within it by its lock file, which its owner writes."""
    second = paths.run_id.rpartition("-")[0]
    try:
        return second, paths.lock.stat().st_mtime
    except OSError:
        # Being made, or closed to us, which whoever wants to read it says.
        return second, math.inf


def find_run(home: Home, text: str) -> RunDirectory:
    """The run, root or child, of an id or of the last digits of one; empty is the newest root run.

    Raises `NotFoundError` if there is none, or more than one.
    """
    if RUN_ID.fullmatch(text) and home.run(text).path.is_dir():
        return home.run(text)
    roots = root_runs(home)
    if not text:
        if not roots:
            message = f"there are no runs in {home.path}"
            raise NotFoundError(message)
        return roots[0]
    found = [paths for paths in _below(roots) if _is_named(paths.run_id, text)]
    if len(found) == 1:
        return found[0]
    what = "more than one run" if found else "no run"
    message = f"there is {what} {text!r} in {home.path}"
    raise NotFoundError(message, hint="`tako runs` lists them")


def _is_named(run_id: str, text: str) -> bool:
    return run_id == text or (len(text) >= _SHORT_MIN and run_id.endswith(text))


def _below(runs: list[RunDirectory]) -> Iterator[RunDirectory]:
    stack = list(reversed(runs))
    while stack:
        paths = stack.pop()
        yield paths
        # One that is closed to us hides no other.
        with suppress(OSError):
            stack += sorted(paths.child_directories(), key=lambda child: child.run_id, reverse=True)


def summary_of(paths: RunDirectory) -> dict[str, Any]:
    """One root run in a list, from the first and the last record of its journal only."""
    problem = ""
    first = last = None
    status: str = INTERRUPTED
    try:
        first, last = read_ends(paths.journal)
        if isinstance(last, RunSettled):
            status = last.status
        elif is_locked(paths.lock):
            status = RUNNING
    except JournalDamagedError as error:
        problem = error.message
    except OSError as error:
        problem = words_of(error)
    started = first if isinstance(first, RunStarted) else None
    return {
        "run_id": paths.run_id,
        "status": status,
        "exit_code": last.exit_code if isinstance(last, RunSettled) else None,
        "repository": started.repository if started else None,
        "workflow": started.workflow if started else None,
        "started": moment(started.at) if started else None,
        "last": moment(last.at) if last else None,
        "problem": problem,
    }


def moment(seconds: float) -> str:
    """A time as people and programs read it: UTC, to the second; beyond the years 1 to 9999 their end."""
    first, last = CALENDAR
    # Not strftime, which writes early years with fewer than four digits.
    found = datetime.fromtimestamp(min(max(seconds, first), last), UTC)
    return found.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
