"""The permissions of a step, as one frozen value; each level's launcher turns it into operations.

workflow, step, repository quota, user settings ──▶ Policy ──▶ launch of a level ──▶ Started
"""

from __future__ import annotations

from collections.abc import Mapping

from tako.values import field, value

#: The isolation levels, weakest first; each adds to the one before.
AUTO = "auto"
PROCESS, LANDLOCK, NAMESPACE = "process", "landlock", "namespace"
LEVELS = (PROCESS, LANDLOCK, NAMESPACE)


@value
class Limits:
    """The limits of one step; None is unlimited, or tako's own limit.

    The first five are rlimits of each of its processes, soft and hard (getrlimit(2)): CPU time in seconds,
    sizes in bytes; `processes` is the user's total, counted in tasks. The others, and CPU time too, bound the
    step's whole process tree: bytes of memory, bytes on disk, tasks (processes and threads), CPUs.
    """

    cpu_s: int | None = None
    file_size: int | None = None
    open_files: int | None = None
    processes: int | None = None
    address_space: int | None = None
    memory: int | None = None
    #: Whether somebody declared it, so that the kernel shall keep it where it can.
    memory_declared: bool = False
    disk: int | None = None
    tasks: int | None = None
    cpus: float | None = None
    #: Bytes of the disk that are not for runs; None for steps that nobody stops for them.
    min_free: int | None = None


@value
class Mount:
    """One path of this machine and where the step sees it; `writable` or read-only."""

    source: str
    target: str
    writable: bool = False


@value
class Policy:
    """One step's process: what it is given, sees, may write and use.

    `directory` and the environment's values are paths as the step sees them. `mounts` are applied in order;
    a level that cannot move paths (landlock) allows each source where it is.
    """

    #: Not shown: it may hold secrets.
    environment: Mapping[str, str] = field(repr=False)
    directory: str
    mounts: tuple[Mount, ...] = ()
    #: Symbolic links as (path, what it points to), for instance /bin to usr/bin.
    links: tuple[tuple[str, str], ...] = ()
    network: str = "default"
    limits: Limits = field(factory=Limits)
    #: -1 keeps the user's own, for the steps of a root run in the user's checkout.
    umask: int = 0o077
    #: Control groups that the step's processes are born in.
    groups: tuple[str, ...] = ()
    #: The terminal (its path here) that is the step's own and its standard streams; empty: these are pipes.
    terminal: str = ""
    #: Without a terminal: whether stdin is a pipe too, instead of /dev/null.
    reads: bool = False
