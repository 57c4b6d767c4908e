"""Removes what is no longer kept of runs that have ended.

Nothing of a run whose lock somebody holds is touched, nor of one that is not settled. What is removed is
moved into the trash; the journal does not change. One that fails keeps no other from being tried.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator

from tako.config.schema import Settings
from tako.errors import MachineError
from tako.layout.home import Home
from tako.layout.run import RunDirectory
from tako.recovery.index import Kept, forget_kept, kept, measure, without_emptied, workspaces_of
from tako.recovery.ownership import claim
from tako.recovery.reaper import REAPED, Reaped
from tako.recovery.retention import begun_before, surplus
from tako.recovery.settled import settled_record
from tako.recovery.trash import empty, throw
from tako.system.accounting.usage import disk_use
from tako.system.storage.faults import words_of
from tako.values import value

_OLD = "older than is kept"


@value
class Removed:
    """What was removed of a root run, or would be: bytes on disk, and why; or why it was not.

    The sweep does not measure: 0.
    """

    run_id: str
    size: int
    reason: str
    error: str = ""


@value
class Cleaned:
    """One clean-up: whose workspaces went, which runs went as a whole, and what of the trash could not."""

    workspaces: tuple[Removed, ...]
    expired: tuple[Removed, ...]
    errors: tuple[str, ...] = ()


def clean(
    home: Home,
    settings: Settings,
    *,
    everything: bool = False,
    dry_run: bool = False,
    reaped: Iterable[Reaped] = (),
) -> Cleaned:
    """Look at every run and remove what is not kept, and the trash; with `everything` all kept workspaces.

    With `dry_run` only tell what would be, once the runs are `reaped` of which this would be done too.
    """
    now = time.time()
    errors: list[str] = []
    found = list(all_kept(home, reaped if dry_run else (), on_error=errors.append))
    if everything:
        chosen = [(run, "all were asked for") for run in found]
    else:
        chosen = surplus(found, settings.keep_workspaces, now)
    old = expired(home, settings.keep_runs_s, now)
    if dry_run:
        told = tuple(Removed(run.paths.run_id, run.size, reason) for run, reason in chosen)
        whole = tuple(Removed(run.run_id, disk_use([run.path]), _OLD) for run in old)
        return Cleaned(told, whole, tuple(errors))
    done = (
        tuple(remove_workspaces(home, chosen)),
        tuple(remove_runs(home, ((paths, disk_use([paths.path])) for paths in old))),
    )
    # Of some whoever removed the workspaces was killed before it could say so.
    try:
        left = without_emptied(home, kept(home))
        measure(home, (run.paths.run_id for run in left if not run.size))
    except OSError as error:
        errors.append(words_of(error))
    return Cleaned(*done, (*errors, *empty(home)))


def all_kept(
    home: Home, reaped: Iterable[Reaped] = (), *, on_error: Callable[[str], None] = lambda _told: None
) -> Iterator[Kept]:
    """Every settled root run that has workspaces, measured on disk, whether or not the index knows it.

    So are those that would be settled and have some, if they were `reaped`. `on_error` hears of a run that
    cannot be looked at.
    """
    would_be = {result.run_id: result for result in reaped if result.outcome == REAPED}
    for paths in map(home.run, home.run_ids()):
        try:
            workspaces = workspaces_of(paths)
        except OSError as error:
            on_error(words_of(error))
            continue
        result = would_be.get(paths.run_id)
        if result is not None:
            ended_at = result.interrupted_at or time.time()
            workspaces = [path for path in workspaces if path.parent.name not in result.emptied]
        elif workspaces and (settled := settled_record(paths)) is not None:
            ended_at = settled.at
        else:
            continue
        if workspaces:
            yield Kept(paths, ended_at, disk_use(workspaces))


def remove_workspaces(home: Home, chosen: Iterable[tuple[Kept, str]]) -> list[Removed]:
    """Move the workspaces of these runs into the trash."""
    return [_removed(home, run.paths, run.size, reason, whole=False) for run, reason in chosen]


def expired(home: Home, keep_s: float, now: float) -> Iterator[RunDirectory]:
    """Root runs that began and ended so long ago that nothing of them is kept."""
    old = map(home.run, begun_before(home, now - keep_s))
    return (paths for paths in old if (last := settled_record(paths)) and now - last.at > keep_s)


def remove_runs(home: Home, runs: Iterable[tuple[RunDirectory, int]]) -> list[Removed]:
    """Move whole run directories, given with their bytes on disk, into the trash, with journals and logs."""
    return [_removed(home, paths, size, _OLD, whole=True) for paths, size in runs]


def _removed(home: Home, paths: RunDirectory, size: int, reason: str, *, whole: bool) -> Removed:
    try:
        lock = claim(paths)
        if lock is None:
            if not paths.path.exists():
                forget_kept(home, paths.run_id)
            return Removed(paths.run_id, size, reason, "another process holds its lock")
        try:
            # Taken up again meanwhile, and not settled since.
            if settled_record(paths) is None:
                return Removed(paths.run_id, size, reason, "it is not settled")
            parts = [paths.path] if whole else workspaces_of(paths)
            for part in parts:
                throw(home, part, paths.run_id)
            forget_kept(home, paths.run_id)
        finally:
            os.close(lock)
    except (OSError, MachineError) as error:
        return Removed(paths.run_id, size, reason, words_of(error))
    return Removed(paths.run_id, size if parts else 0, reason)
