"""Whether directories have changed, by names, kinds, modes, sizes and times of all that lies in them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def stamp_of(tops: Iterable[Path]) -> str:
    """Equal while nothing in there is made, written, renamed or removed; leaves out what cannot be read."""
    digest = hashlib.sha256()
    for top in tops:
        for directory, names, files in os.walk(top):
            names.sort()
            for name in (".", *names, *sorted(files)):
                path = os.path.join(directory, name)
                with suppress(OSError):
                    found = os.lstat(path)
                    told = (path, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ino)
                    digest.update(repr(told).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
