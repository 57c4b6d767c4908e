"""What a run's journal and the future of its segment come to when the worker is gone."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest

from tako.engine.root.chores import Chores
from tako.engine.root.segment_ends import SegmentEnds
from tako.engine.root.tree_result import Troubles
from tako.engine.run.registry import Tree
from tako.engine.run.run_directory import make_directory
from tako.engine.run.spec import FINISHED, RunSpec, Segment, SegmentEnd
from tako.engine.scheduler import stimuli as h
from tako.engine.workers.workflow_runner import WorkerLostError
from tako.errors import MachineError
from tako.journal.log import read_records
from tako.journal.records import (
    EventEmitted,
    Record,
    RunFinished,
    RunRestarted,
    StepFinished,
    StepStarted,
    WorkerDied,
)
from tako.values import evolve
from tests.support.records import T0, event, run_id, run_started, write_journal
from tests.support.segments import run_spec

BEGUN = run_started(1, parent_run_id=run_id(0), steps=("one",))
RUNNING = StepStarted(T0, "one", 1, "k")
DONE = StepFinished(T0 + 1, "one", 1, "succeeded", 1.0)
LOST = WorkerLostError("it was ended by SIGKILL")


class _Chores:
    """Keeps what is to be removed or done."""

    def __init__(self) -> None:
        self.removed: list[Path] = []
        self.done = 0

    def remove(self, *paths: Path) -> None:
        self.removed += paths

    def do(self, _work: Callable[[], Any], _then: Callable[[Any], None]) -> None:
        self.done += 1


class _Observer:
    def __init__(self) -> None:
        self.told: list[str] = []

    def segment_ended(self, spec: RunSpec) -> None:
        self.told.append(f"{spec.repository} has no worker")

    def worker_lost(self, _spec: RunSpec, message: str) -> None:
        self.told.append(message)


class Case:
    """A child whose worker is gone, with what its journal says."""

    def __init__(self, directory: Path, *records: Record) -> None:
        self.spec = run_spec(directory, "true", parent_run_id=run_id(0))
        make_directory(self.spec.paths)
        if records:
            write_journal(self.spec.paths.journal, *records)
        root = evolve(self.spec, run_id=run_id(0), parent_run_id="", directory=directory / "root")
        self.tree = Tree(root, lambda _: None)
        self.tree.add(self.spec)
        self.segment = Segment(self.spec, 0, 2, str(directory / "temporary"))
        self.tree.worker_started(self.segment)
        self.troubles, self.chores, self.observer = Troubles(), _Chores(), _Observer()
        self.fan_outs: list[str] = []

    def read(self, end: SegmentEnd | BaseException) -> h.Stimulus:
        """Read the end of a segment whose future is this."""
        future: Future[SegmentEnd] = Future()
        if isinstance(end, BaseException):
            future.set_exception(end)
        else:
            future.set_result(end)
        ends = SegmentEnds(
            self.tree,
            troubles=self.troubles,
            chores=cast("Chores", self.chores),
            observers=(cast("Any", self.observer),),
            on_fan_out=lambda _spec, step, _state: self.fan_outs.append(step),
        )
        try:
            return ends.read(self.segment, future)
        finally:
            self.tree.journals.close(self.spec.paths)

    def added(self, after: int) -> list[Record]:
        """Give what was recorded behind so many records."""
        return list(read_records(self.spec.paths.journal))[after:]


def test_what_the_journal_says_of_the_end_counts(tmp_path: Path) -> None:
    case = Case(tmp_path, BEGUN, DONE, RunFinished(T0 + 1, "failed", 1.0))
    stimulus = case.read(SegmentEnd(FINISHED, "succeeded"))
    assert stimulus == h.SegmentEnded(run_id(1), status="failed")
    assert case.tree.working == {}
    assert case.observer.told == ["acme/app has no worker"]
    assert case.chores.removed == [tmp_path / "temporary"]


def test_a_fault_of_the_machine_that_the_worker_told_is_the_trees(tmp_path: Path) -> None:
    case = Case(tmp_path, BEGUN, RunFinished(T0 + 1, "failed", 1.0))
    stimulus = case.read(SegmentEnd(FINISHED, "failed", machine_fault=True, message="no disk"))
    assert stimulus == h.SegmentEnded(run_id(1), status="failed", machine_fault=True)
    assert case.troubles.fault == "no disk"


def test_a_worker_that_died_after_the_end_was_recorded_costs_nothing(tmp_path: Path) -> None:
    case = Case(tmp_path, BEGUN, DONE, RunFinished(T0 + 1, "succeeded", 1.0))
    assert case.read(LOST) == h.SegmentEnded(run_id(1), status="succeeded")
    # What the worker would have removed.
    assert case.chores.removed == [tmp_path / "temporary", *case.spec.paths.workspace]


def test_a_run_that_starts_over_and_one_at_a_fan_out_go_on(tmp_path: Path) -> None:
    restarted = Case(tmp_path, BEGUN, RUNNING, RunRestarted(T0 + 1, "one", "exit code 1"))
    assert restarted.read(SegmentEnd("restarted")) == h.SegmentEnded(run_id(1), restarted=True)
    (tmp_path / "other").mkdir()
    waiting = Case(tmp_path / "other", BEGUN, DONE, EventEmitted(T0 + 1, "fan", event()))
    assert waiting.read(LOST) == h.SegmentEnded(run_id(1), step="fan")
    assert waiting.fan_outs == ["fan"]


def test_a_worker_that_died_is_recorded_with_the_step_that_it_cut_off(tmp_path: Path) -> None:
    case = Case(tmp_path, BEGUN, RUNNING)
    assert case.read(LOST) == h.WorkerLost(run_id(1), restarting=False)
    cut_off, died = case.added(2)
    assert isinstance(cut_off, StepFinished)
    assert (cut_off.step, cut_off.status) == ("one", "interrupted")
    assert cut_off.message == "its worker died: it was ended by SIGKILL"
    assert isinstance(died, WorkerDied)
    assert (died.attempt, died.message) == (2, "it was ended by SIGKILL")
    assert case.observer.told[0] == "it was ended by SIGKILL (attempt 2 of 3)"


@pytest.mark.parametrize("keep", [False, True])
def test_one_that_died_while_it_was_to_make_room_has_failed(tmp_path: Path, keep: bool) -> None:
    case = Case(tmp_path, BEGUN, RUNNING)
    case.tree.runs[run_id(1)].spec = evolve(case.spec, keep=keep)
    case.tree.runs[run_id(1)].makes_room = True
    assert case.read(LOST) == h.SegmentEnded(run_id(1), status="failed")
    ended = case.added(3)[0]
    assert isinstance(ended, RunFinished)
    assert ended.error_kind == "limit_exceeded"
    assert case.chores.done == (0 if keep else 1)


@pytest.mark.parametrize(
    ("error", "fault", "bug"),
    [
        (MachineError("locks do not work"), "acme/app exec-.*: locks do not work", ""),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "acme/app exec-.*open files", ""),
        (RuntimeError("odd"), "", "acme/app exec-.*: RuntimeError: odd"),
    ],
)
def test_what_a_worker_raised_is_a_fault_or_a_bug_and_ends_the_run(
    tmp_path: Path, error: Exception, fault: str, bug: str
) -> None:
    case = Case(tmp_path, BEGUN, RUNNING)
    assert case.read(error) == h.SegmentEnded(run_id(1), status="failed", machine_fault=True)
    assert [type(record) for record in case.added(2)] == [StepFinished, RunFinished]
    assert re.match(fault or "$", case.troubles.fault)
    assert re.match(bug or "$", case.troubles.bug)


def test_a_journal_without_an_end_is_a_bug(tmp_path: Path) -> None:
    case = Case(tmp_path, BEGUN)
    assert case.read(SegmentEnd(FINISHED, "succeeded")) == h.SegmentEnded(
        run_id(1), status="failed", machine_fault=True
    )
    assert "the worker ended without an end of the run in its journal" in case.troubles.bug


def test_a_damaged_journal_is_the_machines_fault(tmp_path: Path) -> None:
    case = Case(tmp_path, BEGUN)
    case.spec.paths.journal.write_bytes(b"damaged\n")
    assert case.read(LOST) == h.SegmentEnded(run_id(1), status="failed", machine_fault=True)
    assert "damaged" in case.troubles.fault
    assert case.tree.runs[run_id(1)].reason == case.troubles.fault
