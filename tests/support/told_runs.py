"""Run directories written by hand, with everything in them that a report can tell."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from tako.journal.parts import ChildExecutionError, CollectedFile, Usage
from tako.journal.records import (
    ArtifactCollected,
    ChildFinished,
    ChildPlanned,
    EventEmitted,
    FanOutPlanned,
    Noted,
    RunFinished,
    RunSettled,
    StepFinished,
    StepStarted,
    SubscriptionFiltered,
    WorkerDied,
)
from tako.layout.home import Home
from tako.layout.run import RunDirectory
from tests.support.records import T0, event, run_id, run_started, write_journal

HOSTILE = "\x1b]0;pwned\x07\x1b[2J\x1b[31mred\x1b[0m\rover\x08\x9b"
"""What a step may print to take over a terminal; `plain` leaves `redover` of it."""
WHY = ChildExecutionError(
    "acme/app",
    "check",
    run_id(1),
    "step_failed",
    "exit code 3",
    step="test",
    exit_code=3,
    started=T0 + 2,
    duration_s=61.0,
    attempts=2,
    last_lines=("collecting ...", f"FAILED {HOSTILE}"),
)


def _plan(number: int, repository: str, at: float, step: str = "dependents") -> ChildPlanned:
    return ChildPlanned(T0 + at, step, run_id(number), repository, "main", "beef", "check", {"v": "1"})


def write_failed_tree(home: Home) -> RunDirectory:
    """Write the tree of a root run that failed; give the root's directory.

    acme/lib ─ build, notes (skipped), dependents ─ acme/app (failed), acme/tool ─ more ─ acme/leaf;
    acme/broken and acme/late never started, acme/old does not match. after (never begun).
    """
    root = home.run(run_id(0))
    write_journal(
        root.journal,
        run_started(steps=("build", "notes", "lint", "dependents", "after"), inputs={"bump": "minor"}),
        StepStarted(T0, "build", 1, "k"),
        ArtifactCollected(T0 + 1, "build", "wheel", (CollectedFile("lib.whl", "ab12", 4096),)),
        StepFinished(
            T0 + 1,
            "build",
            1,
            "succeeded",
            0.34,
            exit_code=0,
            outputs={"v": "1.2.3 ✓"},
            usage=Usage(0.1, 2048),
        ),
        StepFinished(T0 + 1, "notes", 1, "skipped", message="if: inputs.notes"),
        StepFinished(T0 + 1, "lint", 1, "failed", 1.25, exit_code=1, message="exit code 1", tolerated=True),
        EventEmitted(T0 + 1, "dependents", event()),
        Noted(T0 + 1, f"a warning {HOSTILE}", "dependents"),
        SubscriptionFiltered(
            T0 + 1, "dependents", "acme/old", "check", "schema version 1.0.0 is outside [2.0.0...)"
        ),
        *(_plan(n, f"acme/{name}", 1) for n, name in enumerate(("app", "tool", "broken", "late"), 1)),
        ChildFinished(
            T0 + 1,
            "dependents",
            run_id(3),
            "failed",
            error=ChildExecutionError(
                "acme/broken", "check", run_id(3), "config_invalid", "tako.yml:1:1: bad\nmore"
            ),
        ),
        FanOutPlanned(T0 + 1, "dependents", 5, 4),
        ChildFinished(T0 + 63, "dependents", run_id(1), "failed", 61.0, error=WHY),
        ChildFinished(T0 + 64, "dependents", run_id(2), "succeeded", 2.0, {"answer": "42"}),
        ChildFinished(
            T0 + 65,
            "dependents",
            run_id(4),
            "cancelled",
            error=ChildExecutionError("acme/late", "check", run_id(4), "cancelled", "it had not started yet"),
        ),
        StepFinished(
            T0 + 65,
            "dependents",
            1,
            "failed",
            64.0,
            message="3 of 4 children did not succeed",
            counts={"succeeded": 1, "failed": 2, "timed_out": 0, "cancelled": 1},
        ),
        RunFinished(T0 + 65, "failed", 65.0, "step dependents: 3 of 4 children did not succeed"),
        RunSettled(T0 + 66, "failed", 1),
    )
    _write_children(root)
    return root


def _write_children(root: RunDirectory) -> None:
    app, tool = root.child(run_id(1)), root.child(run_id(2))
    write_journal(
        app.journal,
        run_started(
            1, at=T0 + 2, repository="acme/app", workflow="check", parent_run_id=run_id(0), steps=("test",)
        ),
        StepStarted(T0 + 2, "test", 1, "k"),
        WorkerDied(T0 + 3, 1, "gone"),
        StepStarted(T0 + 3, "test", 2, "k"),
        StepFinished(
            T0 + 63, "test", 2, "failed", 60.0, exit_code=3, message="exit code 3", last_lines=WHY.last_lines
        ),
        RunFinished(T0 + 63, "failed", 61.0, "step test: exit code 3"),
    )
    write_journal(
        tool.journal,
        run_started(
            2, at=T0 + 2, repository="acme/tool", workflow="check", parent_run_id=run_id(0), steps=("more",)
        ),
        EventEmitted(T0 + 3, "more", event(source="acme/tool")),
        _plan(5, "acme/leaf", 3, "more"),
        FanOutPlanned(T0 + 3, "more", 1, 1),
        ChildFinished(T0 + 4, "more", run_id(5), "succeeded", 0.5),
        StepFinished(T0 + 4, "more", 1, "succeeded", 1.0, counts={"succeeded": 1}),
        RunFinished(T0 + 4, "succeeded", 2.0, outputs={"answer": "42"}),
    )
    write_journal(
        tool.child(run_id(5)).journal,
        run_started(
            5, at=T0 + 3, repository="acme/leaf", workflow="check", parent_run_id=run_id(2), steps=("t",)
        ),
        StepFinished(T0 + 4, "t", 1, "succeeded", 0.5),
        RunFinished(T0 + 4, "succeeded", 0.5),
    )


@contextlib.contextmanager
def held(run: RunDirectory) -> Iterator[None]:
    """Hold a root run's lock, as its root process does while it lives."""
    run.path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
