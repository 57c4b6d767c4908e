"""Which root runs to look at without looking at all of them: not settled yet, or settled with workspaces.

An entry only says where to look. It is made before its run and outlives it: what is missing here is found by
`tako reap` and `tako workspace clean`, which look at everything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from tako.layout.home import Home
from tako.layout.names import RUN_ID
from tako.layout.run import RunDirectory
from tako.system.storage.removal import remove_tree
from tako.system.storage.writing import is_locked, make_private, open_plain, read_plain
from tako.values import value

#: An entry is made a moment before its run's directory.
_YOUNG_S = 60.0
#: How long nobody looks at a run that could not be reaped.
_POSTPONED_S = 600.0
#: All of a workspace lies in the run's directory itself.
_WORKSPACE = {part.name for part in RunDirectory(Path()).workspace}


@value
class Kept:
    """A settled root run whose tree has workspaces: when it ended, and their bytes on disk.

    Their size is 0 as long as nobody has measured them.
    """

    paths: RunDirectory
    ended_at: float
    size: int = 0


def note_opened(home: Home, run_id: str) -> None:
    """A root run is about to be made or taken up. Raises `OSError`."""
    make_private(home.unsettled)
    entry = os.open(home.unsettled / run_id, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        os.utime(entry)
    finally:
        os.close(entry)


def note_settled(home: Home, paths: RunDirectory, ended_at: float) -> None:
    """A root run has its last record; how large its workspaces are is for `measure`. Raises `OSError`."""
    if not has_workspaces(paths):
        forget_kept(home, paths.run_id)
        forget_unsettled(home, paths.run_id)
        return
    note_opened(home, paths.run_id)
    entry = home.unsettled / paths.run_id
    entry.write_text(_told(ended_at, 0))
    make_private(home.kept)
    os.replace(entry, home.kept / paths.run_id)


def measure(home: Home, run_ids: Iterable[str]) -> None:
    """Note the bytes of workspaces that nobody has measured since their runs ended. Raises `OSError`."""
    for run_id in run_ids:
        # Written into the very entry that was read: one that was made or forgotten meanwhile is another.
        with suppress(FileNotFoundError, ValueError), open_plain(home.kept / run_id, os.O_RDWR) as entry:
            ended_at, size = _read(entry.read())
            if not size:
                from tako.system.accounting.usage import disk_use

                size = max(1, disk_use(workspaces_of(home.run(run_id))))
                os.pwrite(entry.fileno(), _told(ended_at, size).encode(), 0)


def _told(ended_at: float, size: int) -> str:
    # As long whatever the size is: two who measure at once write over each other.
    return f"{ended_at} {size:20}\n"


def _read(text: bytes) -> tuple[float, int]:
    ended_at, size = text.split()
    return float(ended_at), int(size)


def is_noted_unsettled(home: Home, run_id: str) -> bool:
    """Whether there is an entry that the run may not be settled."""
    return (home.unsettled / run_id).exists()


def postpone(home: Home, run_id: str) -> None:
    """Nobody need look at the run for a while: it could not be reaped. Raises `OSError`."""
    later = time.time() + _POSTPONED_S
    with suppress(FileNotFoundError):
        os.utime(home.unsettled / run_id, (later, later))


def is_postponed(home: Home, run_id: str) -> bool:
    """Whether the run could not be reaped a while ago."""
    with suppress(FileNotFoundError):
        return 0 < os.stat(home.unsettled / run_id).st_mtime - time.time() <= _POSTPONED_S
    return False


def forget_unsettled(home: Home, run_id: str) -> None:
    """Look no more at whether the run is settled."""
    with suppress(FileNotFoundError):
        os.unlink(home.unsettled / run_id)  # noqa: PTH108 - as os.listdir: no Path for each


def forget_kept(home: Home, run_id: str) -> None:
    """The run has no workspaces any more."""
    with suppress(FileNotFoundError):
        os.unlink(home.kept / run_id)  # noqa: PTH108 - as os.listdir: no Path for each


def unsettled(home: Home) -> Iterator[RunDirectory]:
    """The root runs that may not be settled, in no order; what is left of those never made is removed.

    They begin anywhere: who looks at some of them only comes to all in time.
    """
    names = _names(home.unsettled)
    first = os.urandom(1)[0] * len(names) >> 8
    for name in names[first:] + names[:first]:
        if (home.run(name)).path.is_dir():
            yield home.run(name)
        elif _age_s(home.unsettled / name) > _YOUNG_S and not is_locked(home.making(name).lock):
            remove_tree(home.making(name).path)
            forget_unsettled(home, name)


def kept(home: Home) -> Iterator[Kept]:
    """The root runs that have workspaces, as was noted when they settled; those removed are forgotten."""
    for name in _names(home.kept):
        with suppress(FileNotFoundError, ValueError):
            run = Kept(home.run(name), *_read(read_plain(home.kept / name)))
            if run.paths.path.is_dir():
                yield run
            else:
                forget_kept(home, name)


def without_emptied(home: Home, runs: Iterable[Kept]) -> list[Kept]:
    """Of these runs those that have workspaces; the others are forgotten."""
    found = []
    for run in runs:
        if has_workspaces(run.paths):
            found.append(run)
        else:
            forget_kept(home, run.paths.run_id)
    return found


def has_workspaces(paths: RunDirectory) -> bool:
    """Whether there is a workspace in the tree of a run."""
    return next(_workspaces(paths), None) is not None


def workspaces_of(paths: RunDirectory) -> list[Path]:
    """All directories of workspaces in the tree of a run."""
    return list(_workspaces(paths))


def _workspaces(paths: RunDirectory) -> Iterator[Path]:
    waiting = [paths]
    while waiting:
        run = waiting.pop()
        names: set[str] = set()
        with suppress(FileNotFoundError, NotADirectoryError):
            names.update(os.listdir(run.path))
        if names & _WORKSPACE:
            yield from (part for part in run.workspace if part.name in names)
        waiting += run.child_directories() if run.children.name in names else []


def _names(directory: Path) -> list[str]:
    try:
        return [name for name in os.listdir(directory) if RUN_ID.fullmatch(name)]
    except FileNotFoundError:
        return []


def _age_s(entry: Path) -> float:
    with suppress(FileNotFoundError):
        return abs(time.time() - entry.stat().st_mtime)
    return 0.0
