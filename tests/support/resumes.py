"""Runs that are cut off and taken up again, also as if it had been long ago or before a reboot."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tako.journal.log import line_of, read_records
from tako.journal.records import RunStarted, SegmentStarted
from tako.values import evolve
from tests.support.run_processes import kill, kill_whole, root_of
from tests.support.runner import GENEROUS_S, Finished
from tests.support.scenes import Mailbox, Scene


def resume(scene: Scene, *options: str) -> Finished:
    """Take up the only run of a scene."""
    [run] = scene.runs()
    return scene.tako("exec", "--resume", run.name, *options)


def killed(scene: Scene, checkout: Path, mail: Mailbox, *options: str, lines: int = 1) -> list[str]:
    """Start a release, and kill its root when steps have said so many lines; gives what they said."""
    with scene.tako.started("exec", "release", *options, cwd=checkout) as process:
        said = mail.lines(lines)
        kill(root_of(process.pid))
        assert process.wait(GENEROUS_S) == 4
    return said


def killed_whole(scene: Scene, checkout: Path, mail: Mailbox, lines: int = 1) -> list[str]:
    """The same, but all of tako is killed at the same moment."""
    with scene.tako.started("exec", "release", cwd=checkout) as process:
        said = mail.lines(lines)
        [run] = scene.runs()
        kill_whole(process.pid, run.name)
        process.wait(GENEROUS_S)
    return said


def rewritten(journal: Path, change: Callable[[Any], Any]) -> None:
    """Change each record of a journal."""
    changed = [change(record) for record in read_records(journal)]
    journal.write_bytes(b"".join(map(line_of, changed)))


def of_another_boot(record: Any) -> Any:  # noqa: ANN401 - any record
    """Let a record be of another boot of this machine."""
    if isinstance(record, RunStarted | SegmentStarted):
        return evolve(record, identity=evolve(record.identity, boot="another"))
    return record


def said(mail: Mailbox) -> list[str]:
    """Give all that steps have said and nobody has read."""
    lines = []
    while not mail.is_empty():
        lines.append(mail.line())
    return lines


def aged(run: Path, away_s: float, before_s: float = 0.0) -> None:
    """Let a tree have been broken off so many seconds earlier, `before_s` after all that it recorded.

    Until then a step that had not ended wrote to its log.
    """
    for journal in run.rglob("journal.jsonl"):
        written = journal.stat().st_mtime - away_s - before_s
        rewritten(journal, partial(_earlier, away_s + before_s))
        os.utime(journal, (written, written))
    for log in run.rglob("logs/*.log"):
        written = log.stat().st_mtime - away_s
        os.utime(log, (written, written))


def _earlier(seconds: float, record: Any) -> Any:  # noqa: ANN401 - any record
    return evolve(record, at=record.at - seconds)
