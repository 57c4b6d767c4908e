"""What a `tako exec` has outside of TAKO_HOME: its private directory, and the semaphores named after it.

In: what journals and locks say of it. Out: what is there and is ours. A journal may say anything: what has
not the form that tako gives it, is a link, or belongs to another user is never touched.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from tako.layout.machine import semaphores_of
from tako.layout.names import private_directory


def private_remains(told: Iterable[str]) -> list[Path]:
    """What is left of the private directories that are told, from themselves or from a TMPDIR in them."""
    directories = {directory for text in told if (directory := private_directory(text)) is not None}
    found = []
    for directory in sorted(directories):
        found += [directory] if _is_ours(directory, stat.S_ISDIR) else []
        found += [path for path in semaphores_of(directory) if _is_ours(path, stat.S_ISREG)]
    return found


def _is_ours(path: Path, is_kind: Callable[[int], bool]) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return is_kind(found.st_mode) and found.st_uid == os.getuid()
