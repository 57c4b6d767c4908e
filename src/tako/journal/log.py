"""The journal's file: one JSON object a line with a CRC, appended with one write.

Who holds the file's lock may write, nobody else. Who takes over first cuts the file after its
last good newline: a line without newline was torn by a crash and never counted. A line with
newline and a wrong checksum is damage, and an error that names it. Room for the final records
is reserved beforehand, so that a full disk can still be written down.
"""

from __future__ import annotations

import errno
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Self

from tako.errors import HeldError, MachineError, NotFoundError
from tako.journal import plain
from tako.journal.codec import UnknownRecordError, decode, encode
from tako.journal.order import Order
from tako.journal.records import Record, RunFinished, RunSettled, RunStarted
from tako.system import crash_points
from tako.system.libc import reserve
from tako.system.storage.writing import disk_full, holder_of, is_full, open_plain, try_lock, write_failed

#: Bytes kept allocated behind the end for the records that say how it ended.
RESERVE = 32 * 1024
_RESERVE_STEP = 64 * 1024
#: The unit of st_blocks: stat(2).
_BLOCK = 512
#: Less than this kept beyond the end is nothing to give back.
_PAGE = 4096
_CRC_KEY = b',"crc":"'
_CRC_END = b'"}'
_TAIL = len(_CRC_KEY) + 8 + len(_CRC_END)
#: Lines that are not taken apart again when a journal is: those of a fan-out to 2,000 children, some MB.
_LINES_KNOWN = 4096
#: A longer line, in bytes, would cost more memory than time.
_LINE_KNOWN_MAX = 2048


#: What reading a line raises that is not what was written; deeply nested JSON among them.
_DAMAGE = (ValueError, TypeError, KeyError, OverflowError, RecursionError)


class JournalDamagedError(MachineError):
    """A line of a journal that was written whole is not what was written, or not where it was written."""


def _damaged(where: str, error: Exception) -> JournalDamagedError:
    if isinstance(error, UnknownRecordError):
        return JournalDamagedError(f"{where}: {error}", hint="use the tako that wrote it, or a newer one")
    hint = "restore that file if you have a copy of it; other runs are not touched by this"
    return JournalDamagedError(f"the journal is damaged: {where}: {error}", hint=hint)


def line_of(record: Record) -> bytes:
    """One record as it stands in the file, newline included."""
    body = plain.to_bytes(encode(record))
    return body[:-1] + _CRC_KEY + b"%08x" % zlib.crc32(body) + _CRC_END + b"\n"


def record_of(line: bytes) -> Record | None:
    """Undo `line_of` (without the newline); raises `ValueError` for anything else."""
    return _remembered(line) if len(line) <= _LINE_KNOWN_MAX else _taken_apart(line)


@lru_cache(maxsize=_LINES_KNOWN)
def _remembered(line: bytes) -> Record | None:
    return _taken_apart(line)


def _taken_apart(line: bytes) -> Record | None:
    body, tail = line[:-_TAIL] + b"}", line[-_TAIL:]
    if not tail.startswith(_CRC_KEY) or not tail.endswith(_CRC_END):
        message = "the checksum is missing"
        raise ValueError(message)
    if tail != _CRC_KEY + b"%08x" % zlib.crc32(body) + _CRC_END:
        message = "the checksum is wrong"
        raise ValueError(message)
    return decode(plain.from_bytes(body))


