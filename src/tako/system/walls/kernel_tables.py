"""The kernel's own tables in /proc (proc(5))."""

from __future__ import annotations

import os
import stat

_PROC = "/proc"


def closed_tables(top: str = _PROC) -> tuple[str, ...]:
    """Return the tables that only root may read, sorted.

    Where the others have no rights, root needs no capability for most of them: uid 0 owns them,
    also in a user namespace.
    """
    with os.scandir(top) as entries:
        # Processes come and go meanwhile, and have no tables of the machine's.
        lasting = [entry for entry in entries if not entry.name.isdigit()]
        tables = [entry for entry in lasting if entry.is_file(follow_symlinks=False)]
    return tuple(sorted(entry.path for entry in tables if not entry.stat().st_mode & stat.S_IROTH))
