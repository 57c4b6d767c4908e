"""Root runs whose tako is gone, written by hand: what it recorded, and whose its lock was.

They were executed here, by a process that has ended; tests change that.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tako.journal.fold import fold
from tako.journal.log import line_of, read_records
from tako.journal.records import (
    ChildPlanned,
    EventEmitted,
    FanOutPlanned,
    Record,
    RunFinished,
    StepFinished,
    StepStarted,
)
from tako.journal.run_state import RunState
from tako.layout.home import Home
from tako.layout.run import RunDirectory
from tako.system.process.identity import Identity, own_identity
from tako.values import asdict, evolve
from tests.support.records import T0, event, run_started

_OWN = os.urandom(2).hex()


def run_id(number: int) -> str:
    """Give an id that no other process' tests use: the reaper looks for processes that carry it."""
    return f"exec-20231114-221320-{_OWN}{number:04x}"


HERE = evolve(own_identity(), pid=os.getpid(), start_time=1)
"""A process of this machine, boot and pid namespace that has ended: its pid belongs to another one by now."""


def began(number: int = 0, **changes: Any) -> Record:  # noqa: ANN401 - any field
    """Give the beginning of a run that was executed here."""
    given: dict[str, Any] = {
        "run_id": run_id(number),
        "root_run_id": run_id(0),
        "identity": HERE,
        "temporary": "/nowhere/0",
    }
    return run_started(number, **(given | changes))


def write(paths: RunDirectory, *records: Record, owner: Identity | None = HERE, temporary: str = "") -> None:
    """Write a run as its processes left it, the room they kept aside; `owner` is told by a root's lock."""
    paths.path.mkdir(parents=True, exist_ok=True)
    paths.logs.mkdir(exist_ok=True)
    paths.journal.write_bytes(b"".join(map(line_of, records)))
    if not paths.is_child:
        told = {"identity": asdict(owner), "temporary": temporary} if owner else None
        paths.lock.write_text(json.dumps(told) if told else "")


def write_one(home: Home, number: int = 0, *, at: float = T0, **changes: Any) -> RunDirectory:  # noqa: ANN401
    """Write a root run that was killed in its second of three steps."""
    paths = home.run(run_id(number))
    steps = ("one", "two", "three")
    write(
        paths,
        began(number, root_run_id=run_id(number), at=at, steps=steps, **changes),
        StepStarted(at, "one", 1, "k"),
        StepFinished(at + 1, "one", 1, "succeeded", 1.0),
        StepStarted(at + 1, "two", 2, "k"),
    )
    return paths


def plan(number: int, name: str, *, step: str = "fan") -> ChildPlanned:
    """Give the plan of a child."""
    return ChildPlanned(T0 + 1, step, run_id(number), f"acme/{name}", "main", "beef", "check", {})


def child_began(number: int, name: str, *, parent: int = 0, **changes: Any) -> Record:  # noqa: ANN401
    """Give the beginning of a child."""
    return began(number, repository=f"acme/{name}", workflow="check", parent_run_id=run_id(parent), **changes)


def write_killed_tree(home: Home) -> RunDirectory:
    """Write a tree that was killed: its children had succeeded, failed, ran, waited for a leaf, never began.

    Of the first two their parent does not know the end yet.
    """
    root = home.run(run_id(0))
    names = ("well", "broken", "busy", "waits", "late")
    write(
        root,
        began(steps=("build", "fan", "after")),
        StepFinished(T0 + 1, "build", 1, "succeeded", 1.0),
        EventEmitted(T0 + 1, "fan", event()),
        *(plan(number, name) for number, name in enumerate(names, 1)),
        FanOutPlanned(T0 + 1, "fan", 5, 5),
    )
    write(
        root.child(run_id(1)),
        child_began(1, "well", steps=("t",)),
        StepFinished(T0 + 2, "t", 1, "succeeded", 1.0),
        RunFinished(T0 + 2, "succeeded", 1.5, outputs={"v": "1"}),
    )
    write(
        root.child(run_id(2)),
        child_began(2, "broken", steps=("t",)),
        StepFinished(T0 + 2, "t", 1, "failed", 1.0, exit_code=3, message="exit code 3"),
        RunFinished(T0 + 3, "failed", 2.0, "step t: exit code 3"),
    )
    write(root.child(run_id(3)), child_began(3, "busy", steps=("t",)), StepStarted(T0 + 5, "t", 2, "k"))
    waits = root.child(run_id(4))
    write(
        waits,
        child_began(4, "waits", steps=("more",)),
        EventEmitted(T0 + 4, "more", event(source="acme/waits")),
        plan(6, "leaf", step="more"),
        FanOutPlanned(T0 + 4, "more", 1, 1),
    )
    write(
        waits.child(run_id(6)),
        child_began(6, "leaf", parent=4, steps=("t",)),
        StepStarted(T0 + 9, "t", 1, "k"),
    )
    return root


def state_of(paths: RunDirectory) -> RunState:
    """Give what a journal says."""
    return fold(read_records(paths.journal))


def bytes_below(directory: Path) -> dict[str, bytes]:
    """Give all files below a directory with what is in them."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
