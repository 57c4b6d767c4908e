"""A step's output on its way from the pipe to the log file, in constant memory.

Whole lines go on as they come; a line without newline waits until it is 64 KiB long or the
stream ends, so that lines of stdout and stderr do not mix and nothing is lost at the end. Secrets are
replaced right behind the pipe, before lines are made or anything is kept: so no sink can see one.
"""

from __future__ import annotations

import math
import os
from collections import deque
from pathlib import Path

from tako.engine.steps.outputs import OUTPUT_MAX, REGEX_WINDOW, StepRefusedError
from tako.errors import TakoError
from tako.journal.redaction.scrubber import NOTHING, Scrubber
from tako.system.accounting.usage import free_on_disk
from tako.system.process.pipes import waiting
from tako.system.storage.writing import disk_full, is_full, write_all, write_failed

#: Bytes read at once: the default capacity of a pipe (pipe(7)).
CHUNK = 64 * 1024
_TAIL_BYTES = 16 * 1024
LAST_LINES = 20
_LINE_SHOWN_MAX = 500


class OutputTooLargeError(StepRefusedError):
    """The log of a step would grow beyond the step's limit of file size, or into the reserve of the disk."""

    def __init__(self, message: str, limit: str, most: int | None) -> None:
        super().__init__(message)
        self.limit = limit
        self.most = most


class Log:
    """The log file of one step; keeps its end for the report of a failure."""

    def __init__(self, path: Path, *, most: int | None = None, min_free: int | None = None) -> None:
        """Open the file, made if missing; `most` bytes may be in it. Raises `DiskFullError`.

        Half of `min_free`, the disk's reserve, is left to journals.
        """
        self._path = path
        self._most = most
        self._min_free = min_free or 0
        self._unchecked = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            if is_full(error):
                raise disk_full(error, path) from error
            raise
        self._room = math.inf if most is None else max(0, most - os.fstat(self._fd).st_size)
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        #: Set when the file could not grow: the step is then ended by the ladder.
        self.failure: TakoError | None = None

    def write(self, data: bytes) -> None:
        """Append whole lines to the file."""
        self._remember(data)
        if self.failure:
            return
        if len(data) > self._room:
            data = data[: int(self._room)]
            said = "its output is larger than its limit of file size"
            self.failure = OutputTooLargeError(said, "file size", self._most)
        if self._is_in_reserve(len(data)):
            said = "its output finds no room: the disk has less free than half of min_free"
            self.failure = OutputTooLargeError(said, "min_free", self._min_free)
            return
        self._room -= len(data)
        try:
            write_all(self._fd, data)
        except OSError as error:
            self.failure = write_failed(error, self._path)

    def _is_in_reserve(self, size: int) -> bool:
        self._unchecked += size
        if not self._min_free or self._unchecked < CHUNK:
            return False
        self._unchecked = 0
        return free_on_disk(self._path) < self._min_free // 2 + size

    def _remember(self, data: bytes) -> None:
        self._tail.append(data[-_TAIL_BYTES:])
        self._tail_size += len(self._tail[-1])
        while self._tail_size - len(self._tail[0]) >= _TAIL_BYTES:
            self._tail_size -= len(self._tail.popleft())

    def last_lines(self) -> tuple[str, ...]:
        """The last 20 lines, each cut to 500 characters."""
        text = b"".join(self._tail)[-_TAIL_BYTES:].decode("utf-8", "replace")
        return tuple(line[:_LINE_SHOWN_MAX] for line in text.splitlines()[-LAST_LINES:])

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class Stream:
    """One of stdout and stderr: splits at lines for the log, keeps what outputs need."""

    def __init__(
        self,
        descriptor: int,
        log: Log,
        *,
        keep: bool,
        keep_end: bool = False,
        scrubber: Scrubber = NOTHING,
    ) -> None:
        self.descriptor = descriptor
        self.open = True
        self._log = log
        self._line = b""
        self._kept: bytearray | None = bytearray() if keep else None
        self._overflown = False
        self._end = bytearray() if keep_end else None
        self._scrubbed = scrubber.stream()
        os.set_blocking(descriptor, False)

    def read(self) -> bool:
        """Take what the pipe holds, at most one chunk; False when it is empty or at its end."""
        try:
            data = os.read(self.descriptor, CHUNK)
        except BlockingIOError:
            return False
        if not data:
            self.finish()
            return False
        self._take(self._scrubbed.feed(data) if self._scrubbed else data)
        return True

    def drain(self) -> None:
        """Take all that was written so far, and stop reading, whoever still has the pipe."""
        for _ in range(waiting(self.descriptor) // CHUNK + 1 if self.open else 0):
            if not self.read():
                break
        self.finish()

    def finish(self) -> None:
        """Write the line that has no newline, and stop reading."""
        if self.open:
            self.open = False
            if self._scrubbed:
                self._take(self._scrubbed.flush())
            if self._line:
                self._log.write(self._line + b"\n")

    @property
    def kept(self) -> bytes | None:
        """The whole stream if it was to be kept and is not larger than an output may be."""
        return None if self._overflown else bytes(self._kept or b"")

    @property
    def end(self) -> bytes:
        """The last MiB, if it was to be kept."""
        return bytes((self._end or b"")[-REGEX_WINDOW:])

    def _take(self, data: bytes) -> None:
        self._keep(data)
        self._pass_on(data)

    def _keep(self, data: bytes) -> None:
        if self._kept is not None and not self._overflown:
            self._kept += data
            self._overflown = len(self._kept) > OUTPUT_MAX + 2
        if self._end is not None:
            self._end += data
            if len(self._end) > 2 * REGEX_WINDOW:
                del self._end[:-REGEX_WINDOW]

    def _pass_on(self, data: bytes) -> None:
        cut = data.rfind(b"\n") + 1
        if cut:
            self._log.write(self._line + data[:cut])
            self._line = data[cut:]
        else:
            self._line += data
        if len(self._line) >= CHUNK:
            self._log.write(self._line)
            self._line = b""
