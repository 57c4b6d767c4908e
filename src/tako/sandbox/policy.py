"""What a step is allowed, as one frozen value; a launcher for each level turns it into operations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen


@frozen
class Limits:
    """rlimits of a step, each soft and hard (getrlimit(2)); None leaves what tako was given.

    CPU time in seconds, file size in bytes; `processes` is the user's total, counted in tasks.
    """

    cpu_s: int | None = None
    file_size: int | None = None
    open_files: int | None = None
    processes: int | None = None


@frozen
class Policy:
    """One step's process: its environment and directory."""

    environment: Mapping[str, str]
    directory: Path
    umask: int = 0o077
