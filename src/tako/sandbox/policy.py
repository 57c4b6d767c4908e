"""What a step is allowed, as one frozen value; a launcher for each level turns it into operations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from tako.values import FrozenValue


@frozen(eq=False, repr=False)
class Limits(FrozenValue):
    """rlimits of a step, each soft and hard (getrlimit(2)); None leaves what tako was given.

    CPU time in seconds, file size in bytes; `processes` is the user's total, counted in tasks.
    """

    cpu_s: int | None = None
    file_size: int | None = None
    open_files: int | None = None
    processes: int | None = None


@frozen(eq=False, repr=False)
class Policy(FrozenValue):
    """One step's process: its environment and directory."""

    environment: Mapping[str, str]
    directory: Path
    umask: int = 0o077
