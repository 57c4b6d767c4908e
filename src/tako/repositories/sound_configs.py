"""Which tako.yml of the cache were seen to have no mistake, by digest: they need not be parsed again.

In: the bytes of tako.yml files. Out: yes or no. A file that does not name the source of an event is parsed
only once in its life, and one with a mistake each time, so that it is named each time. What cannot be read
or written is forgotten: then a file is parsed once more.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from tako.errors import WriteFailedError
from tako.system.storage.writing import make_private, write_whole
from tako.version import VERSION

#: From so many on, those that were not asked for are forgotten.
_KNOWN_MAX = 50_000


class SoundConfigs:
    """The digests in one file, read when first needed.

    Its first line names the version of tako that looked.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: set[str] | None = None
        self._asked: set[str] = set()
        self._new: set[str] = set()

    def holds(self, data: bytes) -> bool:
        """Return whether this tako.yml was seen to have no mistake."""
        digest = hashlib.sha256(data).hexdigest()
        self._asked.add(digest)
        return digest in self._remembered() or digest in self._new

    def add(self, data: bytes) -> None:
        """It has none."""
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._remembered():
            self._new.add(digest)

    def save(self) -> None:
        """Write down what is new."""
        if not self._new:
            return
        known = self._remembered()
        if len(known) > _KNOWN_MAX:
            known &= self._asked
        known |= self._new
        with suppress(OSError, WriteFailedError):
            make_private(self._path.parent)
            write_whole(self._path, "\n".join([VERSION, *sorted(known)]).encode())
        self._new = set()

    def _remembered(self) -> set[str]:
        if self._known is None:
            self._known = set()
            with suppress(OSError):
                version, *digests = os.fsdecode(self._path.read_bytes()).split("\n")
                self._known = set(digests) if version == VERSION else set()
        return self._known
