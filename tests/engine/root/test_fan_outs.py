"""The driver's fan-outs: what goes wrong with one child, and planning that is stopped."""

from __future__ import annotations

import errno
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tako.config.schema import Step, Workflow
from tako.engine.fan_out.fan_out_executor import FanOutExecutor
from tako.engine.fan_out.judge import Judge, PlanningStoppedError
from tako.engine.fan_out.plan import FanOutPlan, PlannedChild
from tako.engine.resume.resumer import Resumer
from tako.engine.root.fan_outs import Planning
from tako.engine.run.registry import Tree
from tako.engine.run.run_directory import make_directory
from tako.engine.run.spec import RunSpec
from tako.engine.scheduler import instructions as i
from tako.engine.scheduler import stimuli as h
from tako.journal.fold import fold
from tako.journal.log import read_records
from tako.journal.records import ChildFinished, ChildPlanned, EventEmitted, StepStarted
from tako.repositories.caveats import Caveats
from tests.support.records import T0, event, run_id, run_started
from tests.support.segments import run_spec

FAN = Step(id="fan", uses="tako/fan-out@v1", with_={"event_type": "built"})
EMITTED = EventEmitted(T0, "fan", event())
PLANNED = ChildPlanned(T0, "fan", run_id(7), "acme/app", "main", "beef", "check", {})
CHILD = PlannedChild(PLANNED, workflow=Workflow("check"), source=Path("/snapshots/app"))


class Executor(FanOutExecutor):
    """Plans what it was told to, or waits until it is stopped."""

    def __init__(self, plan: FanOutPlan | None) -> None:
        self._made = plan

    def new_judge(self) -> Judge:
        return Judge()

    def plan(self, _parent: RunSpec, _emitted: EventEmitted, judge: Judge | None = None) -> FanOutPlan:
        assert judge is not None
        while self._made is None:
            judge.check()
        return self._made


class Factory:
    """Cannot make the spec of any run."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def spec(self, *_: object) -> RunSpec:
        raise self._error


@contextmanager
def _planning(
    directory: Path, plan: FanOutPlan | None, error: Exception | None = None
) -> Iterator[tuple[Planning, Tree, Callable[[], Any], list[BaseException]]]:
    root = run_spec(directory, FAN, number=0)
    make_directory(root.paths)
    tree = Tree(root, lambda _error: None)
    letters: queue.Queue[Callable[[], Any]] = queue.Queue()
    errors: list[BaseException] = []
    planning = Planning(
        tree,
        Resumer(tree, None),
        planner=lambda: Executor(plan),
        factory=lambda: Factory(error or RuntimeError()),  # type: ignore[arg-type, return-value]
        observers=(),
        post=letters.put,
        on_error=errors.append,
        caveats=Caveats(),
    )
    begun = (run_started(0), StepStarted(T0, "fan", 1, ""), EMITTED)
    for record in begun:
        tree.record(root.run_id, record)
    planning.reached(root, "fan", fold(begun))

    def answer() -> Any:  # noqa: ANN401 - whatever happened
        return letters.get(timeout=30)()

    try:
        yield planning, tree, answer, errors
    finally:
        planning.close(at_once=False)
        tree.journals.close(root.paths)


@pytest.mark.parametrize(
    ("error", "kind", "of_all"),
    [
        (RuntimeError("what nobody foresaw"), "internal_error", False),
        (OSError(errno.EACCES, "Permission denied", "/some/file"), "sandbox_failed", False),
        (OSError(errno.ENOSPC, "No space left on device", "/some/file"), "sandbox_failed", True),
    ],
)
def test_a_child_that_cannot_be_taken_on_fails_alone(
    tmp_path: Path, error: Exception, kind: str, of_all: bool
) -> None:
    plan = FanOutPlan(1, (CHILD,), ())
    with _planning(tmp_path, plan, error) as (planning, tree, answer, errors):
        planning.plan(i.PlanFanOut(tree.root.run_id, "fan"))
        planned = answer()
        assert isinstance(planned, h.FanOutPlanned)
        assert [(child.run_id, child.failed) for child in planned.children] == [(PLANNED.run_id, True)]
        assert len(errors) == of_all
    [ended] = [
        record for record in read_records(tree.root.paths.journal) if isinstance(record, ChildFinished)
    ]
    assert ended.error is not None
    assert ended.error.kind == kind


def test_planning_that_is_stopped_records_nothing(tmp_path: Path) -> None:
    with _planning(tmp_path, None) as (planning, tree, answer, errors):
        planning.plan(i.PlanFanOut(tree.root.run_id, "fan"))
        planning.stop(i.StopPlanning(run_id(99)))
        planning.stop(i.StopPlanning(tree.root.run_id))
        assert answer() == h.FanOutFailed(tree.root.run_id, "fan", stopped=True)
        assert errors == []
    assert len(list(read_records(tree.root.paths.journal))) == 3


def test_a_stopped_plan_does_not_count_as_delivered(tmp_path: Path) -> None:
    from tests.engine.fan_out.test_fan_out_executor import _candidates, _executor, _subscription

    executor, _ = _executor(*_candidates("acme/a", _subscription()), *_candidates("acme/b", _subscription()))
    parent = run_spec(tmp_path, repository="acme/lib", workflow=Workflow("release"))
    judge = Judge()
    inputs = judge.inputs

    def stopping(repository: str, *given: Any) -> dict[str, object]:  # noqa: ANN401
        if repository == "acme/b":
            judge.stop()
        return inputs(repository, *given)

    judge.inputs = stopping  # type: ignore[method-assign, assignment]
    with pytest.raises(PlanningStoppedError):
        executor.plan(parent, EMITTED, judge)
    again = executor.plan(parent, EMITTED)
    assert [child.record.repository for child in again.children] == ["acme/a", "acme/b"]
