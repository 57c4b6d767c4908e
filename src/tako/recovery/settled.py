"""Whether a root run is settled, and when a run gave its last sign of life."""

from __future__ import annotations

from contextlib import suppress

from tako.journal.log import JournalDamagedError, read_settled
from tako.journal.records import RunSettled
from tako.journal.run_state import RunState
from tako.journal.statuses import RUNNING
from tako.layout.run import RunDirectory


def settled_record(paths: RunDirectory) -> RunSettled | None:
    """The last record of a run that is settled; None of others, also of those whose journal is damaged."""
    try:
        return read_settled(paths.journal)
    except (JournalDamagedError, OSError):
        return None


def last_sign(paths: RunDirectory, state: RunState) -> float:
    """When a run last wrote a record, or a step of it that has not ended a line; seconds since the epoch."""
    found = state.last_at
    for step in state.steps.values():
        if step.status == RUNNING:
            with suppress(OSError):
                found = max(found, state.last_at + _written_after(paths, step.id))
    return found


def _written_after(paths: RunDirectory, step: str) -> float:
    """Seconds from the last write to the journal to that of a log; the clock may have been moved before."""
    return paths.log(step).stat().st_mtime - paths.journal.stat().st_mtime
