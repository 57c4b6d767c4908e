"""Reader/writer locks between processes, one for each repository of the cache.

In: repositories. Out: context managers: shared to take a snapshot, exclusive to fetch or
prune. A process that cannot have a lock at once reports its holder, and waits up to the timeout, after
which a `MachineError` names the holder. A lock ends with its holder, however that ends.

`fasteners.InterProcessReaderWriterLock` alone lets writers starve beside overlapping readers; here
everyone passes a gate lock first, and a writer holds the gate while the readers before it leave.
It sits on fcntl(2) record locks, which one process cannot hold twice and which vanish when *any*
descriptor of the file is closed; here each process has one lock object a path, owned by one thread at
a time, and nobody else ever opens the file.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tako.errors import BugError, MachineError
from tako.layout.cache import CacheLayout
from tako.repositories.reference import Repository
from tako.system import crash_points
from tako.system.storage.lock_probe import probe_locks
from tako.system.storage.writing import make_private, open_plain, read_plain
from tako.values import value

if TYPE_CHECKING:
    import fasteners

# struct flock of 64-bit Linux: type, whence, start, length, pid.
_FLOCK = "hhqqi4x"
_DELAY_S = 0.005
_MAX_DELAY_S = 0.05
_HINT = "it is free as soon as its holder ends; a longer --lock-timeout waits longer"


class _PathLock:
    """The one lock object of this process for one path."""

    def __init__(self, path: Path) -> None:
        import fasteners

        self.path = path
        self.thread = threading.Lock()
        self.gate = fasteners.InterProcessLock(f"{path}.gate")
        self.lock = fasteners.InterProcessReaderWriterLock(path)


class _Process:
    """The locks of this process and its threads; a forked child starts anew."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.locks: dict[Path, _PathLock] = {}
        self.thread = threading.local()

    def lock(self, path: Path) -> _PathLock:
        with self.guard:
            if path not in self.locks:
                make_private(path.parent)
                _refuse_irregular(path)
                self.locks[path] = _PathLock(path)
            return self.locks[path]


def _refuse_irregular(path: Path) -> None:
    """Raise `MachineError` for a lock that is no file: opening a FIFO would wait for ever."""
    for each in (path, path.with_name(f"{path.name}.gate")):
        try:
            if os.path.lexists(each):
                open_plain(each, os.O_RDWR).close()
        except OSError as error:
            message = f"the lock {each} cannot be used: {error.strerror}"
            hint = f"if no tako runs, remove it: rm -r {shlex.quote(str(each))}"
            raise MachineError(message, hint=hint) from error


_process = _Process()


def _forget() -> None:
    # fcntl(2) locks are not inherited, but the objects that believe to hold them are.
    global _process  # noqa: PLW0603 - the state is the process's own
    _process = _Process()


os.register_at_fork(after_in_child=_forget)


@value
class Holder:
    """The holder of a lock, as its process wrote it after it got the lock."""

    pid: int
    run_id: str = ""
    command: str = ""

    def __str__(self) -> str:
        """Return `process 123 (tako exec, run exec-...)`."""
        run = f"run {self.run_id}" if self.run_id else ""
        known = ", ".join(part for part in (self.command, run) if part)
        return f"process {self.pid} ({known})" if known else f"process {self.pid}"


def _holder_file(path: Path, pid: int) -> Path:
    return path.with_name(f"{path.name}.holder-{pid}")


def _own_command() -> str:
    # Only the words of the command: what follows may hold secrets.
    words = [Path(sys.argv[0] or "python").name]
    for argument in sys.argv[1:3]:
        if not argument.isalpha():
            break
        words.append(argument)
    return " ".join(words)


def _write_holder(path: Path) -> None:
    record = {"run_id": os.environ.get("TAKO_RUN_ID", ""), "command": _own_command()}
    # Best effort: it only serves the message that others see.
    with suppress(OSError):
        _holder_file(path, os.getpid()).write_text(json.dumps(record))


def _remove_holder(path: Path) -> None:
    with suppress(OSError):
        _holder_file(path, os.getpid()).unlink()


def _remove_dead_holders(path: Path) -> None:
    """Remove leftovers of killed holders; only for the exclusive holder."""
    with suppress(OSError):
        for left in path.parent.glob(f"{path.name}.holder-*"):
            left.unlink()


def _read_holder(path: Path, pid: int) -> Holder:
    with suppress(OSError, ValueError, AttributeError):
        record = json.loads(read_plain(_holder_file(path, pid)))
        return Holder(pid, str(record.get("run_id", "")), str(record.get("command", "")))
    return Holder(pid)


def _holding_pid(path: Path) -> int:
    """Ask the kernel for the pid whose lock prevents a write lock: fcntl(2), F_GETLK; 0 is unknown.

    Only for the thread that owns the path's lock object and does not hold the lock: closing drops it.
    """
    question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    with suppress(OSError), open_plain(path) as file:
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, question))
        return int(pid) if kind != fcntl.F_UNLCK else 0
    return 0


