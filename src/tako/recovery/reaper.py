"""The reaper: ends and completes what was left by root runs whose owner is proven dead.

    lock of the root ─▶ journals' locks ─▶ processes ended ─▶ what is over removed ─▶ final records

In: root runs. Out: a `Reaped` for each: what was done, or why not. Best effort: what fails is told, and the
rest is done; what was done already is nothing to do. The run's lock, held meanwhile, is the proof of death
and keeps reapers apart. `dry_run` changes nothing: it tells what would be done.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from tako.errors import MachineError, NotFoundError, TakoError
from tako.journal.fold import fold
from tako.journal.log import JournalDamagedError, read_records
from tako.journal.records import RunSettled
from tako.journal.statuses import SUCCEEDED
from tako.layout.home import Home
from tako.layout.run import RunDirectory
from tako.recovery.dead_tree import Completion, OpenRun, open_part, patience
from tako.recovery.external_leftovers import private_remains
from tako.recovery.index import is_noted_unsettled, note_settled
from tako.recovery.ownership import Owner, claim, owner_of
from tako.recovery.settled import settled_record
from tako.recovery.trash import throw
from tako.system.accounting.cgroups import remove_stale
from tako.system.process.identity import Identity, whereabouts
from tako.system.process.orphans import GONE_WITHIN_S, Remnant, belongs, carrying, end_all, grouped, lives
from tako.system.storage.faults import words_of
from tako.system.storage.removal import remove_tree
from tako.system.storage.writing import is_locked
from tako.values import field, mutable, value

#: What became of a root run that was looked at.
REAPED, SETTLED, ALIVE, ELSEWHERE, STUCK = "reaped", "settled", "alive", "elsewhere", "stuck"
#: So many at once share one look at all processes, each holds an open file; and where time is short.
_AT_ONCE, _FEW_AT_ONCE = 100, 10
#: How long killed processes may take to be gone where time is short.
_GONE_AT_LEAST_S = 0.5
#: One that is left to the next reaper, because time is over.
_LEFT = ""
_HELD = "another process holds its lock"


@value
class Reaped:
    """One root run: what became of it, why, and what was done, or with `dry_run` would be."""

    run_id: str
    outcome: str
    reason: str = ""
    #: The last sign of life, in seconds since the epoch; 0 of a run that wrote nothing.
    interrupted_at: float = 0.0
    #: Processes ended, each with pid and name.
    ended: tuple[str, ...] = ()
    #: Runs of the tree that were completed, and how many records that took.
    completed: int = 0
    records: int = 0
    #: Runs of the tree that had succeeded, and whose workspaces were removed.
    emptied: tuple[str, ...] = ()
    #: What was removed outside of TAKO_HOME.
    removed: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


@mutable
class _Case:
    """One root run under the reaper's hands."""

    paths: RunDirectory
    tree: OpenRun | None = None
    owner: Owner | None = None
    outcome: str = REAPED
    reason: str = ""
    ended: list[str] = field(factory=list)
    emptied: list[str] = field(factory=list)
    removed: list[str] = field(factory=list)
    errors: list[str] = field(factory=list)
    completed: int = 0
    records: int = 0
    settled: RunSettled | None = None

    def told(self) -> Reaped:
        return Reaped(
            self.paths.run_id,
            self.outcome,
            self.reason,
            self.tree.last_at if self.tree else 0.0,
            tuple(self.ended),
            self.completed,
            self.records,
            tuple(self.emptied),
            tuple(self.removed),
            tuple(self.errors),
        )

    def stuck(self, why: str) -> None:
        self.outcome, self.reason = STUCK, why
        self.errors.append(why)


def reap_run(home: Home, paths: RunDirectory, *, dry_run: bool = False) -> Reaped:
    """Reap one root run whose lock the caller holds, and has not written its own identity into yet."""
    case = _Case(paths)
    _reap(home, [case], dry_run=dry_run)
    return case.told()


def try_reap(home: Home, paths: RunDirectory, *, dry_run: bool = False) -> Reaped:
    """Reap one root run if nobody holds its lock."""
    return next(reap(home, [paths], dry_run=dry_run))


def reap(
    home: Home,
    runs: Iterable[RunDirectory],
    *,
    dry_run: bool = False,
    until: float = math.inf,
) -> Iterator[Reaped]:
    """Reap all of these root runs that are dead, some at once; `until` (monotonic) one is begun with."""
    waiting = iter(runs)
    at_once = _AT_ONCE if until == math.inf else _FEW_AT_ONCE
    while time.monotonic() < until and (batch := list(islice(waiting, at_once))):
        yield from _reap_batch(home, batch, until, dry_run=dry_run)
    if not dry_run:
        remove_stale()


def _reap_batch(
    home: Home, batch: Sequence[RunDirectory], until: float, *, dry_run: bool
) -> Iterator[Reaped]:
    locks: list[int] = []
    cases: list[_Case] = []
    try:
        cases += (_claimed(home, paths, locks, dry_run=dry_run) for paths in batch)
        _reap(home, [case for case in cases if case.outcome == REAPED], until, dry_run=dry_run)
    finally:
        for lock in locks:
            os.close(lock)
    for case in cases:
        if case.outcome != _LEFT:
            yield case.told()


def _claimed(home: Home, paths: RunDirectory, locks: list[int], *, dry_run: bool) -> _Case:
    # One that the index still takes for unsettled is noted below, with its lock held.
    if (dry_run or not is_noted_unsettled(home, paths.run_id)) and settled_record(paths) is not None:
        return _Case(paths, outcome=SETTLED)
    case = _Case(paths)
    try:
        if dry_run:
            return case if not is_locked(paths.lock) else _Case(paths, outcome=ALIVE, reason=_HELD)
        lock = claim(paths)
    except OSError as error:
        case.stuck(words_of(error))
        return case
    if lock is None:
        return _Case(paths, outcome=ALIVE, reason=_HELD)
    locks.append(lock)
    return case


