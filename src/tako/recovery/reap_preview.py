"""What the journals of a dead run will say once it is reaped: for who looks before anything is changed."""

from __future__ import annotations

import time
from pathlib import Path

from tako.journal.fold import apply
from tako.journal.run_state import RunState
from tako.layout.run import RunDirectory
from tako.recovery.dead_tree import Completion, open_part


def foreseen(paths: RunDirectory) -> dict[Path, RunState]:
    """The states of all runs of a root run's tree that the reaper would complete, by directory.

    The caller holds the root's lock. Nothing is written. Those whose journals are damaged are missing.
    """
    root = open_part(paths)
    # Only a child can have nothing to complete.
    assert root is not None
    completion = Completion(time.time(), pretend=True)
    completion.complete(root)
    if completion.settled is not None:
        apply(root.state, completion.settled)
    return {run.paths.path: run.state for run in root.all() if not run.damage}
