from __future__ import annotations

import html
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.journal.redaction.escapes import Decoded, has_escapes


def _plain(text: bytes) -> bytes:
    return Decoded(text, ended=True).text


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        (rb"\n\t\a\e\E\x07\x1B\33\0", b"\n\t\a\x1b\x1b\x07\x1b\x1b\x00"),
        (rb"a\\\\u0041b", b"aAb"),
        (rb"\u{1f600}\U0001F600\ud83d\ude00\\ud83D\\uDE00\x{e9}", "😀😀😀😀é".encode()),
        (rb"\udcff \ud83d.", b"\xff \xed\xa0\xbd."),
        (rb"\'\"\ \z\u00", b"'\" zu00"),
        (rb"\303\274\777", b"\xc3\xbc\xff"),
        (b"%41%2541%252541%C3%bc%zz%4", b"AAA\xc3\xbc%zz%4"),
        (b"%u00fc%uD83D%uDE00%u12", "ü😀%u12".encode()),
        (b"&amp;&#39;&#x27;&amp;amp;lt;&uuml;&apos;", "&''<ü'".encode()),
        (b"&nothing; &amp &#9999999; &;", b"&nothing; &amp  &;"),
        (rb"\U7fffffff", b""),
        (b"a\x1b[01;31m\x1b[Kb\x1b[0mc\x1b]d\x1b[9", b"abc\x1b]d\x1b[9"),
    ],
)
def test_escapes_become_what_they_stand_for(text: bytes, meaning: bytes) -> None:
    assert _plain(text) == meaning


# What escapes begin with is undone again: `%2541` is an A.
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\%&")))
def test_what_python_escapes_is_undone(text: str) -> None:
    assert _plain(quote(text, safe="").encode()) == text.encode()
    references = "".join(f"&#{ord(each)};" for each in text)
    assert _plain(references.encode()) == text.encode()
    assert _plain(html.escape(references).encode()) == text.encode()
    units = text.encode("utf-16-be")
    escaped = "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
    assert _plain(escaped.encode()) == text.encode()
    assert _plain(json.dumps(escaped).encode()) == b'"' + text.encode() + b'"'


@pytest.mark.parametrize(
    "text",
    [
        rb"a\\",
        rb"a\u00",
        rb"a\ud83d\u",
        rb"a\x",
        rb"a\04",
        b"a%",
        b"a%25",
        b"a%2",
        b"a%uD83D%",
        b"a&",
        b"a&am",
        b"a&#x2",
        b"a\x1b",
        b"a\x1b[",
        b"a\x1b[01;3",
    ],
)
def test_a_token_that_may_go_on_is_left_out(text: bytes) -> None:
    decoded = Decoded(text, ended=False)
    assert (decoded.text, decoded.complete) == (b"a", 1)
    assert Decoded(text, ended=True).complete == len(text)


@pytest.mark.parametrize("text", [rb"\u0041", b"%41", b"&lt;", rb"\n", b"100% ", b"a & b", rb"\\ "])
def test_a_token_that_is_over_is_not(text: bytes) -> None:
    assert Decoded(text, ended=False).complete == len(text)


@given(st.text("ab\\u0041%25&#;x\x1b[m", max_size=40).map(str.encode), st.booleans())
def test_each_byte_comes_from_where_it_is_said_to(text: bytes, ended: bool) -> None:
    decoded = Decoded(text, ended=ended)
    places = range(len(decoded.text))
    for place in places:
        start, end = decoded.start_of(place), decoded.end_of(place)
        assert decoded.text[place : place + 1] in text[start:end] + _plain(text[start:end])
        assert decoded.place_of(start) <= place
        assert decoded.between_tokens(start) <= start
    assert decoded.start_of(len(decoded.text)) == decoded.complete
    assert sorted(map(decoded.start_of, places)) == list(map(decoded.start_of, places))


def test_more_different_tokens_than_are_remembered() -> None:
    text = "".join(f"&#{code};" for code in range(256, 10_000))
    assert _plain(text.encode()) == "".join(map(chr, range(256, 10_000))).encode()


def test_only_four_characters_lead_escapes() -> None:
    assert not has_escapes(bytes(set(range(256)) - set(b"\\%&\x1b")))
    assert all(map(has_escapes, (b"\\", b"%", b"&", b"\x1b")))
