from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from tako.engine.root.tree_result import TreeResult
from tako.errors import MachineError
from tako.layout.run import RunDirectory
from tako.report.summary import report
from tako.system.terminal.streams import discard
from tests.support.records import run_id

FAILED = TreeResult("failed", 1)


@pytest.fixture
def full() -> Iterator[TextIO]:
    """Give a stream on a full disk (full(4))."""
    with Path(os.devnull).with_name("full").open("w") as stream:
        yield stream


@pytest.fixture
def left() -> Iterator[TextIO]:
    """Give a pipe whose reader has left."""
    readable, writable = os.pipe()
    os.close(readable)
    with os.fdopen(writable, "w") as stream:
        yield stream


def test_text_that_nobody_takes_is_dropped(
    told: RunDirectory, full: TextIO, left: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", full)
    monkeypatch.setattr(sys, "stderr", left)
    report(told, TreeResult("failed", 4, "no space left"), output="text", quiet=False)
    # Nothing is left in a buffer that would fail later.
    full.flush()
    left.flush()


def test_a_result_that_cannot_be_written_is_an_error_with_the_command_that_prints_it(
    told: RunDirectory, full: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(MachineError, match="cannot be written to stdout: No space left") as refusal:
        report(told, FAILED, output="json", quiet=False)
    assert f"tako status {run_id(0)} --output json" in refusal.value.hint


def test_a_reader_of_the_result_that_has_left_is_an_error_of_its_own(
    told: RunDirectory, left: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", left)
    with pytest.raises(BrokenPipeError):
        report(told, FAILED, output="json", quiet=False)
    discard(left)
