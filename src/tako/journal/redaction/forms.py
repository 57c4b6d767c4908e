"""Finds many byte strings in bytes, as fast as the C library finds one of them.

Few are looked for one by one. Of many long ones, as the lines of a key are, each occurrence holds one of the
blocks of 16 bytes that the data consist of: a set of what such a block may be says that none is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct

_BLOCK = Struct("16s")
#: Every occurrence of so many bytes holds a whole block.
_LONG_MIN = 2 * _BLOCK.size - 1
#: So many are as fast one by one.
_FEW = 24


class Forms:
    """Byte strings to look for."""

    def __init__(self, forms: Iterable[bytes]) -> None:
        self._forms = sorted(set(forms), key=lambda form: (-len(form), form))
        self._long = [form for form in self._forms if len(form) >= _LONG_MIN]
        blocks = self._long if len(self._long) > _FEW else ()
        self._blocks = frozenset(_BLOCK.unpack_from(form, at) for form in blocks for at in range(_BLOCK.size))
        self._needles = _without_containing(self._forms[len(blocks) :])
        self._beginnings: dict[bytes, int] = {}
        for form in reversed(self._forms):
            self._beginnings.update((form[:size], len(form)) for size in range(1, min(_LONG_MIN, len(form))))
        self.longest = len(self._forms[0]) if self._forms else 0

    def __bool__(self) -> bool:
        return bool(self._forms)

    def found_in(self, data: bytes) -> bool:
        """Whether one of them is in there."""
        if any(needle in data for needle in self._needles):
            return True
        return self._has_block(data) and any(form in data for form in self._long)

    def _has_block(self, data: bytes) -> bool:
        whole = len(data) - len(data) % _BLOCK.size
        return bool(self._blocks) and not self._blocks.isdisjoint(_BLOCK.iter_unpack(data[:whole]))

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Start and end of each occurrence, overlapping ones too, by start."""
        if not self.found_in(data):
            return []
        return sorted(span for form in self._forms for span in _occurrences(form, data))

    def begun(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Where an end of `data` starts that may be the beginning of a form, and how long that form is.

        Of several forms that may begin there, the longest counts.
        """
        for size in range(1, min(_LONG_MIN, len(data) + 1)):
            length = self._beginnings.get(data[-size:])
            if length:
                yield len(data) - size, length
        tail = data[-self.longest :]
        if self._long and len(tail) >= _LONG_MIN and (not self._blocks or self._has_block(tail)):
            yield from self._begun_long(data)

    def _begun_long(self, data: bytes) -> Iterator[tuple[int, int]]:
        view = memoryview(data)
        for form in self._long:
            last = len(data) - _LONG_MIN + _BLOCK.size
            at = data.find(form[: _BLOCK.size], max(0, len(data) - len(form) + 1), last)
            while at >= 0:
                if form.startswith(view[at:]):
                    yield at, len(form)
                at = data.find(form[: _BLOCK.size], at + 1, last)


def _without_containing(forms: list[bytes]) -> list[bytes]:
    """Where none of these is, none of those that contain one of them is either."""
    needles: list[bytes] = []
    for form in reversed(forms):
        if not any(needle in form for needle in needles):
            needles.append(form)
    return needles


def _occurrences(form: bytes, data: bytes) -> Iterator[tuple[int, int]]:
    at = data.find(form)
    while at >= 0:
        yield at, at + len(form)
        at = data.find(form, at + 1)
