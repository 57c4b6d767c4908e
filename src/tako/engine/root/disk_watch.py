"""Keeps the reserve of free disk while a tree runs: nothing starts into it, and the greediest run makes room.

In: the reserve, the runs that have workers. Out: stimuli for the machine. A disk on which nothing can make
room any more stops the tree.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from tako.engine.root.chores import Chores
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
        self,
        reserve: Reserve | None,
        tree: Tree,
        runner: WorkflowRunner,
        *,
        troubles: Troubles,
        chores: Chores,
    ) -> None:
        self._reserve = reserve
        self._tree = tree
        self._runner = runner
        self._troubles = troubles
        self._chores = chores
        self._enough = True
        #: Whether a chore measures what the runs hold, and when the next one may.
        self._measuring, self._measure_from = False, 0.0

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
        if missing and self._may_measure():
            self._measure(self._reserve)
        waiting = not self._tree.working and wanted_soon > 0
        if self._reserve.is_stuck(waiting=waiting) and not self._troubles.fault:
            self._troubles.fault = self._reserve.told()
            stimuli.append(h.StopAsked())
        return stimuli

    def _may_measure(self) -> bool:
        if self._measuring or time.monotonic() < self._measure_from:
            return False
        return not any(run.makes_room for run in self._tree.working.values())

    def _measure(self, reserve: Reserve) -> None:
        """Measure what each run holds on the disk, after which the greediest makes room."""
        from tako.engine.root.reserve import held_by_all

        children = [
            run.segment
            for run in self._tree.working.values()
            if run.segment is not None and not run.spec.in_place
        ]
        workers = {segment.run.run_id: self._runner.worker_of(segment.run.run_id) for segment in children}
        self._measuring = bool(children)
        if children:
            began = time.monotonic()
            work = partial(held_by_all, children, reserve.place, workers)
            self._chores.do(work, lambda held: self._measured(held, reserve, time.monotonic() - began))

    def _measured(self, held: Mapping[str, int], reserve: Reserve, took_s: float) -> None:
        from tako.engine.root.reserve import greediest

        self._measuring = False
        # Where others have filled the disk, measuring comes to nothing for as long as they like.
        self._measure_from = time.monotonic() + took_s
        missing, working = reserve.look(), self._tree.working
        run_id = greediest({run: size for run, size in held.items() if run in working}, missing)
        if missing and run_id:
            run = working[run_id]
            run.makes_room = True
            self._runner.make_room(run_id)
            run.kill_at = time.monotonic() + KILL_SLACK_S
