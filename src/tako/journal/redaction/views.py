"""A piece of a stream as it is and as it decodes, and where forms of secrets are in it.

    bytes ─▶ decoded ─▶ decoded again ─▶ ...      each is searched; what is found is mapped back to the bytes

In: bytes, and whether they are the end of the stream. Out: `Found`. Every way to cut a stream leads to the
same spans: nothing is decided that the next bytes may change. Cost and memory are bounded: at most three
decodings of a piece, and for each byte of a form a bounded number of bytes waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tako.journal.redaction.disguises import DEPTH, Skeleton, printed, reach, skeletons
from tako.journal.redaction.escapes import Decoded, has_escapes
from tako.journal.redaction.forms import Forms
from tako.values import value


@value
class Found:
    """Start and end of each form by start, and from where on nothing is decided yet."""

    spans: list[tuple[int, int]]
    undecided: int


class Search:
    """What to look for on behalf of some values."""

    def __init__(self, values: Iterable[bytes]) -> None:
        secrets = tuple(values)
        self._plain = Forms(form for secret in secrets for form in printed(secret))
        sought: dict[Skeleton, set[bytes]] = {}
        for secret in secrets:
            for kind, form in skeletons(secret):
                sought.setdefault(kind, set()).add(form)
        self._sought: Mapping[Skeleton, Forms] = {kind: Forms(forms) for kind, forms in sought.items()}

    def __bool__(self) -> bool:
        return bool(self._plain)

    def look(self, data: bytes, *, ended: bool) -> Found:
        """Find all forms in a piece; it begins at the start of the stream or where all before is decided."""
        views = _Views(data, ended=ended)
        spans = self._plain.spans(data)
        undecided = [] if ended else [views.certain, *(at for at, _ in self._plain.begun(data))]
        for level, text in enumerate(views.texts):
            for kind, forms in self._sought.items():
                bones = kind.of(text)
                hits = forms.spans(bones)
                if hits:
                    spans += _mapped(views, level, kind.places(text), hits)
                if not ended:
                    undecided += _begun(views, level, kind, bones, forms)
        spans.sort()
        return Found(spans, views.between_tokens(min(undecided, default=len(data))))


def _mapped(
    views: _Views, level: int, places: list[int], hits: list[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    for begin, end in hits:
        start, stop = views.start_of(level, places[begin]), views.end_of(level, places[end - 1])
        if stop - start <= reach(end - begin):
            yield start, stop


def _begun(views: _Views, level: int, kind: Skeleton, bones: bytes, forms: Forms) -> Iterator[int]:
    """Where in the data something starts that may become a form."""
    text, whole = views.texts[level], len(views.texts[0])
    places: list[int] = []
    first = len(text)
    for begin, length in forms.begun(bones):
        while len(places) < len(bones) - begin:
            first = max(0, first - 2 * (len(text) - first) - 64)
            places = kind.places(text, first)
        start = views.start_of(level, places[begin - len(bones)])
        if whole - start <= reach(length):
            yield start


class _Views:
    """The data, decoded up to three times."""

    def __init__(self, data: bytes, *, ended: bool) -> None:
        self.texts = [data]
        self._decoded: list[Decoded] = []
        #: How far it is known what the data decode to.
        self.certain = len(data)
        while len(self._decoded) < DEPTH and has_escapes(self.texts[-1]):
            decoded = Decoded(self.texts[-1], ended=ended)
            self.certain = min(self.certain, self.start_of(len(self._decoded), decoded.complete))
            self._decoded.append(decoded)
            if decoded.text == self.texts[-1]:
                break
            self.texts.append(decoded.text)

    def start_of(self, level: int, place: int) -> int:
        """Where in the data begins what became the byte at `place` of a text."""
        for decoded in reversed(self._decoded[:level]):
            place = decoded.start_of(place)
        return place

    def end_of(self, level: int, place: int) -> int:
        """Where in the data ends what became the byte at `place` of a text."""
        for decoded in reversed(self._decoded[:level]):
            # All sources of one byte stand together; the last one's end is its end.
            place = decoded.end_of(place) - 1
        return place + 1

    def between_tokens(self, position: int) -> int:
        """The position in the data, or where the token begins that it is in, however deep."""
        places = [position]
        for decoded in self._decoded[:-1]:
            places.append(decoded.place_of(places[-1]))
        for level in reversed(range(len(self._decoded))):
            start = self.start_of(level, self._decoded[level].between_tokens(places[level]))
            position = min(position, start)
        return position
