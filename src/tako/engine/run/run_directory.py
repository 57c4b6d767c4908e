"""A run's directory and its share of the machine, both made when the run starts."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from tako.config.schema import MinFree
from tako.errors import MachineError
from tako.layout.run import RunDirectory
from tako.sandbox.policy import Limits
from tako.system.accounting.usage import total_memory
from tako.system.process.descendants import user_tasks
from tako.system.storage.writing import disk_full, is_full, is_gone

_FILE_SIZE_MIN = 1 << 30
_PROCESSES = 4096
_MEMORY_MIN = 1 << 29
_NO_RESERVE = MinFree(0, None)


def make_directory(paths: RunDirectory) -> None:
    """Make a run's directory and what is in it from the start; what is there already is kept.

    Raises `DiskFullError` or `MachineError`.
    """
    try:
        paths.path.parent.mkdir(mode=0o700, exist_ok=True)
        for directory in (paths.path, paths.logs):
            directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        if is_full(error):
            raise disk_full(error, paths.path) from error
        message = f"the run directory cannot be made: {error}"
        raise MachineError(message) from error


def vanished(paths: RunDirectory, home: Path) -> MachineError:
    """The failure to raise if the run's directory, or all of `TAKO_HOME`, was moved away while it ran."""
    moved = home if is_gone(home) else paths.path
    message = f"{moved} vanished while run {paths.run_id} was under way: somebody moved or removed it"
    return MachineError(message, hint=f"move it back, then: tako exec --resume {paths.run_id}")


def machine_limits(directory: Path, jobs: int, min_free: MinFree = _NO_RESERVE) -> Limits:
    """What a step of a child gets when nothing is declared: the machine divided by the jobs.

    Never so little that ordinary builds would fail: 1 GiB of disk, half a GiB of memory.
    Open files are what the user's shell allows, because the root raises its own limit. RLIMIT_NPROC counts
    all tasks of the user, so that it is set relative to what runs already, and so high that all jobs together
    stay below it: who meets it was over its own limit before. It does not bind root (setrlimit(2),
    CAP_SYS_RESOURCE).
    """
    disk = os.statvfs(directory)
    file_size = max(_FILE_SIZE_MIN, disk.f_bavail * disk.f_frsize // jobs)
    processes = None if os.getuid() == 0 else user_tasks() + (jobs + 1) * _PROCESSES
    return Limits(
        file_size=file_size,
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        processes=processes,
        memory=max(_MEMORY_MIN, total_memory() // jobs),
        disk=file_size,
        tasks=_PROCESSES,
        min_free=min_free.of(disk.f_blocks * disk.f_frsize),
    )


def whole_machine(directory: Path) -> Limits:
    """All that this machine has for runs in `directory`: memory, free disk, the CPUs this process may use."""
    disk = os.statvfs(directory)
    return Limits(
        memory=total_memory(), disk=disk.f_bavail * disk.f_frsize, cpus=float(len(os.sched_getaffinity(0)))
    )