class Reader:
    """Reads a journal from where it stopped the last time; never writes, needs no lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line = 0
        self._last = b""
        self._order = Order()
        #: Bytes up to the last good newline.
        self.offset = 0

    def skip_before_last(self, kind: type[Record]) -> None:
        """Begin with the last record of a kind, if there is one: what stands before is not taken apart."""
        with suppress(NotFoundError):
            lines = list(self._new_lines())
            start = b'{"kind":"%s",' % kind.__name__.encode()
            at = next((at for at in reversed(range(len(lines))) if lines[at].startswith(start)), 0)
            self._line, self.offset = at, sum(len(line) + 1 for line in lines[:at])
            self._order = Order(begun=at > 0)

    def new_records(self) -> Iterator[Record]:
        """Give what was appended since the last call, without a torn last line; a doubled line counts once.

        Raises `NotFoundError` if there is no journal, `JournalDamagedError` naming the bad line.
        """
        for line in self._new_lines():
            self._line += 1
            if line == self._last:
                # Written twice by whatever happened to the file: it still happened once.
                continue
            self._last = line
            try:
                record = record_of(line)
                if record is not None:
                    self._order.check(record)
            except _DAMAGE as error:
                where = f"{self._path}, line {self._line}"
                raise _damaged(where, error) from error
            if record is not None:
                yield record

    def _new_lines(self) -> Iterator[bytes]:
        """One after the other: a journal may be larger than memory."""
        try:
            file = io.BufferedReader(open_plain(self._path))
        except FileNotFoundError:
            message = f"there is no journal at {self._path}"
            raise NotFoundError(message) from None
        with file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
                yield line[:-1]


def read_records(path: Path) -> Iterator[Record]:
    """All records of a journal; errors as `Reader.new_records`."""
    return Reader(path).new_records()


_ENDS_READ = 1 << 20
_SETTLED = b'{"kind":"RunSettled",'
#: More than a `RunSettled` has.
_SETTLED_MAX = 4096


def read_ends(path: Path) -> tuple[Record | None, Record | None]:
    """The first and the last whole record, without reading what is between; None for what is not there.

    A record of more than 1 MiB at the end is not found. Raises `JournalDamagedError`.
    """
    try:
        with io.BufferedReader(open_plain(path)) as file:
            first = file.readline()
            start = max(0, file.seek(0, os.SEEK_END) - _ENDS_READ)
            file.seek(start)
            # What is read may begin in the middle of a line.
            tail = file.read().split(b"\n")[1 if start else 0 :]
    except FileNotFoundError:
        return None, None
    whole = tail[:-1]
    try:
        return (
            record_of(first[:-1]) if first.endswith(b"\n") else None,
            record_of(whole[-1]) if whole else None,
        )
    except _DAMAGE as error:
        raise _damaged(str(path), error) from error


def read_settled(path: Path) -> RunSettled | None:
    """The last record if a run is settled, else None; nothing else is taken apart.

    Raises `JournalDamagedError` if what looks like that record is damaged, `OSError` for what cannot be read.
    """
    with open_plain(path) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _SETTLED_MAX))
        last = file.read().rpartition(b"\n")[0].rpartition(b"\n")[2]
    if not last.startswith(_SETTLED):
        return None
    try:
        record = record_of(last)
    except _DAMAGE as error:
        raise _damaged(str(path), error) from error
    return record if isinstance(record, RunSettled) else None


class Writer:
    """The right to append to one journal; use as a context manager."""

    def __init__(self, path: Path, *, keep_room: bool = True) -> None:
        """Open and lock the journal, made if missing, and cut a torn last line.

        Without `keep_room` final records get what room there is: for who writes nothing else.
        Raises `HeldError` if another process holds it, `DiskFullError` without room for final records,
        `JournalDamagedError` as reading does, `MachineError`. `records` holds what stood in it.
        """
        self._path = path
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            if is_full(error):
                raise disk_full(error, path) from error
            message = f"the journal {path} cannot be opened: {error.strerror}"
            raise MachineError(message) from error
        self._reserved = 0
        try:
            self._lock()
            reader = Reader(path)
            self.records = list(reader.new_records())
            self._size = reader.offset
            self._ends: list[Record] = self.records[:1] + self.records[-1:]
            with self._failing():
                self._take_over(keep_room=keep_room)
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self) -> None:
        crash_points.before("lock", "journal")
        if not try_lock(self._fd):
            message = f"{holder_of(self._fd)} is executing this run ({self._path})"
            raise HeldError(message)
        crash_points.after("lock", "journal")

    def _take_over(self, *, keep_room: bool) -> None:
        """Cut a torn line; go on with the room that the writer before left, or reserve it."""
        status = os.fstat(self._fd)
        if status.st_size != self._size:
            os.ftruncate(self._fd, self._size)
            status = os.fstat(self._fd)
        self._reserved = status.st_blocks * _BLOCK
        if keep_room and not self._is_over():
            self._keep_room(RESERVE)

    def _is_over(self) -> bool:
        """Whether nobody will have to write down how the run ended: a child has, or the tree is settled."""
        if not self._ends:
            return False
        first, last = self._ends[0], self._ends[-1]
        is_child = isinstance(first, RunStarted) and first.parent_run_id != ""
        return isinstance(last, RunSettled) or (is_child and isinstance(last, RunFinished))

    def append(self, record: Record, *, final: bool = False) -> None:
        """Add one record; `final` ones may use the reserved room.

        Raises `DiskFullError`, or another `WriteFailedError`; the file then ends with the record before.
        """
        line = line_of(record)
        what = "append", type(record).__name__, getattr(record, "step", "")
        with self._failing():
            if not final:
                self._keep_room(len(line) + RESERVE)
            crash_points.before(*what)
            self._write(line)
        crash_points.after(*what)
        self._size += len(line)
        self._ends = [*self._ends[:1], record]

    def sync(self) -> None:
        """Return when everything appended will survive a power cut (fdatasync(2)).

        Raises `WriteFailedError`, once for what is lost: the kernel tells of it only once.
        """
        with self._failing():
            os.fdatasync(self._fd)

    def close(self) -> None:
        """Give back the right to write, and the reserved room if nobody needs it after this."""
        if self._fd >= 0:
            if self._is_over() and self._reserved >= self._size + _PAGE:
                with suppress(OSError):
                    os.ftruncate(self._fd, self._size)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        """Give the open writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _keep_room(self, length: int) -> None:
        if self._size + length <= self._reserved:
            return
        try:
            reserve(self._fd, self._size, length + _RESERVE_STEP)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
                raise
        self._reserved = self._size + length + _RESERVE_STEP

    def _write(self, line: bytes) -> None:
        if os.write(self._fd, line) < len(line):
            os.ftruncate(self._fd, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Name the journal in what cannot be written of it."""
        try:
            yield
        except OSError as error:
            raise write_failed(error, self._path) from error