def _reap(home: Home, cases: Sequence[_Case], until: float = math.inf, *, dry_run: bool) -> None:
    """All steps of the picture above, each for all cases that are come to in time."""
    patient = None if dry_run else patience(until)
    for case in cases:
        if time.monotonic() < until:
            _examine(case, patient)
        else:
            case.outcome = _LEFT
    _end_processes([case for case in cases if case.outcome == REAPED], until, dry_run=dry_run)
    for case in cases:
        if case.outcome == REAPED:
            # Before its last record, after which nobody comes here again.
            _remove_workspaces(home, case, dry_run=dry_run)
            _remove_private(case, dry_run=dry_run)
            _complete(case, dry_run=dry_run)
        if not case.errors and not dry_run and _is_to_be_noted(home, case):
            _note(home, case)


def _examine(case: _Case, patient: float | None) -> None:
    """Whether it may be reaped, and what is open of it once it is proven dead; None proves nothing."""
    # Somebody else may have been here between the look at the journal and the lock.
    case.settled = settled_record(case.paths)
    if case.settled is not None:
        case.outcome = SETTLED
        return
    if belongs("self", case.paths.run_id, case.paths.path):
        case.stuck("this very command was started by one of its steps")
        return
    try:
        case.owner = owner_of(case.paths)
        owner = case.owner.identity if case.owner else _first_owner(case.paths)
        place = whereabouts(owner) if owner is not None else ""
        if place:
            case.outcome, case.reason = ELSEWHERE, f"it belongs to {place}"
        elif owner is not None and lives(owner):
            # As in a copy of TAKO_HOME, whose locks nobody holds.
            case.outcome, case.reason = ALIVE, f"process {owner.pid}, which executes it, lives"
        else:
            case.tree = open_part(case.paths, until=patient)
    except (TakoError, OSError) as error:
        case.stuck(words_of(error))
    except Exception as error:  # noqa: BLE001 - one run that makes no sense must not keep others from being reaped
        case.stuck(f"what its journals say does not fit together: {type(error).__name__}: {error}")


def _first_owner(paths: RunDirectory) -> Identity | None:
    """Of a run that an earlier version made, or whose root was killed in its first moment."""
    try:
        return fold(read_records(paths.journal)).identity
    except (NotFoundError, JournalDamagedError):
        return None


def _end_processes(cases: Sequence[_Case], until: float, *, dry_run: bool) -> None:
    """End what carries one of these trees' ids, or is in a control group of their last workers."""
    by_id = {case.paths.run_id: case for case in cases}
    if not by_id:
        return
    workers = [
        (run.state.identity, case.paths.path)
        for case in cases
        for run in (case.tree.all() if case.tree else ())
        if run.state.identity is not None
    ]
    directories = {case.paths.run_id: case.paths.path for case in cases}

    def find() -> list[Remnant]:
        found = {
            remnant.pid: remnant for worker, directory in workers for remnant in grouped(worker, directory)
        }
        return list(({remnant.pid: remnant for remnant in carrying(directories)} | found).values())

    timeout_s = min(GONE_WITHIN_S, max(_GONE_AT_LEAST_S, until - time.monotonic()))
    ended, left = (find(), []) if dry_run else end_all(find, timeout_s=timeout_s)
    for remnant in ended:
        by_id[remnant.directory.name].ended.append(f"{remnant.pid} {remnant.name}")
    for remnant in left:
        by_id[remnant.directory.name].stuck(f"process {remnant.pid} ({remnant.name}) does not end")


def _complete(case: _Case, *, dry_run: bool) -> None:
    assert case.tree is not None
    completion = Completion(time.time(), pretend=dry_run)
    completion.complete(case.tree)
    case.completed = sum(1 for _ in case.tree.all())
    case.records = completion.written
    case.errors += completion.errors
    case.settled = completion.settled
    if case.settled is None:
        case.outcome, case.reason = STUCK, completion.errors[-1]


def _remove_workspaces(home: Home, case: _Case, *, dry_run: bool) -> None:
    """Remove those of runs that succeeded, whose workers died before they could."""
    for run in case.tree.all() if case.tree else ():
        state = run.state
        well = state.finished is not None and state.finished.status == SUCCEEDED
        if not well or state.started is None or state.started.keep:
            continue
        directories = [directory for directory in run.paths.workspace if os.path.lexists(directory)]
        try:
            for directory in () if dry_run else directories:
                throw(home, directory, case.paths.run_id)
            case.emptied += [run.paths.run_id] if directories else []
        except MachineError as error:
            case.errors.append(error.message)


def _remove_private(case: _Case, *, dry_run: bool) -> None:
    told = [case.owner.temporary] if case.owner else []
    told += [run.state.temporary for run in case.tree.all()] if case.tree else []
    for path in [*private_remains(told), *case.paths.unfinished_values()]:
        try:
            if not dry_run:
                remove_tree(path)
            case.removed.append(str(path))
        except MachineError as error:
            case.errors.append(error.message)


def _is_to_be_noted(home: Home, case: _Case) -> bool:
    """Whether it was settled here, or by somebody who was killed before the index knew."""
    return case.outcome == REAPED or (case.outcome == SETTLED and is_noted_unsettled(home, case.paths.run_id))


def _note(home: Home, case: _Case) -> None:
    try:
        if case.settled is not None:
            note_settled(home, case.paths, case.settled.at)
    except (OSError, TakoError) as error:
        case.errors.append(words_of(error))
