"""Large values of an execution tree: each lies in one file, and journals refer to it by its digest.

In: plain JSON. Out: the same, or a `Stored` reference to `values/<sha256>.json` in the root run's directory.
A file is synced before anything can refer to it, and checked against its name when it is read. Storing fails
as writing does (`WriteFailedError`), reading with `StoredValueError`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tako.errors import MachineError
from tako.journal import plain
from tako.journal.parts import EventValue, Held, Stored
from tako.journal.records import EventEmitted, Record
from tako.layout.run import RunDirectory
from tako.system.storage.writing import sync_directory, write_failed, write_whole
from tako.values import evolve

#: Bytes of JSON from which a value gets a file: below this the file costs more than its copies in journals.
STORED_MIN = 4096
#: The payload and the inputs of one run.
_REMEMBERED = 2


class StoredValueError(MachineError):
    """A stored value is missing, or is not what was stored."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"the stored value {path} {problem}",
            hint="it was removed or changed after it was written; start a new run",
        )


class Values:
    """The values of one tree; may be used from one thread."""

    def __init__(self, run: RunDirectory) -> None:
        """`run` is any run of the tree; nothing is made before something is stored."""
        self._root = run.root
        self._durable: set[str] = set()
        self._read: dict[str, Mapping[str, Any]] = {}

    def keep(self, value: Mapping[str, Any]) -> Held:
        """Store a value that is large and give the reference; give back one that is small.

        Raises `WriteFailedError`.
        """
        data = plain.to_bytes(value)
        if len(data) < STORED_MIN:
            return value
        stored = Stored(hashlib.sha256(data).hexdigest(), len(data))
        if stored.sha256 not in self._durable:
            self._store(self._root.value(stored.sha256), data)
            self._durable.add(stored.sha256)
        return stored

    def keep_event(self, record: Record) -> Record:
        """Give a record whose event has its payload stored if that is large; any other as it is."""
        if not isinstance(record, EventEmitted) or isinstance(record.event.payload, Stored):
            return record
        return evolve(record, event=evolve(record.event, payload=self.keep(record.event.payload)))

    def _store(self, path: Path, data: bytes) -> None:
        try:
            if not self._root.values.exists():
                self._root.values.mkdir(mode=0o700, exist_ok=True)
                sync_directory(self._root.path)
            if not _holds(path, data):
                write_whole(path, data, sync=True)
            # Also for a file that is there: the process that made it may have been killed before this.
            sync_directory(self._root.values)
        except OSError as error:
            raise write_failed(error, path) from error

    def read(self, held: Held) -> Mapping[str, Any]:
        """Give the value behind a reference, or the value itself; it must not be changed.

        Raises `StoredValueError` naming the file.
        """
        if not isinstance(held, Stored):
            return held
        if held.sha256 not in self._read:
            value = _read(self._root.value(held.sha256), held)
            if len(self._read) >= _REMEMBERED:
                self._read.clear()
            self._read[held.sha256] = value
        return self._read[held.sha256]


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file is there, whole: what a crash or a hand has damaged is written again."""
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except FileNotFoundError:
        return False


def _read(path: Path, stored: Stored) -> Mapping[str, Any]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            # One byte more shows that it has grown.
            data = file.read(stored.size + 1)
    except FileNotFoundError:
        raise StoredValueError(path, "is missing") from None
    except OSError as error:
        raise StoredValueError(path, f"cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != stored.sha256:
        raise StoredValueError(path, "is damaged: its content does not have the SHA-256 that its name says")
    value: Mapping[str, Any] = plain.from_bytes(data)
    return value


def same_event(one: EventValue, other: EventValue) -> bool:
    """Whether two events are equal, also where one has its payload stored and the other has not."""
    if isinstance(one.payload, Stored) == isinstance(other.payload, Stored):
        return one == other
    return _by_digest(one) == _by_digest(other)


def _by_digest(event: EventValue) -> EventValue:
    if isinstance(event.payload, Stored):
        return event
    data = plain.to_bytes(event.payload)
    return evolve(event, payload=Stored(hashlib.sha256(data).hexdigest(), len(data)))
