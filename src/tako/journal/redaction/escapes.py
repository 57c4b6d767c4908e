r"""Undoes what programs do to characters: backslash escapes, percent encoding, HTML's references, colours.

Bytes flow in, decoded bytes with a map back flow out. One pass undoes one kind of escape any number of times
(`\\u0026`, `%2526`, `&amp;amp;`); an escape within another kind needs another pass. Nothing here fails:
what is no escape stays as it is. All tokens have a bounded length, so that a stream can be cut between them.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cached_property
from itertools import accumulate

_HEX = rb"[0-9a-fA-F]"
# A literal first, so that the regular expression skips quickly to where one may begin.
_RUN = rb"\\\\{0,63}"
_TOKEN = re.compile(
    rb"(" + _RUN + rb"(?:"
    # JSON writes what is beyond U+FFFF as a pair of surrogates.
    rb"u[dD][89abAB]" + _HEX + rb"{2}" + _RUN + rb"u[dD][c-fC-F]" + _HEX + rb"{2}"
    rb"|u" + _HEX + rb"{4}|U" + _HEX + rb"{8}|[ux]\{" + _HEX + rb"{1,6}\}|x" + _HEX + rb"{2}"
    rb"|[0-7]{1,3}|[abefnrtvE])?"
    rb"|%u[dD][89abAB]" + _HEX + rb"{2}%u[dD][c-fC-F]" + _HEX + rb"{2}"
    rb"|%(?:25){0,8}(?:" + _HEX + rb"{2}|u" + _HEX + rb"{4})"
    rb"|&(?:amp;){0,8}(?:\#[0-9]{1,7}|\#[xX]" + _HEX + rb"{1,6}|[A-Za-z][A-Za-z0-9]{1,31});"
    # Colours and moves of the cursor (ECMA-48, CSI): a view that leaves them out must not show more.
    rb"|\x1b\[[0-?]{0,48}[ -/]{0,4}[@-~]"
    rb")"
)
#: What the next bytes may still make a token of, or a longer one.
_OPEN = re.compile(
    rb"(?:" + _RUN + rb"(?:"
    rb"u(?:" + _HEX + rb"{0,3}|\{" + _HEX + rb"{0,6}"
    rb"|[dD][89abAB]" + _HEX + rb"{2}(?:" + _RUN + rb"(?:u(?:[dD](?:[c-fC-F]" + _HEX + rb"?)?)?)?)?)"
    rb"|U" + _HEX + rb"{0,7}|x(?:" + _HEX + rb"?|\{" + _HEX + rb"{0,6})|[0-7]{1,2})?"
    rb"|%u[dD][89abAB]" + _HEX + rb"{2}(?:%(?:u(?:[dD](?:[c-fC-F]" + _HEX + rb"?)?)?)?)?"
    rb"|%(?:25){0,8}(?:" + _HEX + rb"|u" + _HEX + rb"{0,3})?"
    rb"|&(?:amp;){0,8}(?:\#[xX]?" + _HEX + rb"{0,7}|[A-Za-z][A-Za-z0-9]{0,31})?"
    rb"|\x1b(?:\[[0-?]{0,48}[ -/]{0,4})?"
    rb")\Z"
)
_LEAD = re.compile(rb"[\\%&\x1b]")
_OPEN_MAX = 256
_REMEMBERED_MAX = 4096
_CONTROLS = {b"a": 7, b"b": 8, b"t": 9, b"n": 10, b"v": 11, b"f": 12, b"r": 13, b"e": 27, b"E": 27}


def has_escapes(data: bytes) -> bool:
    """Whether there may be anything to decode."""
    return b"\\" in data or b"%" in data or b"&" in data or b"\x1b" in data


class Decoded:
    """Bytes with every escape replaced by what it stands for, and where each byte of that comes from."""

    def __init__(self, source: bytes, *, ended: bool) -> None:
        """Unless it has `ended`, leave out a last token that may go on: `complete` says from where."""
        parts = _TOKEN.split(source)
        self.complete = len(source) if ended else _open_from(parts, source)
        _shorten(parts, len(source) - self.complete)
        self._parts = parts
        self._values = parts.copy()
        self._values[1::2] = map(_MEANINGS.__getitem__, parts[1::2])
        self.text = b"".join(self._values)

    @cached_property
    def _sources(self) -> list[int]:
        return list(accumulate(map(len, self._parts), initial=0))

    @cached_property
    def _places(self) -> list[int]:
        return list(accumulate(map(len, self._values), initial=0))

    def start_of(self, place: int) -> int:
        """Where in the source begins what became the byte at `place` of the text."""
        if place >= len(self.text):
            return self.complete
        part = bisect_right(self._places, place) - 1
        return self._sources[part] + (0 if self._means_another(part) else place - self._places[part])

    def end_of(self, place: int) -> int:
        """Where in the source ends what became the byte at `place` of the text."""
        part = bisect_right(self._places, place) - 1
        return self._sources[part + 1] if self._means_another(part) else self.start_of(place) + 1

    def _means_another(self, part: int) -> bool:
        """Whether it is a token; an HTML name that is not known stands for itself."""
        return part % 2 == 1 and self._values[part] != self._parts[part]

    def place_of(self, position: int) -> int:
        """Where in the text the source's byte at `position` is, or the token that it belongs to."""
        if position >= self.complete:
            return len(self.text)
        part = bisect_right(self._sources, position) - 1
        return self._places[part] + (0 if part % 2 else position - self._sources[part])

    def between_tokens(self, position: int) -> int:
        """The position, or where the token begins that it is in."""
        part = bisect_right(self._sources, position) - 1
        return self._sources[part] if part % 2 else position