def _who_holds(path: Path) -> str:
    pid = _holding_pid(path)
    return str(_read_holder(path, pid)) if pid else "another process"


@value
class _Request:
    """One wish for one lock."""

    repository: Repository
    path: Path
    exclusive: bool
    deadline: float

    @property
    def left_s(self) -> float:
        return max(0.0, self.deadline - time.monotonic())


class LockManager:
    """Hands out the locks of one cache.

    `timeout_s` bounds the wait for each; `on_wait` gets, once for each wait, a message with the holder.
    """

    def __init__(self, layout: CacheLayout, timeout_s: float, on_wait: Callable[[str], None]) -> None:
        self._layout = layout
        self._timeout_s = timeout_s
        self._on_wait = on_wait
        self._probed = False

    @contextmanager
    def shared(self, repository: Repository) -> Iterator[None]:
        """Hold the lock together with other readers; raises `MachineError` when the time is over."""
        with self._held(repository, exclusive=False):
            yield

    @contextmanager
    def exclusive(self, repository: Repository) -> Iterator[None]:
        """Hold the lock alone; raises `MachineError` when the time is over."""
        with self._held(repository, exclusive=True):
            yield

    @contextmanager
    def _held(self, repository: Repository, *, exclusive: bool) -> Iterator[None]:
        process = _process
        held = getattr(process.thread, "held", None)
        if held is not None:
            message = f"the lock of {repository.text} is wanted while this thread holds that of {held}"
            raise BugError(message)
        self._probe()
        path = self._layout.lock(repository.owner_part, repository.name_part)
        request = _Request(repository, path, exclusive, time.monotonic() + self._timeout_s)
        process.thread.held = repository.text
        try:
            with self._acquired(process.lock(path), request):
                yield
        finally:
            process.thread.held = None

    def _probe(self) -> None:
        if not self._probed:
            probe_locks(self._layout.locks, remember=self._layout.locks_probed)
            self._probed = True

    @contextmanager
    def _acquired(self, lock: _PathLock, request: _Request) -> Iterator[None]:
        if not lock.thread.acquire(blocking=False):
            self._tell(request, "another thread of this process")
            if not lock.thread.acquire(timeout=request.left_s):
                raise self._late(request, "another thread of this process")
        try:
            crash_points.before("lock", lock.path.name)
            self._pass_gate(lock, request)
            crash_points.after("lock", lock.path.name)
            _write_holder(lock.path)
            try:
                yield
            finally:
                _remove_holder(lock.path)
                _release(lock.lock, exclusive=request.exclusive)
        finally:
            lock.thread.release()

    def _pass_gate(self, lock: _PathLock, request: _Request) -> None:
        """Get the lock itself, behind the gate, so that earlier waiters go first."""
        told = False
        crash_points.before("lock", f"{lock.path.name}.gate")
        if not lock.gate.acquire(blocking=False):
            told = True
            # Whoever stands in the gate waits as well; the one to name holds the lock itself.
            self._tell(request, _who_holds(lock.path))
            if not _wait_for_gate(lock.gate, request.left_s):
                _close(lock.gate)
                raise self._late(request, _who_holds(lock.path))
        crash_points.after("lock", f"{lock.path.name}.gate")
        try:
            self._take(lock, request, told=told)
        finally:
            lock.gate.release()
        if request.exclusive:
            _remove_dead_holders(lock.path)

    def _take(self, lock: _PathLock, request: _Request, *, told: bool) -> None:
        acquire = lock.lock.acquire_write_lock if request.exclusive else lock.lock.acquire_read_lock
        if acquire(blocking=False):
            return
        if not told:
            self._tell(request, _who_holds(lock.path))
        if not acquire(delay=_DELAY_S, max_delay=_MAX_DELAY_S, timeout=request.left_s):
            _close(lock.lock)
            raise self._late(request, _who_holds(lock.path))

    def _tell(self, request: _Request, who: str) -> None:
        how = "exclusive" if request.exclusive else "shared"
        self._on_wait(
            f"waiting for the {how} lock of {request.repository.text}, held by {who}"
            f" (at most {self._timeout_s:g} s)"
        )

    def _late(self, request: _Request, who: str) -> MachineError:
        message = f"the lock of {request.repository.text} is still held by {who} after {self._timeout_s:g} s"
        return MachineError(message, hint=_HINT)


def _wait_for_gate(gate: fasteners.InterProcessLock, timeout_s: float) -> bool:
    return bool(gate.acquire(delay=_DELAY_S, max_delay=_MAX_DELAY_S, timeout=timeout_s))


def _release(lock: fasteners.InterProcessReaderWriterLock, *, exclusive: bool) -> None:
    if exclusive:
        lock.release_write_lock()
    else:
        lock.release_read_lock()


def _close(lock: fasteners.InterProcessLock | fasteners.InterProcessReaderWriterLock) -> None:
    """Close the file that an attempt without success leaves open."""
    if lock.lockfile is not None:
        lock.lockfile.close()
        lock.lockfile = None
