"""The forms in which a secret's value may turn up in what programs print.

A value flows in as bytes, byte strings to look for flow out; a value of one to three bytes has no form but
its own, because its disguises would be found everywhere. What a step disguises on purpose is not found: this
is against accidents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

_SHORT_MAX = 3
#: Shorter lines of a longer value, such as a closing brace, would be found everywhere.
_LINE_MIN = 6
#: Where base64(1) and PEM (RFC 7468) break lines.
_COLUMNS = (64, 76)
_SAFE = ("", "/", "!'()*~", "!'()*~/")
_CONTROLS = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 27: "E"}


def carried(value: bytes) -> frozenset[bytes]:
    """The forms in which files carry it: as it is, without the space around it, in base64."""
    forms = {value, value.strip()} - {b""}
    for text in tuple(forms):
        if len(text) > _SHORT_MAX:
            forms.update(_base64(text))
    return frozenset(forms)


def printed(value: bytes) -> frozenset[bytes]:
    """All forms: those of `carried`, each line, and how URLs, JSON, shells and Python write it."""
    if len(value) <= _SHORT_MAX:
        return carried(value)
    # What `echo $VALUE` makes of it.
    texts = {value, value.strip(), b" ".join(value.split())}
    lines = {line.strip() for line in re.split(rb"[\r\n]+", value.strip())}
    texts |= {line for line in lines if len(line) >= _LINE_MIN}
    forms = {form for text in texts for form in (*_quoted(text), *_escaped(text))}
    return carried(value) | frozenset(form for form in texts | forms if len(form) > _SHORT_MAX)


def _base64(value: bytes) -> Iterator[bytes]:
    from base64 import b64encode, urlsafe_b64encode

    for encode in (b64encode, urlsafe_b64encode):
        for before in range(3):
            # Only the characters all of whose six bits come from the value are the same in each surrounding.
            whole = encode(bytes(before) + value)
            core = whole[-(-8 * before // 6) : 8 * (before + len(value)) // 6]
            yield core
            if not before:
                yield from _wrapped(core)
        for alone in (encode(value), encode(value + b"\n")):
            yield alone
            yield alone.rstrip(b"=")
            yield from _wrapped(alone)


def _wrapped(text: bytes) -> Iterator[bytes]:
    for width in _COLUMNS:
        lines = [text[at : at + width] for at in range(0, len(text), width)]
        yield from (end.join(lines) for end in (b"\n", b"\r\n"))
        yield from (line for line in lines if len(line) >= _LINE_MIN)


def _quoted(value: bytes) -> Iterator[bytes]:
    """As in URLs (RFC 3986; quote_plus for forms), and as shells print it with `set -x`."""
    from urllib.parse import quote_from_bytes

    for safe in _SAFE:
        quoted = quote_from_bytes(value, safe)
        for text in (quoted, quoted.replace("%20", "+"), quoted.replace("~", "%7E")):
            yield text.encode()
            yield re.sub("%..", lambda found: found[0].lower(), text).encode()
    yield value.replace(b"'", b"'\\''")
    yield value.replace(b"'", b"'\"'\"'")
    # dash puts all neighbouring quotes into one pair of double quotes.
    yield re.sub(rb"'+", lambda found: b"'\"" + found[0] + b"\"'", value)
    yield re.sub(rb'(["$`\\])', rb"\\\1", value)
    # bash: $'...' for what holds control characters.
    yield b"".join(_ansi_c(byte, ascii_only=False) for byte in value)
    yield b"".join(_ansi_c(byte, ascii_only=True) for byte in value)


@cache
def _ansi_c(byte: int, *, ascii_only: bool) -> bytes:
    if byte in _CONTROLS:
        return b"\\" + _CONTROLS[byte].encode()
    if byte in b"\\'":
        return b"\\" + bytes((byte,))
    if byte < 32 or byte == 127 or (ascii_only and byte > 127):
        return f"\\{byte:03o}".encode()
    return bytes((byte,))


def _escaped(value: bytes) -> Iterator[bytes]:
    """As in JSON, HTML and Python's repr."""
    import json

    yield repr(value)[2:-1].encode()
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return
    for ascii_only in (True, False):
        escaped = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield escaped.encode()
        yield escaped.replace("/", "\\/").encode()
    yield repr(text)[1:-1].encode()
    yield _html(text).encode()


def _html(text: str) -> str:
    from html import escape

    return escape(text)
