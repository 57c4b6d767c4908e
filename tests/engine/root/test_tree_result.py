from __future__ import annotations

import signal

import pytest

from tako.engine.root.tree_result import TreeResult, Troubles
from tako.journal.statuses import CANCELLED, FAILED, SUCCEEDED, TIMED_OUT


@pytest.mark.parametrize(
    ("status", "late_failure", "code"),
    [
        (SUCCEEDED, False, 0),
        (SUCCEEDED, True, 1),
        (FAILED, False, 1),
        (CANCELLED, False, 1),
        (TIMED_OUT, False, 124),
        (TIMED_OUT, True, 124),
    ],
)
def test_without_troubles_the_status_decides(status: str, late_failure: bool, code: int) -> None:
    assert Troubles().result(status, late_failure=late_failure) == TreeResult(status, code)


@pytest.mark.parametrize(
    ("troubles", "code", "message"),
    [
        (Troubles(fault="no disk"), 4, "no disk"),
        (Troubles(fault="no disk", stopped_by=signal.SIGTERM), 143, "stopped by SIGTERM"),
        (Troubles(fault="no disk", stopped_by=signal.SIGINT, bug="odd"), 3, "odd"),
    ],
)
@pytest.mark.parametrize("status", [SUCCEEDED, TIMED_OUT, FAILED])
def test_a_bug_outweighs_a_signal_that_a_fault_and_that_the_status(
    troubles: Troubles, code: int, message: str, status: str
) -> None:
    assert troubles.result(status, late_failure=False) == TreeResult(status, code, message)


def test_the_first_fault_and_the_first_bug_count() -> None:
    troubles = Troubles()
    for word in ("first", "second"):
        troubles.add_fault(f"{word} fault")
        troubles.add_bug(f"{word} bug")
    assert (troubles.fault, troubles.bug) == ("first fault", "first bug")


def test_a_second_signal_ends_all_at_once_with_the_code_of_the_first() -> None:
    assert Troubles(stopped_by=signal.SIGHUP).result_at_once() == TreeResult(CANCELLED, 129, at_once=True)
