"""What each `tako exec` does before it starts: a short look for dead runs and for what is no longer kept.

In: TAKO_HOME and its settings. Out: lines for the user, of what was done. Bounded in time and number; nothing
in it keeps the run from starting. With nothing to do it lists a few directories and tries a lock for each run
that is under way; what does the work is loaded only when there is some. The trash is emptied beside the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice

from tako.config.schema import Settings
from tako.errors import TakoError
from tako.layout import Home, RunDirectory
from tako.recovery.bounds import begun_before, surplus
from tako.recovery.index import forget_unsettled, kept, note_settled, unsettled
from tako.recovery.trash import empty, is_empty
from tako.system.background import Background
from tako.system.files import is_locked

#: Entries looked at, runs reaped and directories removed in one sweep; the rest waits for the next one.
_LOOKED_AT, _REAPED, _REMOVED = 200, 100, 50
_WITHIN_S = 2.0
_TOLD = 3

Say = Callable[[str], None]


def sweep(home: Home, settings: Settings, say: Say) -> None:
    """Reap and clean up a little; what goes wrong is said, never raised."""
    deadline = time.monotonic() + _WITHIN_S
    try:
        _reap(home, say, deadline)
        _clean(home, settings, say)
        if not is_empty(home):
            Background(lambda: empty(home))
    except (OSError, TakoError) as error:
        say(f"what earlier runs have left cannot be cleaned up: {error}; `tako reap` tells more")


def leave(home: Home, paths: RunDirectory) -> None:
    """At the end of a root run, whose lock is still held: note whether its workspaces are kept."""
    from tako.recovery.settlement import settled_record

    last = settled_record(paths)
    if last is not None:
        # What cannot be noted is found by the next sweep.
        with suppress(OSError, TakoError):
            note_settled(home, paths, last.at)


def _reap(home: Home, say: Say, deadline: float) -> None:
    looked_at = islice(unsettled(home), _LOOKED_AT)
    dead = list(islice((paths for paths in looked_at if not is_locked(paths.lock)), _REAPED))
    if dead:
        _reap_these(home, dead, say, deadline)


def _reap_these(home: Home, dead: list[RunDirectory], say: Say, deadline: float) -> None:
    from tako.recovery.reaper import ELSEWHERE, REAPED, STUCK, reap

    results = list(reap(home, dead, go_on=lambda: time.monotonic() < deadline))
    done = [result.run_id for result in results if result.outcome == REAPED]
    if done:
        say(f"reaped {_listed(done)}: its tako had been killed; `tako status RUN` shows how far it came")
    for result in results:
        if result.outcome == STUCK:
            say(f"{result.run_id} cannot be reaped: {result.reason}; `tako reap` tries again")
        if result.outcome in (STUCK, ELSEWHERE):
            # Told once; `tako reap` looks at all runs.
            forget_unsettled(home, result.run_id)


def _clean(home: Home, settings: Settings, say: Say) -> None:
    now = time.time()
    chosen = surplus(kept(home), settings.keep_workspaces, now)[:_REMOVED]
    old = begun_before(home, now - settings.keep_runs_s)
    if not chosen and not old:
        return
    from tako.recovery.cleanup import expired, remove_runs, remove_workspaces

    emptied = [removed for removed in remove_workspaces(home, chosen) if removed.size and not removed.error]
    if emptied:
        size = sum(removed.size for removed in emptied)
        say(f"removed the workspaces of {_listed([removed.run_id for removed in emptied])} ({_bytes(size)})")
    gone = remove_runs(home, expired(home, settings.keep_runs_s, now)[:_REMOVED])
    whole = [removed.run_id for removed in gone if not removed.error]
    if whole:
        say(f"removed {_listed(whole)}, which ended longer ago than `keep_runs` of config.yml keeps")


def _bytes(size: int) -> str:
    from tako.units import format_bytes

    return format_bytes(size)


def _listed(run_ids: list[str]) -> str:
    more = f" and {len(run_ids) - _TOLD} more" if len(run_ids) > _TOLD else ""
    return ", ".join(run_ids[:_TOLD]) + more