def _open_from(parts: list[bytes], source: bytes) -> int:
    """Where the last token begins if the next bytes may change it; else the end."""
    at = literal = len(source) - len(parts[-1])
    begins: list[int] = []
    # Not more than the last two tokens can be of one that is open.
    for token in range(len(parts) - 2, max(0, len(parts) - 6), -2):
        at -= len(parts[token])
        begins.insert(0, at)
        at -= len(parts[token - 1])
    begins += [found.start() for found in _LEAD.finditer(source, max(literal, len(source) - _OPEN_MAX))]
    return next((begin for begin in begins if _OPEN.match(source, begin)), len(source))


def _shorten(parts: list[bytes], by: int) -> None:
    """Take so many bytes away from the end."""
    while by > len(parts[-1]) or (by and len(parts) % 2 == 0):
        by -= len(parts.pop())
    parts[-1] = parts[-1][: len(parts[-1]) - by]


class _Meanings(dict[bytes, bytes]):
    """What tokens stand for, remembered: programs write few different ones."""

    def __missing__(self, token: bytes) -> bytes:
        if len(self) >= _REMEMBERED_MAX:
            self.clear()
        lead = token[:1]
        meaning = _after_backslash(token) if lead == b"\\" else _MEANS[lead](token)
        self[token] = meaning
        return meaning


def _after_backslash(token: bytes) -> bytes:
    spec = token.lstrip(b"\\")
    kind, digits = spec[:1], spec[1:].strip(b"{}")
    if spec in _CONTROLS:
        return bytes((_CONTROLS[spec],))
    if not kind or kind.isdigit():
        return bytes((int(spec, 8) & 0xFF,)) if kind else b""
    if kind == b"x" and spec[1:2] != b"{":
        return bytes((int(digits, 16),))
    if b"\\" in digits:
        return _pair(digits)
    return _character(int(digits, 16))


def _after_percent(token: bytes) -> bytes:
    if token.count(b"%u") > 1:
        return _pair(token[2:])
    kind, digits = token[-5:-4], token[-4:]
    return _character(int(digits, 16)) if kind == b"u" else bytes((int(token[-2:], 16),))


def _after_ampersand(token: bytes) -> bytes:
    name = token[1:]
    while name.startswith(b"amp;") and name != b"amp;":
        name = name[4:]
    if name.startswith((b"#x", b"#X")):
        return _character(int(name[2:-1], 16))
    if name.startswith(b"#"):
        return _character(int(name[1:-1]))
    # Imported here: few outputs hold HTML.
    from html.entities import html5

    return html5.get(name.decode(), token.decode()).encode()


def _pair(digits: bytes) -> bytes:
    high, low = int(digits[:4], 16), int(digits[-4:], 16)
    return _character(0x10000 + ((high - 0xD800) << 10) + low - 0xDC00)


def _character(code: int) -> bytes:
    # Python's own way to write a byte that is no text: half of a pair, which stands for the byte.
    if 0xDC80 <= code <= 0xDCFF:
        return bytes((code - 0xDC00,))
    return chr(code).encode("utf-8", "surrogatepass") if code <= 0x10FFFF else b""


def _of_colour(_token: bytes) -> bytes:
    return b""


_MEANS = {b"%": _after_percent, b"&": _after_ampersand, b"\x1b": _of_colour}
_MEANINGS = _Meanings()
