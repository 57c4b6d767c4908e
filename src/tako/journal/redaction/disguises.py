"""The forms in which a secret's value may turn up in what programs print.

A value flows in as bytes, byte strings to look for flow out: some in the bytes as they are, most in what is
left of decoded bytes without the characters that quoting adds. A value of one to three bytes has no form but
its own, because its disguises would be found everywhere. What a step disguises on purpose is not found: this
is against accidents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import compress

from tako.journal.redaction.escapes import Decoded

_SHORT_MAX = 3
#: Shorter lines of a longer value, such as a closing brace, would be found everywhere.
_LINE_MIN = 6
#: From so many characters on, space between them does not matter: 12 34 may be anything.
_TIGHT_MIN = 8
#: How often an escape may be escaped again in another way.
DEPTH = 3
#: Where base64(1) and PEM (RFC 7468) break lines.
_COLUMNS = (64, 76)
#: A form that is found in more bytes than this for each of its own is another text.
_REACH, _SLACK = 24, 256


class Skeleton:
    """What is left of a text without the characters that quoting and breaking of lines add."""

    def __init__(self, dropped: bytes, spaces: bytes = b"") -> None:
        self._dropped = dropped
        self._table = bytes.maketrans(spaces, b" " * len(spaces))
        self._kept = bytes(byte not in dropped for byte in range(256))

    def of(self, text: bytes) -> bytes:
        """The characters that count."""
        return text.translate(self._table, self._dropped)

    def places(self, text: bytes, first: int = 0) -> list[int]:
        """Where in the text each of them is, from place `first` on."""
        return list(compress(range(first, len(text)), text[first:].translate(self._kept)))


_QUOTES = b"\\'\"$"
_SPACES = b" \t\n\v\f\r+"
#: A view leaves them out, and UTF-16 puts a NUL beside each letter.
_CONTROLS = bytes(byte for byte in (*range(0x20), 0x7F) if byte not in _SPACES)
TIGHT = Skeleton(_QUOTES + _CONTROLS + _SPACES)
LOOSE = Skeleton(_QUOTES + _CONTROLS, _SPACES)
WHOLE = Skeleton(b"")


def reach(form: int) -> int:
    """In how many bytes a form of so many bytes may be found at most."""
    return _SLACK + _REACH * form


def carried(value: bytes) -> frozenset[bytes]:
    """The forms in which files carry it: as it is, without the space around it, in base64."""
    forms = {value, value.strip()} - {b""}
    for text in tuple(forms):
        if len(text) > _SHORT_MAX:
            coded = set(_base64(text))
            forms |= coded | {broken for text in coded for broken in _broken(text)}
    return frozenset(forms)


def printed(value: bytes) -> frozenset[bytes]:
    """What to look for in bytes as they are: the value, also as `echo $VALUE` prints it, and its lines."""
    short = {value, value.strip()} - {b""}
    return frozenset(short | {text for text in _texts(value) if len(text) > _SHORT_MAX})


def skeletons(value: bytes) -> Iterator[tuple[Skeleton, bytes]]:
    """What to look for in which skeleton of the bytes and of all that they are decoded to."""
    texts = {text for text in _texts(value) if len(text) > _SHORT_MAX}
    plain = texts | {_narrow(text) for text in texts}
    whole = texts & {value, value.strip()}
    coded = {form for text in whole for form in _base64(text)}
    lines = {line for form in coded for line in _lines(form)}
    digits = {form for text in whole for form in _hexadecimal(text)}
    decoded = {meant for text in plain for meant in _decoded(text)}
    for form in decoded | coded | lines | digits:
        kind, bones = _skeleton(form)
        if len(bones) > _SHORT_MAX:
            yield kind, bones
            # Of a last % or & the text behind it may make something else.
            cut = bones.rstrip(b"%&")
            if len(bones) > len(cut) >= _TIGHT_MIN:
                yield kind, cut


def _skeleton(text: bytes) -> tuple[Skeleton, bytes]:
    tight, loose = TIGHT.of(text), LOOSE.of(text).strip()
    if len(tight) >= _TIGHT_MIN:
        return TIGHT, tight
    return (LOOSE, loose) if len(tight) > _SHORT_MAX else (WHOLE, text)


def _texts(value: bytes) -> set[bytes]:
    """The value, what `echo $VALUE` makes of it, and each of its longer lines."""
    lines = {line.strip() for line in re.split(rb"[\r\n]+", value.strip())}
    texts = {value, value.strip(), b" ".join(value.split())}
    return texts | {line for line in lines if len(line) >= _LINE_MIN}


def _narrow(text: bytes) -> bytes:
    r"""As programs write it that escape characters, not bytes: U+00FC is `\xfc` or `%FC`."""
    with_surrogates = text.decode("utf-8", "surrogateescape")
    if text.isascii():
        return text
    coded = (
        bytes((ord(each),)) if 0x80 <= ord(each) <= 0xFF else each.encode("utf-8", "surrogateescape")
        for each in with_surrogates
    )
    return b"".join(coded)


def _decoded(text: bytes) -> Iterator[bytes]:
    """The text, and what becomes of it where a stream is decoded."""
    yield text
    for _ in range(DEPTH):
        text = Decoded(text, ended=True).text
        yield text


def _hexadecimal(value: bytes) -> tuple[bytes, bytes]:
    return value.hex().encode(), value.hex().upper().encode()


def _base64(value: bytes) -> Iterator[bytes]:
    from base64 import b64encode, urlsafe_b64encode

    for encode in (b64encode, urlsafe_b64encode):
        for before in range(3):
            # Only the characters all of whose six bits come from the value are the same in each surrounding.
            whole = encode(bytes(before) + value)
            yield whole[-(-8 * before // 6) : 8 * (before + len(value)) // 6]
        for alone in (encode(value), encode(value + b"\n")):
            yield alone
            yield alone.rstrip(b"=")


def _lines(text: bytes) -> Iterator[bytes]:
    """The lines that it is broken into, each of which may stand behind something else."""
    for width in _COLUMNS:
        lines = (text[at : at + width] for at in range(0, len(text), width))
        yield from (line for line in lines if len(line) >= _LINE_MIN)


def _broken(text: bytes) -> Iterator[bytes]:
    yield from _lines(text)
    for width in _COLUMNS:
        lines = [text[at : at + width] for at in range(0, len(text), width)]
        yield from (end.join(lines) for end in (b"\n", b"\r\n"))
