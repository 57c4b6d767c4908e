"""A pytest plugin: after every test, nothing of it may be left.

Looked at before and after: processes, file descriptors of this interpreter, the real home's
`.tako`, the temporary directory (each worker has its own), named semaphores that no living
process holds. Only what this worker and its tests made counts: other programs of the machine, another
checkout's tests and a live tako among them, come and go as they like. What was left fails the test that
left it, and is removed, so that it does not fail the next one too.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver, process, resource_tracker
from pathlib import Path

import psutil
import pytest
from attrs import frozen

from tests.support import processes

_SEMAPHORES = Path("/dev/shm")
#: As the C library calls one that it is still making; SIGKILL leaves it, and nobody can tell whose it was.
_HALF_MADE = re.compile("sem[.][A-Za-z0-9]{6}")
_before = pytest.StashKey["Snapshot"]()
_own_temporary = pytest.StashKey[Path]()
_TEMPORARY_ROOT = "PYTEST_DEBUG_TEMPROOT"


@frozen
class Snapshot:
    """What was there at one moment."""

    processes: frozenset[psutil.Process]
    descriptors: dict[str, str]
    home: frozenset[str]
    temporary: frozenset[str]
    semaphores: frozenset[str]


def _names(directory: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()


def _descriptors() -> dict[str, str]:
    found = {}
    # pytest itself puts the standard streams elsewhere and back.
    for name in set(os.listdir("/proc/self/fd")) - {"0", "1", "2"}:
        with contextlib.suppress(OSError):
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    kept = (
        getattr(getattr(resource_tracker, "_resource_tracker", None), "_fd", None),
        getattr(getattr(forkserver, "_forkserver", None), "_forkserver_alive_fd", None),
    )
    return {name: target for name, target in found.items() if name not in {str(number) for number in kept}}


def _real_home() -> Path:
    return Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".tako"


def _temporary() -> frozenset[str]:
    # multiprocessing makes one directory for the interpreter's whole life.
    own = getattr(process.current_process(), "_config", {}).get("tempdir")
    return _names(Path(tempfile.gettempdir())) - ({Path(own).name} if own else set())


def _semaphores() -> frozenset[str]:
    return frozenset(entry.name for entry in _SEMAPHORES.glob("sem.*") if _owned(entry))


def _is_ours(name: str, directory: Path | None) -> bool:
    """Say whether a semaphore is of this interpreter, or of a `tako exec` of this test.

    Each gives its semaphores a name that begins with that of its own directory (`pytest_configure`, and
    tako's private directory). That of a tako is here still, or a journal of the test names it: other workers
    kill a tako too, and what that has left is their tests' to reap.
    """
    private = name.removeprefix("sem.").rpartition("-")[0]
    if _HALF_MADE.fullmatch(name) or not private:
        return False
    own = Path(tempfile.gettempdir())
    if private == own.name or (own / private).exists():
        return True
    journals = directory.rglob("journal.jsonl") if directory is not None else ()
    return any(private.encode() in journal.read_bytes() for journal in journals)


def _semaphores_left(before: Snapshot, directory: Path | None) -> list[str]:
    found = sorted(_semaphores() - before.semaphores)
    return [name for name in found if not _held(name) and _is_ours(name, directory)]


def _maps(process: Path, inode: bytes) -> bool:
    try:
        lines = (process / "maps").read_bytes().splitlines()
    except PermissionError:
        # One that may not be asked may well have it.
        return True
    except OSError:
        return False
    return any(inode in line.split()[4:5] and b"/dev/shm/" in line for line in lines)


def _held(name: str) -> bool:
    """Say whether a living process of ours has the semaphore mapped."""
    try:
        # By inode: the C library links the name to a file that it made under another one.
        inode = b"%d" % (_SEMAPHORES / name).stat().st_ino
    except FileNotFoundError:
        return True
    # The init of the machine may not be asked by anybody, and holds nothing of ours.
    others = (entry for entry in Path("/proc").glob("[0-9]*") if entry.name != "1")
    held = any(_runs_as_us(entry) and _maps(entry, inode) for entry in others)
    # Whoever held it may have ended and removed it while everybody was asked.
    return held or not (_SEMAPHORES / name).exists()


def _runs_as_us(process: Path) -> bool:
    """By its status: the files of a process that forbids dumps belong to root (proc_pid(5))."""
    try:
        status = (process / "status").read_text()
    except OSError:
        return False
    return int(status.partition("\nUid:")[2].split()[1]) == os.geteuid()


def _owned(path: Path) -> bool:
    try:
        return path.stat().st_uid == os.geteuid()
    except OSError:
        return False


def snapshot() -> Snapshot:
    """Look at everything now."""
    return Snapshot(
        processes=frozenset(processes.descendants()),
        descriptors=_descriptors(),
        home=_names(_real_home()),
        temporary=_temporary(),
        semaphores=_semaphores(),
    )


def _left_processes(before: Snapshot, directory: Path | None) -> list[str]:
    found = processes.descendants() - before.processes
    if directory is not None:
        found |= set(processes.mentioning(directory))
    left = processes.survivors(found)
    text = [f"process {processes.described(process)}" for process in left]
    processes.end(left)
    return text


def _left_files(before: Snapshot, directory: Path | None) -> Iterator[str]:
    for name, target in _descriptors().items():
        if before.descriptors.get(name) != target:
            yield f"file descriptor {name} ({target})"
    for name in sorted(_names(_real_home()) - before.home):
        yield f"{_real_home() / name} in the real home"
    for name in sorted(_temporary() - before.temporary):
        yield f"{Path(tempfile.gettempdir()) / name}"
    for name in _semaphores_left(before, directory):
        yield f"semaphore {_SEMAPHORES / name}"


def _settled(look: Callable[[], list[str]]) -> list[str]:
    """Look until nothing is found or the grace is over: what a dead process held is freed after its death."""
    deadline = time.monotonic() + processes.GRACE_S
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def _removed(before: Snapshot, directory: Path | None) -> None:
    # First: whose they are is known by a directory that is removed next.
    for name in _semaphores_left(before, directory):
        (_SEMAPHORES / name).unlink(missing_ok=True)
    for name in _temporary() - before.temporary:
        path = Path(tempfile.gettempdir()) / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def left_since(before: Snapshot, directory: Path | None) -> list[str]:
    """Describe what is here now and was not `before`; `directory` is the test's own, if it has one."""
    left = _left_processes(before, directory)
    left += _settled(lambda: list(_left_files(before, directory)))
    _removed(before, directory)
    return left


def pytest_configure(config: pytest.Config) -> None:
    """Give this worker a temporary directory of its own, short because socket paths end at 108 bytes."""
    # Where pytest keeps its own directories must not move along.
    os.environ.setdefault(_TEMPORARY_ROOT, tempfile.gettempdir())
    own = Path(tempfile.mkdtemp(prefix="t", dir=os.environ[_TEMPORARY_ROOT]))
    config.stash[_own_temporary] = own
    os.environ["TMPDIR"] = str(own)
    tempfile.tempdir = None
    # CPython's own default is the same for every program (multiprocessing.synchronize, SemLock).
    getattr(process.current_process(), "_config", {})["semprefix"] = f"/{own.name}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it."""
    own = config.stash.get(_own_temporary, None)
    if own is not None:
        os.environ["TMPDIR"] = os.environ[_TEMPORARY_ROOT]
        tempfile.tempdir = None
        shutil.rmtree(own, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look before any fixture is made."""
    item.stash[_before] = snapshot()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Look again after the last fixture is gone."""
    directory = getattr(item, "funcargs", {}).get("tmp_path")
    yield
    before = item.stash.get(_before, None)
    if before is None:
        return
    left = left_since(before, directory)
    if left:
        pytest.fail("left behind by this test:\n  " + "\n  ".join(left), pytrace=False)
