"""Makes directory trees that are hard to handle."""

from __future__ import annotations

import os
from pathlib import Path


def make_deep(top: Path, depth: int) -> None:
    """Make `depth` directories named `d` in one another below `top`, and `deep.txt` in the last."""
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    file = os.open("deep.txt", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(file, b"deep")
    os.close(file)
    os.close(here)


def listing(top: Path) -> dict[str, str]:
    """Every path below `top`, with its type, permission bits, mtime and content."""
    found = {}
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = Path(directory, name)
            status = path.lstat()
            content = str(path.readlink()) if path.is_symlink() else ""
            content = path.read_bytes().hex() if path.is_file() and not content else content
            mode = 0 if path.is_symlink() else status.st_mode & 0o777
            kind = "l" if path.is_symlink() else "d" if path.is_dir() else "f"
            found[str(path.relative_to(top))] = f"{kind} {mode:o} {status.st_mtime_ns} {content}"
    return found
