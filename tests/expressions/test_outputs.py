"""How the texts under `produces.outputs` are read."""

from __future__ import annotations

import pytest

from tako.expressions.errors import ExpressionError
from tako.expressions.outputs import OutputSource, match_regex, parse_output


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("from_stdout", OutputSource("stdout")),
        ("from_stderr", OutputSource("stderr")),
        ("from_file:dist/a:b.txt", OutputSource("file", "dist/a:b.txt")),
        ("from_env:VERSION_1", OutputSource("env", "VERSION_1")),
        ("v{{ .inputs.x }}", OutputSource("template", "v{{ .inputs.x }}")),
        ("(?m)^version: (.*)$", OutputSource("regex", "(?m)^version: (.*)$")),
        ("(?:a|b)(c)?", OutputSource("regex", "(?:a|b)(c)?")),
    ],
)
def test_each_form_is_known_by_its_beginning(spec: str, expected: OutputSource) -> None:
    assert parse_output(spec) == expected


@pytest.mark.parametrize(
    ("spec", "column", "reason"),
    [
        ("from_sdtout", 1, "did you mean `from_stdout`"),
        ("from_stdout:x", 1, "is not an output"),
        ("from_file", 1, "is not an output"),
        ("from_env", 1, "is not an output"),
        ("from_file:../x", 11, r"leads out"),
        ("from_file:/etc/passwd", 11, "absolute"),
        ("from_file:", 11, "empty"),
        ("from_env:1X", 10, "variable's name"),
        ("from_env:A-B", 10, "variable's name"),
        ("{{ .a", 1, "never closed"),
        ("(", 1, r"missing \)"),
        ("(?=x)(a)", 1, "RE2"),
        ("\ud800(a)", 1, "surrogates"),
        ("x", 1, "exactly one group"),
        ("(a)(b)", 1, "not 2"),
        ("", 1, "not 0"),
        ("(a)" + "b" * 1000, 1, "longer than 1000"),
    ],
)
def test_a_text_that_is_no_output_is_refused_with_its_place(spec: str, column: int, reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason) as caught:
        parse_output(spec)
    assert caught.value.column == column


def test_the_first_match_counts_and_lines_only_on_request() -> None:
    text = "name: x\nversion: 1.0\nversion: 2.0\n"
    assert match_regex("version: (.*)", text) == "1.0"
    assert match_regex("(?m)^version: (.*)$", text) == "1.0"
    assert match_regex("^version: (.*)$", text) is None
    assert match_regex("n(q)?ame", text) is None


def test_text_that_is_not_unicode_is_searched_all_the_same() -> None:
    assert match_regex("(é+)", "\udc80éé") == "éé"


def test_a_pattern_that_python_would_take_years_for_ends() -> None:
    assert match_regex("((?:a+)+)$", "a" * 50_000 + "b") is None
