"""Which root runs to look at without looking at all of them: not settled yet, or settled with workspaces.

An entry only says where to look. It is made before its run and outlives it: what is missing here is found by
`tako reap` and `tako workspace clean`, which look at everything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from tako.layout import RUN_ID, Home, RunDirectory
from tako.system.files import make_private
from tako.values import FrozenValue

#: An entry is made a moment before its run's directory.
_YOUNG_S = 60.0
#: All of a workspace lies in the run's directory itself.
_WORKSPACE = {part.name for part in RunDirectory(Path()).workspace}


@frozen(eq=False, repr=False)
class Kept(FrozenValue):
    """A settled root run whose tree has workspaces: when it ended, and their bytes on disk."""

    paths: RunDirectory
    ended_at: float
    size: int


def note_opened(home: Home, run_id: str) -> None:
    """A root run is about to be made or taken up. Raises `OSError`."""
    make_private(home.unsettled)
    os.close(os.open(home.unsettled / run_id, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def note_settled(home: Home, paths: RunDirectory, ended_at: float) -> None:
    """A root run has its last record; its workspaces are measured. Raises `OSError`."""
    workspaces = workspaces_of(paths)
    if not workspaces:
        forget_kept(home, paths.run_id)
        forget_unsettled(home, paths.run_id)
        return
    from tako.system.usage import disk_use

    note_opened(home, paths.run_id)
    entry = home.unsettled / paths.run_id
    entry.write_text(f"{ended_at} {disk_use(workspaces)}\n")
    make_private(home.kept)
    os.replace(entry, home.kept / paths.run_id)


def is_noted_unsettled(home: Home, run_id: str) -> bool:
    """Whether there is an entry that the run may not be settled."""
    return (home.unsettled / run_id).exists()


def forget_unsettled(home: Home, run_id: str) -> None:
    """Look no more at whether the run is settled."""
    with suppress(FileNotFoundError):
        os.unlink(home.unsettled / run_id)  # noqa: PTH108 - as os.listdir: no Path for each


def forget_kept(home: Home, run_id: str) -> None:
    """The run has no workspaces any more."""
    with suppress(FileNotFoundError):
        os.unlink(home.kept / run_id)  # noqa: PTH108 - as os.listdir: no Path for each


def unsettled(home: Home) -> Iterator[RunDirectory]:
    """The root runs that may not be settled; entries whose run was never made are forgotten."""
    for name in _names(home.unsettled):
        if (home.run(name)).path.is_dir():
            yield home.run(name)
        elif _age_s(home.unsettled / name) > _YOUNG_S:
            forget_unsettled(home, name)


def kept(home: Home) -> Iterator[Kept]:
    """The root runs that have workspaces, as was noted when they settled."""
    for name in _names(home.kept):
        with suppress(FileNotFoundError, ValueError):
            ended_at, size = (home.kept / name).read_text().split()
            yield Kept(home.run(name), float(ended_at), int(size))


def workspaces_of(paths: RunDirectory) -> list[Path]:
    """All directories of workspaces in the tree of a run."""
    found = []
    waiting = [paths]
    while waiting:
        run = waiting.pop()
        names: set[str] = set()
        with suppress(FileNotFoundError, NotADirectoryError):
            names.update(os.listdir(run.path))
        if names & _WORKSPACE:
            found += [part for part in run.workspace if part.name in names]
        waiting += run.child_directories() if run.children.name in names else []
    return found


def _names(directory: Path) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if RUN_ID.fullmatch(name)]
    except FileNotFoundError:
        return []


def _age_s(entry: Path) -> float:
    with suppress(FileNotFoundError):
        return abs(time.time() - entry.stat().st_mtime)
    return 0.0
