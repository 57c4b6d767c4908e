"""What the root and the worker of one segment leave for each other, in two files in memory.

    root ── the segment ──▶ worker            given
    root ◀── who it is, what it came to ──    told
    root ── what it could not hear yet ──▶    told

In: descriptors that both have open (memfd_create(2)). Nothing blocks, whatever its size, and nothing of it
passes through another process: a secret in the segment is only ever in the memory of the worker that has it.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
from typing import TYPE_CHECKING, Any

from tako.system.storage.writing import memory_file, write_all_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tako.engine.run.spec import Segment
    from tako.system.process.identity import Identity

_LENGTH = struct.Struct("=Q")
#: Of `told`: a byte for each signal, then length and text of who the worker is, then of its last word.
_WHO, _WORD = 64, 4096
#: Of these the last one counts: they are left without their order.
_UNDOES = {signal.SIGTSTP: signal.SIGCONT, signal.SIGCONT: signal.SIGTSTP}


class Handover:
    """The two files, as either side has them open; whoever opened them closes them."""

    def __init__(self, given: int, told: int) -> None:
        self.descriptors = (given, told)

    @classmethod
    def of(cls, segment: Segment) -> Handover:
        """Make them for a segment."""
        return cls(memory_file("segment", pickle.dumps(segment)), memory_file("word", bytes(_WHO)))

    # --- the root's side ---

    def leave(self, number: int) -> None:
        """Leave a signal for a worker that may not hear yet."""
        if number in _UNDOES:
            os.pwrite(self.descriptors[1], b"\0", _UNDOES[signal.Signals(number)])
        os.pwrite(self.descriptors[1], b"\1", number)

    def who(self) -> Identity | None:
        """Who the worker is; None as long as it hears nothing."""
        said = self._read(_WHO)
        return pickle.loads(said) if said else None  # noqa: S301 - written by our own process

    def word(self) -> Any:  # noqa: ANN401 - whatever the worker said
        """What the worker said last; None if it said nothing."""
        said = self._read(_WORD)
        return pickle.loads(said) if said else None  # noqa: S301 - written by our own process

    # --- the worker's side ---

    def take(self) -> Segment:
        """The segment that was given."""
        with os.fdopen(os.dup(self.descriptors[0]), "rb", buffering=0) as file:
            segment: Segment = pickle.load(file)  # noqa: S301 - written by our own process
        return segment

    def hear(self, identity: Identity) -> Iterator[int]:
        """Say who hears signals from now on; gives those that were left until then.

        One that undoes another may be left and sent while that other is being taken in: it is given too.
        """
        self._write(_WHO, identity)
        taken: list[int] = []
        while (left := self._left()) != taken:
            yield from (number for number in left if number not in taken)
            taken = left

    def _left(self) -> list[int]:
        return [number for number, left in enumerate(os.pread(self.descriptors[1], _WHO, 0)) if left]

    def say(self, word: object) -> None:
        """Say the last word."""
        self._write(_WORD, word)

    def close(self) -> None:
        """Give the descriptors back."""
        for descriptor in self.descriptors:
            os.close(descriptor)

    def _write(self, offset: int, value: object) -> None:
        data, told = pickle.dumps(value), self.descriptors[1]
        write_all_at(told, data, offset + _LENGTH.size)
        # Last: whoever reads a length finds all that belongs to it.
        write_all_at(told, _LENGTH.pack(len(data)), offset)

    def _read(self, offset: int) -> bytes:
        told = self.descriptors[1]
        length = os.pread(told, _LENGTH.size, offset)
        if len(length) < _LENGTH.size:
            return b""
        return os.pread(told, _LENGTH.unpack(length)[0], offset + _LENGTH.size)
