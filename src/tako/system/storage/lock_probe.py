"""Finds out whether record locks between processes work on a file system.

Some network and FUSE file systems grant every lock to everybody, or refuse them all; on these a
shared cache would be damaged in silence. In: a directory. Raises `MachineError` if locks do not work.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

from tako.errors import MachineError
from tako.system import crash_points
from tako.system.process.identity import own_identity
from tako.system.storage.writing import make_private, read_plain, write_whole
from tako.system.user_environment import helper_environment, user_environment

_TIMEOUT_S = 60
# Two processes are needed: one process never conflicts with its own record locks (fcntl(2)).
_OTHER = """
import fcntl, sys
def attempt():
    with open(sys.argv[1], "a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return "refused"
        return "granted"
print(attempt(), flush=True)
sys.stdin.readline()
print(attempt(), flush=True)
"""
_HINT = "put TAKO_HOME or --cache-dir on a local file system"


def _place(directory: Path) -> str:
    return f"{directory.stat().st_dev} {own_identity().boot}"


def _ask_other_process(path: Path) -> tuple[str, str]:
    """Return what another process gets while this one holds the lock, and after it let go."""
    with path.open("a+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        crash_points.before("start", "lock probe")
        other = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _OTHER, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=helper_environment(user_environment()),
        )
        crash_points.after("start", "lock probe")
        with other:
            # One short line comes in one read(2); what comes later is left to `communicate`.
            during = os.read(_descriptor(other.stdout), 100).decode().strip()
            fcntl.lockf(file, fcntl.LOCK_UN)
            after, _ = other.communicate(b"\n", timeout=_TIMEOUT_S)
    return during, after.decode().strip()


def _descriptor(pipe: IO[bytes] | None) -> int:
    return -1 if pipe is None else pipe.fileno()


def probe_locks(directory: Path, *, remember: Path | None = None) -> None:
    """Raise `MachineError` if locks do not work in `directory`, which is made if missing.

    With a file `remember`, a success is not tried again in the same boot and on the same device.
    """
    make_private(directory)
    place = _place(directory)
    if remember is not None:
        with suppress(OSError, ValueError):
            if read_plain(remember).decode() == place:
                return
    _check(directory)
    if remember is not None:
        make_private(remember.parent)
        write_whole(remember, place.encode())


def _check(directory: Path) -> None:
    # A file of its own for each process, so that two that probe at once do not refuse each other.
    path = directory / f".probe-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        answers = _ask_other_process(path)
    except OSError as error:
        message = f"locks do not work in {directory}: {error.strerror or error}"
        raise MachineError(message, hint=_HINT) from error
    finally:
        path.unlink(missing_ok=True)
    if answers != ("refused", "granted"):
        message = f"locks do not work in {directory}: another process was {answers[0]} a lock held here"
        raise MachineError(message, hint=_HINT)
