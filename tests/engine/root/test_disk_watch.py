"""A disk below its reserve: what runs hold is measured beside the loop, once at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from tako.engine.root import reserve as reserves
from tako.engine.root.chores import Chores
from tako.engine.root.disk_watch import DiskWatch
from tako.engine.root.reserve import Reserve
from tako.engine.root.tree_result import Troubles
from tako.engine.run.registry import Tree
from tako.engine.run.spec import Segment
from tako.engine.workers.workflow_runner import WorkflowRunner
from tests.support.records import run_id
from tests.support.segments import run_spec


class _Chores:
    """Keeps what is to be done until `finish`."""

    def __init__(self) -> None:
        self.kept: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []

    def do(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self.kept.append((work, then))

    def finish(self) -> None:
        work, then = self.kept.pop()
        then(work())


class _Runner:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def worker_of(self, _run_id: str) -> None:
        return None

    def make_room(self, run_id: str) -> None:
        self.asked.append(run_id)


def test_the_greediest_is_asked_when_it_is_known_and_not_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = {run_id(1): 5, run_id(2): 9}
    monkeypatch.setattr(reserves, "free_on_disk", lambda _: 2)
    monkeypatch.setattr(reserves, "held_by_all", lambda *_: held)
    tree = Tree(run_spec(tmp_path, "true", number=0, in_place=True), lambda _: None)
    segments = {}
    for number in (0, 1, 2):
        spec = tree.root if number == 0 else run_spec(tmp_path, "true", number=number)
        tree.add(spec)
        segments[number] = Segment(spec, 0, 1, str(tmp_path))
        tree.worker_started(segments[number])
    runner, chores = _Runner(), _Chores()
    watch = DiskWatch(
        Reserve(tmp_path, 10),
        tree,
        cast("WorkflowRunner", runner),
        troubles=Troubles(),
        chores=cast("Chores", chores),
    )
    for _ in range(3):
        watch.look(0)
    assert (len(chores.kept), runner.asked) == (1, [])
    # It has ended by itself meanwhile, and another of its segments begins.
    tree.worker_gone(run_id(2))
    chores.finish()
    assert runner.asked == []
    tree.worker_started(segments[2])
    watch.look(0)
    while not chores.kept:
        watch.look(0)
    chores.finish()
    watch.look(0)
    assert (chores.kept, runner.asked) == ([], [run_id(2)])
    assert tree.working[run_id(2)].kill_at is not None
    # The order came too late: it says nothing of the run's next segment.
    tree.worker_gone(run_id(2))
    tree.worker_started(segments[2])
    assert not tree.working[run_id(2)].makes_room
