"""What this machine has, for a person to read: CPUs, memory, and the file system of a directory.

In: a directory. Out: a `Machine`, read now. psutil knows how each kernel names these.
Its import takes 50 ms, so that only `tako doctor` asks here.
"""

from __future__ import annotations

import os
from pathlib import Path

from tako.values import value


@value
class Machine:
    """What there is, sizes in bytes; `cpus` are those that this process may use."""

    cpus: int
    memory: int
    memory_available: int
    #: The type of the directory's file system as mount(8) names it; empty if nobody can tell.
    file_system: str
    disk: int
    disk_free: int


def machine_of(directory: Path) -> Machine:
    """Look at the machine and at the file system of a directory; raises `OSError` if that cannot be read."""
    import psutil

    memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(directory))
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        memory=memory.total,
        memory_available=memory.available,
        file_system=_file_system(directory),
        disk=disk.total,
        disk_free=disk.free,
    )


def _file_system(directory: Path) -> str:
    """The type of what is mounted at or above the directory, and was mounted there last."""
    import psutil

    place = Path(os.path.realpath(directory))
    above = [found for found in psutil.disk_partitions(all=True) if place.is_relative_to(found.mountpoint)]
    nearest = max((len(Path(found.mountpoint).parts) for found in above), default=0)
    types = [found.fstype for found in above if len(Path(found.mountpoint).parts) == nearest]
    return types[-1] if types else ""
