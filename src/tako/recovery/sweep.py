"""What each `tako exec` does before it starts: a short look for dead runs and for what is no longer kept.

In: TAKO_HOME and its settings. Out: lines for the user, of what was done. Bounded in time and number; nothing
in it keeps the run from starting. With nothing to do it lists a few directories and tries a lock for each run
that is under way; what does the work is loaded only when there is some. Beside the run the trash is emptied,
and workspaces are measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice, takewhile

from tako.config.schema import Settings
from tako.errors import TakoError
from tako.layout.home import Home
from tako.layout.run import RunDirectory
from tako.recovery.index import (
    Kept,
    is_postponed,
    kept,
    measure,
    note_settled,
    postpone,
    unsettled,
    without_emptied,
)
from tako.recovery.retention import begun_before, surplus
from tako.recovery.trash import empty, is_empty
from tako.system.process.background import Background
from tako.system.storage.faults import words_of
from tako.system.storage.writing import is_locked

#: Entries looked at, runs reaped and directories removed in one sweep; the rest waits for the next one.
_LOOKED_AT, _REAPED, _REMOVED = 200, 100, 50
#: After so long nothing else is begun with.
_WITHIN_S = 2.0
_TOLD = 3

Say = Callable[[str], None]


def sweep(home: Home, settings: Settings, say: Say) -> None:
    """Reap and clean up a little; what goes wrong is said, never raised."""
    deadline = time.monotonic() + _WITHIN_S
    for part in (_reap, partial(_clean, settings), _begin_beside):
        try:
            part(home, say, deadline)
        except (OSError, TakoError) as error:
            why = words_of(error)
            say(f"leftovers of earlier runs cannot be cleaned up: {why}; `tako reap` prints more")


def leave(home: Home, paths: RunDirectory) -> None:
    """At the end of a root run, whose lock is still held: note whether its workspaces are kept."""
    from tako.recovery.settled import settled_record

    for path in paths.unfinished_values():
        # Of workers that died; the reaper removes what a root leaves that died.
        with suppress(OSError):
            path.unlink()

    last = settled_record(paths)
    if last is not None:
        # What cannot be noted is found by the next sweep.
        with suppress(OSError, TakoError):
            note_settled(home, paths, last.at)
            measure(home, [paths.run_id])


def _reap(home: Home, say: Say, deadline: float) -> None:
    looked_at = islice(unsettled(home), _LOOKED_AT)
    dead = list(islice((paths for paths in looked_at if _is_to_be_reaped(home, paths)), _REAPED))
    if dead:
        _reap_these(home, dead, say, deadline)


def _is_to_be_reaped(home: Home, paths: RunDirectory) -> bool:
    try:
        if is_locked(paths.lock) or is_postponed(home, paths.run_id):
            return False
        from tako.recovery.ownership import is_elsewhere

        # Those who can prove it dead find its entry.
        return not is_elsewhere(paths)
    except OSError:
        # What is wrong with it the reaper says.
        return True


def _reap_these(home: Home, dead: Sequence[RunDirectory], say: Say, deadline: float) -> None:
    from tako.recovery.reaper import REAPED, STUCK, reap

    results = list(reap(home, dead, until=deadline))
    done = [result.run_id for result in results if result.outcome == REAPED]
    if done:
        say(f"reaped {_listed(done)}: its tako had been killed; `tako status RUN` shows how far it came")
    for result in results:
        if result.outcome == STUCK:
            say(f"{result.run_id} cannot be reaped: {result.reason}; `tako reap` tries again")
            postpone(home, result.run_id)


def _clean(settings: Settings, home: Home, say: Say, deadline: float) -> None:
    now = time.time()
    found = list(kept(home))
    if surplus(found, settings.keep_workspaces, now):
        # Only now it matters whether all of them are still there.
        chosen = surplus(without_emptied(home, found), settings.keep_workspaces, now)
        _remove_workspaces(home, chosen[:_REMOVED], say, deadline)
    if begun_before(home, now - settings.keep_runs_s):
        _remove_runs(home, settings.keep_runs_s, now, say, deadline)


def _remove_workspaces(home: Home, chosen: Sequence[tuple[Kept, str]], say: Say, deadline: float) -> None:
    from tako.recovery.cleanup import remove_workspaces

    gone = remove_workspaces(home, takewhile(lambda _: time.monotonic() < deadline, chosen))
    emptied = [removed.run_id for removed in gone if not removed.error]
    if emptied:
        say(f"removed the workspaces of {_listed(emptied)}: `keep_workspaces` of config.yml keeps no more")


def _remove_runs(home: Home, keep_s: float, now: float, say: Say, deadline: float) -> None:
    from tako.recovery.cleanup import expired, remove_runs

    old = takewhile(lambda _: time.monotonic() < deadline, expired(home, keep_s, now))
    gone = remove_runs(home, ((paths, 0) for paths in islice(old, _REMOVED)))
    whole = [removed.run_id for removed in gone if not removed.error]
    if whole:
        say(f"removed {_listed(whole)}, which ended longer ago than `keep_runs` of config.yml keeps")


def _begin_beside(home: Home, _say: Say, _deadline: float) -> None:
    unmeasured = [run.paths.run_id for run in kept(home) if not run.size]
    if unmeasured:
        Background(partial(measure, home, unmeasured))
    if not is_empty(home):
        Background(partial(empty, home))


def _listed(run_ids: list[str]) -> str:
    more = f" and {len(run_ids) - _TOLD} more" if len(run_ids) > _TOLD else ""
    return ", ".join(run_ids[:_TOLD]) + more
