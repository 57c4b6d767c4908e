"""Who executes a root run: the lock in its directory, and whose it was last.

The root process holds `lock` from its first to its last moment, and the reaper while it works: who has it is
the only one that may change the run. What stands in the file tells where the last owner lived, never whether
it lives.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable

from tako.errors import HeldError, MachineError, NotFoundError, TakoError
from tako.journal.codec import structure
from tako.layout.run import RunDirectory
from tako.system import crash_points
from tako.system.process.identity import Identity, own_identity, whereabouts
from tako.system.storage.faults import fault_of
from tako.system.storage.writing import holder_of, is_locked, open_plain, read_plain, try_lock, try_share
from tako.values import asdict, value


@value
class Owner:
    """The root process of a run, and the private directory of its `tako exec`."""

    identity: Identity
    temporary: str


def claim(paths: RunDirectory) -> int | None:
    """Take a root run's lock, which is made if it is missing; gives the open file, None if another has it.

    None too if the directory was moved away meanwhile. Raises `OSError` if the lock cannot be opened, or if
    locks do not work on that file system: others would take the run for dead.
    """
    descriptor = _locked(paths, try_lock)
    if descriptor is not None and not is_locked(paths.lock):
        os.close(descriptor)
        raise OSError(errno.ENOLCK, "locks do not work on this file system", os.fspath(paths.lock))
    return descriptor


def share(paths: RunDirectory) -> int | None:
    """Keep everybody from having a root run's lock, together with others who do; gives what `claim` gives.

    A run that is only shared does not count as living.
    """
    return _locked(paths, try_share)


def _locked(paths: RunDirectory, take: Callable[[int], bool]) -> int | None:
    try:
        descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        return None
    crash_points.before("lock", "run")
    try:
        if take(descriptor) and _is_in_place(descriptor, paths):
            crash_points.after("lock", "run")
            return descriptor
    except OSError as error:
        os.close(descriptor)
        raise OSError(error.errno, error.strerror, os.fspath(paths.lock)) from error
    os.close(descriptor)
    return None


def held_error(paths: RunDirectory) -> TakoError:
    """The failure to raise when a root run's lock could not be had: who has it, or that the run is gone."""
    try:
        with open_plain(paths.lock) as lock:
            message = f"run {paths.run_id} is held by {holder_of(lock.fileno())}"
    except FileNotFoundError:
        message = f"run {paths.run_id} is gone: it was removed meanwhile"
        return NotFoundError(message, hint="`tako runs` lists those that there are")
    return HeldError(message, hint="wait for it, or end it first")


def lock_error(paths: RunDirectory, error: OSError) -> MachineError:
    """The failure to raise when a root run's lock cannot be opened."""
    message = f"the lock of run {paths.run_id} cannot be opened: {paths.lock}: {error.strerror}"
    fault = fault_of(error)
    return MachineError(message, hint=fault.hint if fault else "it has to be a file, as tako made it")


def _is_in_place(descriptor: int, paths: RunDirectory) -> bool:
    """Whether what was locked is still the run's lock, and not one in the trash."""
    try:
        found = os.stat(paths.lock)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def declare(descriptor: int, temporary: str) -> None:
    """Write into a lock just taken that it belongs to this process."""
    data = json.dumps(asdict(Owner(own_identity(), temporary))).encode()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, data, 0)


def owner_of(paths: RunDirectory) -> Owner | None:
    """The last owner; None if nobody has declared itself, or was killed while it did."""
    try:
        owner: Owner = structure(json.loads(read_plain(paths.lock)), Owner)
    except (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return owner


def is_elsewhere(paths: RunDirectory) -> bool:
    """Whether the last owner declared itself on another machine or in another pid namespace."""
    owner = owner_of(paths)
    return owner is not None and whereabouts(owner.identity) != ""
