"""Keeps the reserve of free disk while a tree runs: nothing starts into it, and the greediest run makes room.

In: the reserve, the runs that have workers. Out: stimuli for the machine. A disk on which nothing can make
room any more stops the tree.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tako.engine.root.tree_result import Troubles
from tako.engine.run.registry import Tree
from tako.engine.scheduler import stimuli as h
from tako.engine.workers.workflow_runner import WorkflowRunner

if TYPE_CHECKING:
    from tako.engine.root.reserve import Reserve

#: Seconds after which a worker is killed that has not ended by itself.
KILL_SLACK_S = 10.0


class DiskWatch:
    """The reserve of one tree; without a reserve it asks for nothing."""

    def __init__(
        self, reserve: Reserve | None, tree: Tree, runner: WorkflowRunner, troubles: Troubles
    ) -> None:
        self._reserve = reserve
        self._tree = tree
        self._runner = runner
        self._troubles = troubles
        self._enough = True

    @property
    def wait_s(self) -> float | None:
        """Seconds until the next look is due; None if none is."""
        if self._reserve is None or (self._enough and not self._tree.working):
            return None
        return self._reserve.wait_s

    def look(self, wanted_soon: int) -> list[h.Stimulus]:
        """Look at the disk if it is time; `wanted_soon` is how many segments wait for a slot."""
        if self._reserve is None:
            return []
        missing = self._reserve.look()
        stimuli: list[h.Stimulus] = []
        if self._enough is bool(missing):
            self._enough = not missing
            stimuli.append(h.RoomChanged(self._enough))
        if missing and not any(run.makes_room for run in self._tree.working.values()):
            self._make_room(self._reserve, missing)
        waiting = not self._tree.working and wanted_soon > 0
        if self._reserve.is_stuck(waiting=waiting) and not self._troubles.fault:
            self._troubles.fault = self._reserve.told()
            stimuli.append(h.StopAsked())
        return stimuli

    def _make_room(self, reserve: Reserve, missing: int) -> None:
        from tako.engine.root.reserve import greediest, held_by

        held = {
            run_id: held_by(run.segment, reserve.place, self._runner.worker_of(run_id))
            for run_id, run in self._tree.working.items()
            if run.segment is not None and not run.spec.in_place
        }
        run_id = greediest(held, missing)
        if run_id:
            run = self._tree.working[run_id]
            run.makes_room = True
            self._runner.make_room(run_id)
            run.kill_at = time.monotonic() + KILL_SLACK_S
