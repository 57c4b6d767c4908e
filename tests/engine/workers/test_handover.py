"""Orders for a worker that may not hear yet, and a handover that has been closed meanwhile."""

from __future__ import annotations

import signal
from concurrent.futures import Future
from pathlib import Path
from typing import cast

import pytest

from tako.engine.run.spec import Segment
from tako.engine.workers.child_workflow_executor import ChildWorkflowExecutor
from tako.engine.workers.handover import Handover
from tako.engine.workers.slot import Running, Slot
from tako.system.process.identity import own_identity
from tests.support.segments import run_spec

STOP, GO_ON = int(signal.SIGTSTP), int(signal.SIGCONT)


def _handover(directory: Path) -> Handover:
    return Handover.of(Segment(run_spec(directory, "true"), 0, 1, str(directory)))


@pytest.mark.parametrize("orders", [(STOP, GO_ON), (GO_ON, STOP), (STOP, GO_ON, STOP)])
def test_of_stop_and_go_on_the_last_one_counts(tmp_path: Path, orders: tuple[int, ...]) -> None:
    handover = _handover(tmp_path)
    try:
        for number in (*orders, signal.SIGUSR1):
            handover.leave(number)
        assert sorted(handover.hear(own_identity())) == sorted([orders[-1], signal.SIGUSR1])
    finally:
        handover.close()


def test_what_undoes_an_order_that_is_just_taken_in_is_heard_after_it(tmp_path: Path) -> None:
    handover = _handover(tmp_path)
    try:
        handover.leave(STOP)
        heard = handover.hear(own_identity())
        assert next(heard) == STOP
        handover.leave(GO_ON)
        assert list(heard) == [GO_ON]
    finally:
        handover.close()


def test_an_order_after_the_end_reaches_no_file_that_has_the_same_descriptor_now(tmp_path: Path) -> None:
    running = Running(cast("Slot", None), _handover(tmp_path), Future())
    running.close()
    with (tmp_path / "journal").open("w+b") as one, (tmp_path / "another").open("w+b") as other:
        for number in (STOP, signal.SIGKILL):
            running.send(number)
        assert running.worker is None
        running.close()
        assert (one.read(), other.read()) == (b"", b"")


def test_a_segment_whose_slot_is_not_ready_yet_is_stopped_with_the_others() -> None:
    executor = ChildWorkflowExecutor(1)
    executor._early["r1"] = []
    executor.pause()
    executor.go_on()
    assert executor._early["r1"] == [STOP, GO_ON]
