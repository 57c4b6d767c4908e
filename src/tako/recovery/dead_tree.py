"""The open part of a dead execution tree: proven dead from the top down, completed from the bottom up.

In: the directory of a root run whose lock the caller holds. Out: `OpenRun`s, then final records in their
journals. What a journal says is read only after nobody can write it any more. A damaged journal is told and
left as it is; what lies below it is completed all the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from tako.errors import HeldError, NotFoundError, TakoError
from tako.journal.fold import apply, fold
from tako.journal.log import JournalDamagedError, Writer, read_records
from tako.journal.outcomes import Child, settled_child
from tako.journal.records import ChildFinished, ChildPlanned, Record, RunSettled
from tako.journal.run_state import RunState
from tako.journal.statuses import FAILED
from tako.layout.run import RunDirectory
from tako.recovery.missing_records import missing, settled, subtree_status
from tako.recovery.settled import last_sign
from tako.system.process.orphans import end_process
from tako.system.storage.writing import is_locked
from tako.values import field, mutable

#: How long workers that are dying may take, before they are killed; and one's lock, after it is gone.
_PATIENCE_S, _AFTER_S = 2.0, 0.1
_POLL_S = 0.01


@mutable
class OpenRun:
    """A run whose end its parent does not know, or of a root nobody; `plan` is what its parent said of it."""

    paths: RunDirectory
    state: RunState
    plan: ChildPlanned | None = None
    #: Why its journal cannot be read.
    damage: str = ""
    #: Its own last sign of life.
    seen_at: float = 0.0
    below: list[OpenRun] = field(factory=list)

    def all(self) -> Iterator[OpenRun]:
        """This one and all below it."""
        yield self
        for child in self.below:
            yield from child.all()

    @property
    def last_at(self) -> float:
        """The last sign of life in this part of the tree."""
        return max(run.seen_at for run in self.all())


def patience(until: float) -> float:
    """How long one look at several trees waits for all their workers: a monotonic time, `until` at most."""
    return min(time.monotonic() + _PATIENCE_S, until)


def prove_dead(paths: RunDirectory, until: float) -> None:
    """Return when nobody can write a run's journal any more, killing its worker if it lives after `until`.

    The caller holds the root's lock, so that no new worker comes. Raises `HeldError`.
    """
    if not is_locked(paths.journal):
        return
    try:
        identity = fold(read_records(paths.journal)).identity
    except JournalDamagedError:
        identity = None
    if identity is not None:
        end_process(identity, patience_s=max(0.0, until - time.monotonic()))
    deadline = max(until, time.monotonic() + _AFTER_S)
    while is_locked(paths.journal):
        if time.monotonic() > deadline:
            message = f"{paths.journal} is held by a process that its records do not name"
            raise HeldError(message, hint="`fuser` shows which; end it, then `tako reap`")
        time.sleep(_POLL_S)


def open_part(
    paths: RunDirectory, plan: ChildPlanned | None = None, *, until: float | None = None
) -> OpenRun | None:
    """What is open of a tree; None of a child that never began. With `until` only after it is proven dead.

    Raises `HeldError` as `prove_dead` does.
    """
    if until is not None:
        prove_dead(paths, until)
    try:
        state = fold(read_records(paths.journal))
    except NotFoundError:
        state = RunState()
    except JournalDamagedError as damage:
        below = [open_part(child, until=until) for child in paths.child_directories()]
        return OpenRun(
            paths, RunState(), plan, damage.message, below=[run for run in below if run is not None]
        )
    if state.started is None and paths.is_child:
        return None
    run = OpenRun(paths, state, plan, seen_at=last_sign(paths, state))
    for fan_out in state.fan_outs.values():
        for child in fan_out.children.values():
            if child.finished is None:
                found = open_part(paths.child(child.plan.run_id), child.plan, until=until)
                run.below += [found] if found is not None else []
    return run


@mutable
class Completion:
    """Writes what is missing; with `pretend` it only finds out. `written` counts records."""

    now: float
    pretend: bool = False
    written: int = 0
    #: The root run's last record, once it is written.
    settled: RunSettled | None = None
    errors: list[str] = field(factory=list)

    def complete(self, root: OpenRun) -> None:
        """Complete the whole tree; what cannot be written stands in `errors`, and waits for another time."""
        self._run(root, root.last_at or self.now)

    def _run(self, run: OpenRun, at: float) -> bool:
        """Complete a run, children first; False if something could not be written: its parent waits then."""
        # Each of them, also after one that could not be completed.
        whole = [self._run(child, at) for child in run.below]
        if run.damage:
            self.errors.append(run.damage)
            return True
        ended = [self._told(child, at) for child in run.below]
        return all(whole) and self._write(run, missing(run.state, ended, at), at)

    def _told(self, run: OpenRun, at: float) -> ChildFinished:
        """What a child's parent has to say of it."""
        assert run.plan is not None
        child = Child(run.plan.step, run.plan.run_id, run.plan.repository, run.plan.workflow)
        status = FAILED if run.damage else subtree_status(run.state)
        return settled_child(child, status, run.damage, run.state, now=at)

    def _write(self, run: OpenRun, records: list[Record], at: float) -> bool:
        for record in records:
            apply(run.state, record)
        last = None if run.paths.is_child else settled(run.state, at)
        records += [last] if last is not None else []
        try:
            if records and not self.pretend:
                # A child's end is synced before its parent says it.
                _append(run.paths, records, sync=run.paths.is_child)
        except (OSError, TakoError) as error:
            self.errors.append(f"{run.paths.journal}: {error}")
            return False
        self.written += len(records)
        self.settled = last
        return True


def _append(paths: RunDirectory, records: list[Record], *, sync: bool) -> None:
    with Writer(paths.journal, keep_room=False) as journal:
        for record in records:
            journal.append(record, final=True)
        if sync:
            journal.sync()
