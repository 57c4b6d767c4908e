"""Replaces secrets by `***` before anything is written, shown or sent on.

The values of a run's secrets flow in once; then bytes, texts, plain JSON or records flow through. A stream
may come in any pieces: what comes out of it is the same as if it had come whole, and only what may be the
beginning of a secret is held back. Nothing here fails. Without secrets everything is given back as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tako.journal.records import EventEmitted, Record
from tako.journal.redaction.disguises import carried
from tako.journal.redaction.forms import Forms
from tako.journal.redaction.views import Search
from tako.values import evolve

MASK = b"***"
_TOLD = ("message", "outputs", "environment", "last_lines", "about", "reason")
#: A shorter value is found in any larger file by chance.
_CARRIED_MIN = 4


class ScrubbedStream:
    """One stream on its way through a `Scrubber`."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._held = b""
        #: How much at the beginning of what is held belongs to the mask written last; None after plain text.
        self._masked: int | None = None

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; give what is certain by now."""
        return self._emit(self._held + data, ended=False)

    def flush(self, data: bytes = b"") -> bytes:
        """Take the last piece and give the rest: nothing more will come."""
        return self._emit(self._held + data, ended=True)

    def _emit(self, held: bytes, *, ended: bool) -> bytes:
        found = self._search.look(held, ended=ended)
        until = found.undecided
        pieces = []
        end, at = self._masked, self._masked or 0
        for start, stop in found.spans:
            if start >= until:
                break
            if end is None or start > end:
                pieces += [held[at:start], MASK]
            end = at = max(at, stop)
        if at < until:
            pieces.append(held[at:until])
            end = None
        self._held = held[until:]
        self._masked = None if end is None else end - until
        return b"".join(pieces)


class Scrubber:
    """Knows the secrets of one run."""

    def __init__(self, values: Iterable[bytes] = ()) -> None:
        values = tuple(values)
        self._search = Search(values)
        self._carried = Forms(
            form for value in values if len(value) >= _CARRIED_MIN for form in carried(value)
        )

    def __bool__(self) -> bool:
        """Whether there is anything to replace."""
        return bool(self._search)

    def stream(self) -> ScrubbedStream | None:
        """A new stream; None if there is nothing to replace, so that it costs nothing."""
        return ScrubbedStream(self._search) if self else None

    def scrub(self, data: bytes) -> bytes:
        """Replace every form of every value; those that overlap or touch become one mask."""
        return ScrubbedStream(self._search).flush(data) if self else data

    def scrub_text(self, text: str) -> str:
        """Do the same for text."""
        if not self:
            return text
        for errors in ("surrogateescape", "surrogatepass"):
            try:
                data = text.encode("utf-8", errors)
            except UnicodeEncodeError:
                # Half of a pair, as JSON may hold it.
                continue
            return self.scrub(data).decode("utf-8", errors)
        return MASK.decode()

    def scrub_value(self, value: Any) -> Any:  # noqa: ANN401 - plain JSON
        """Do the same for plain JSON, names included; a number that is a secret becomes a text."""
        if not self or value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.scrub_text(value)
        if isinstance(value, int | float):
            shown = self.scrub_text(repr(value))
            return shown if shown.encode() == MASK else value
        if isinstance(value, list | tuple):
            return type(value)(self.scrub_value(held) for held in value)
        return {self.scrub_text(str(name)): self.scrub_value(held) for name, held in value.items()}

    def scrub_record(self, record: Record) -> Record:
        """Give the record without secrets in what steps and templates can put into one."""
        if not self:
            return record
        if isinstance(record, EventEmitted):
            # Before it is stored: what is stored is never changed.
            payload = self.scrub_value(record.event.payload)
            return evolve(record, event=evolve(record.event, payload=payload))
        told = {name: getattr(record, name) for name in _TOLD if hasattr(record, name)}
        return evolve(record, **{name: self.scrub_value(value) for name, value in told.items()})

    def carried_by(self, pieces: Iterable[bytes]) -> bool:
        """Whether a file, in pieces, holds a value, as it is or in base64, of at least 4 bytes."""
        rest = b""
        for piece in pieces if self._carried else ():
            rest += piece
            if self._carried.found_in(rest):
                return True
            rest = rest[-(self._carried.longest - 1) :]
        return False


#: Of a run that was given no secret.
NOTHING = Scrubber()
