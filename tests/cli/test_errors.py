from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable

import click
import pytest

from tako.cli.errors import guarded
from tako.errors import BugError, HeldError, MachineError, TakoError, UnexpectedError, UsageError


def _raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


def test_the_exit_code_of_the_work_is_passed_on() -> None:
    assert guarded(lambda: 7) == 7


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TakoError("a child failed"), 1),
        (UsageError("no such workflow"), 2),
        (UnexpectedError("odd data"), 3),
        (MachineError("no disk"), 4),
        (HeldError("another has it"), 5),
    ],
)
def test_an_error_of_takos_is_a_message_a_hint_and_its_code(
    capsys: pytest.CaptureFixture[str], error: TakoError, code: int
) -> None:
    error.hint = "do this"
    assert guarded(_raising(error)) == code
    assert capsys.readouterr().err == f"tako: {error.message}\ntako: do this\n"


def test_more_lines_of_a_message_are_indented(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(_raising(UsageError("two mistakes:\na\nb"))) == 2
    assert capsys.readouterr().err == "tako: two mistakes:\n      a\n      b\n"


@pytest.mark.parametrize("error", [BugError("lost count"), RuntimeError("lost count")])
def test_a_bug_is_reported_with_its_traceback_and_a_request_to_report_it(
    capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    assert guarded(_raising(error)) == 3
    told = capsys.readouterr().err
    assert told.startswith("Traceback")
    assert "lost count" in told
    assert "this is a bug in tako" in told


def test_what_the_machine_refuses_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(_raising(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))) == 4
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert told.startswith("tako: ")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_has_the_code_of_its_signal(error: BaseException) -> None:
    assert guarded(_raising(error)) == 130


@pytest.mark.parametrize(
    ("error", "code"), [(click.exceptions.Exit(3), 3), (click.UsageError("what is that?"), 2)]
)
def test_clicks_own_ends_keep_their_codes(error: Exception, code: int) -> None:
    assert guarded(_raising(error)) == code


def test_a_reader_that_leaves_early_is_no_failure_to_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    thrown_away: list[object] = []
    monkeypatch.setattr("tako.cli.errors.discard", thrown_away.append)
    assert guarded(_raising(BrokenPipeError())) == 1
    assert thrown_away == [sys.stdout]
    assert capsys.readouterr().err == ""
