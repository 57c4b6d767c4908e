from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.report.text import Style, told
from tako.system.terminal import text as terminal
from tako.system.terminal.text import named, plain, shown
from tests.support.told_runs import HOSTILE

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
COLOUR = re.compile(r"\x1b\[[0-9;:]*m")


class _Terminal(io.StringIO):
    """A stream that says it is a terminal of some encoding."""

    def __init__(self, encoding: str | None = "utf-8", *, tty: bool = True) -> None:
        super().__init__()
        self._encoding, self._tty = encoding, tty

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding  # type: ignore[return-value]

    def isatty(self) -> bool:
        return self._tty


@pytest.mark.parametrize(
    ("text", "bare", "coloured"),
    [
        ("plain ü ✓\ttab\nline", "plain ü ✓\ttab\nline", "plain ü ✓\ttab\nline"),
        ("\x1b[31mred\x1b[0m", "red", "\x1b[31mred\x1b[0m\x1b[0m"),
        ("\x1b[38:2:1:2:3mrgb", "rgb", "\x1b[38:2:1:2:3mrgb\x1b[0m"),
        ("\x1b[2J\x1b[H\x1b[?25l\x1b[1 q", "", ""),
        ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "alink", "alink"),
        ("\x1bP1$r\x1b\\\x1b_x\x1b\\\x1b^y\x07b", "b", "b"),
        ("\x1b]0;never ends", "", ""),
        ("10%\r20%\x08\x07\x00\x7f\x9b31m", "10%20%31m", "10%20%31m"),
        ("\x1bc\x1b", "", ""),
        (HOSTILE, "redover", "\x1b[31mred\x1b[0mover\x1b[0m"),
    ],
)
def test_control_characters_are_stripped_but_newline_tab_and_colour(
    text: str, bare: str, coloured: str
) -> None:
    assert plain(text) == bare
    assert plain(text, colour=True) == coloured


@given(st.text(st.characters() | st.sampled_from("\x1b[]0;mPJ\x07\\\r\x9b")))
def test_whatever_is_printed_nothing_but_colour_remains(text: str) -> None:
    assert not CONTROL.search(plain(text))
    coloured = plain(text, colour=True)
    assert not CONTROL.search(COLOUR.sub("", coloured))
    assert plain(coloured) == plain(text)


@given(st.text(st.characters(exclude_categories=["Cc"])))
def test_what_controls_nothing_stays_as_it_is(text: str) -> None:
    assert plain(text) == plain(text, colour=True) == text


@pytest.mark.parametrize(
    ("status", "sign", "ascii_sign"),
    [
        ("succeeded", "✓", "+"),
        ("failed", "✗", "x"),
        ("timed_out", "⏱", "!"),
        ("cancelled", "⊘", "!"),
        ("interrupted", "⚡", "!"),
        ("skipped", "-", "-"),
        ("running", "▶", ">"),
        ("pending", "·", "."),
        ("unheard of", "?", "!"),
    ],
)
def test_every_status_has_a_sign_also_without_unicode(status: str, sign: str, ascii_sign: str) -> None:
    assert Style(_Terminal(tty=False)).sign(status) == sign
    assert Style(_Terminal("ascii", tty=False)).sign(status) == ascii_sign


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "no such encoding", None])
def test_an_encoding_without_the_signs_gets_ascii(encoding: str | None) -> None:
    style = Style(_Terminal(encoding))
    assert style.ascii
    assert (style.branch(last=False), style.branch(last=True)) == (("|- ", "|  "), ("`- ", "   "))


def test_a_unicode_stream_gets_lines() -> None:
    style = Style(_Terminal())
    assert (style.branch(last=False), style.branch(last=True)) == (("├─ ", "│  "), ("└─ ", "   "))


def test_only_a_terminal_gets_colours_and_only_if_it_wants_them() -> None:
    assert Style(_Terminal()).sign("failed") == "\x1b[31m✗\x1b[0m"
    assert Style(_Terminal(), no_colour=True).sign("failed") == "✗"
    assert Style(_Terminal(tty=False)).paint("x", "31") == "x"


@given(st.text())
def test_a_message_shows_every_control_character(text: str) -> None:
    said = shown(text)
    assert CONTROL.search(said.replace("\t", "").replace("\n", "")) is None
    assert said.count("\n") == text.count("\n")
    assert CONTROL.search(text) or max(text, default="") >= "\u202a" or said == text


def test_a_message_keeps_what_is_harmless() -> None:
    assert shown("a\tb\nü ✓ 😀") == "a\tb\nü ✓ 😀"
    assert shown("\x1b[2J \x9b \u202e") == r"\x1b[2J \x9b \u202e"


def test_only_the_first_line_of_a_message_is_at_the_margin() -> None:
    assert told("git failed:\nfatal: \x1b[2Jno\rtako: done") == "git failed:\n    fatal: notako: done"
    assert told("one line") == "one line"
    assert (
        terminal.told("git failed:\nfatal: \x1b[2Jno")
        == r"""git failed:
      fatal: \x1b[2Jno"""
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [("dist/a b-ü", "dist/a b-ü"), ("a\nb", r"'a\nb'"), ("\x1b[2J", r"'\x1b[2J'"), ("\udcff", r"'\udcff'")],
)
def test_a_name_that_would_not_show_as_it_is_is_quoted(name: str, message: str) -> None:
    assert named(name) == message
