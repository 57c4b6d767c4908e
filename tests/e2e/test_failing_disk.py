"""A disk that fails in the middle of a run: exit code 4 with the file's name, and nothing is lost.

The kernel's answers to calls on one journal are replaced by strace(1), in the root and in every worker.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.runner import Finished
from tests.support.scenes import FAN_OUT, Scene, children, records
from tests.support.strace import needs_strace, traced

pytestmark = needs_strace


def _resume(scene: Scene, run: Path, journal: Path, fault: str) -> Finished:
    """Take a run up while calls on a journal fail."""
    call = fault.partition(":")[0]
    options = ["-o", os.devnull, "-P", str(journal), "-e", f"trace={call}", "-e", f"inject={fault}"]
    return traced(scene.tako, "exec", "--resume", run.name, options=options, cwd=scene.directory)


@pytest.mark.parametrize(
    ("whose", "fault"),
    [
        # `when` is counted for each process.
        ("root", "write:error=EROFS:when=2+"),
        ("root", "fdatasync:error=EIO:when=1"),
        ("child", "write:error=EIO:when=2"),
        ("child", "write:error=EIO:when=3+"),
        ("child", "fdatasync:error=ENOSPC:when=1+"),
    ],
)
def test_a_journal_that_cannot_be_written_stops_the_run_with_exit_code_4(
    scene: Scene, whose: str, fault: str
) -> None:
    fixed = scene.directory / "fixed"
    scene.settings("isolation: process\n")
    scene.subscriber("acme/app", "true", f"[ -e {fixed} ]", "true")
    checkout = scene.library("true", FAN_OUT, "true")
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    [run] = scene.runs()
    [child] = (run / "children").iterdir()
    fixed.touch()
    journal = (run if whose == "root" else child) / "journal.jsonl"
    failed = _resume(scene, run, journal, fault)
    assert failed.code == 4, failed.stderr
    assert str(journal) in failed.stderr, failed.stderr
    assert "bug" not in failed.stderr
    ended = scene.tako("exec", "--resume", run.name)
    assert ended.code == 0, ended.stderr
    assert children(scene.status())["acme/app"]["status"] == "succeeded"
    finals = [record["kind"] for record in records(run) if record["kind"] in ("RunFinished", "RunSettled")]
    assert finals[-2:] == ["RunFinished", "RunSettled"]
