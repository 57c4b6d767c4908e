"""Templates: what renders, what is refused, and where the mistake is said to be."""

from __future__ import annotations

import pickle
import shlex
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.expressions.errors import ExpressionError
from tako.expressions.templates import parse_template, render, render_value
from tako.expressions.text import has_template

SCOPE: dict[str, object] = {
    "inputs": {"version-bump": "minor", "name": "it's", "empty": "", "none": None},
    "steps": {"build-all": {"outputs": {"version": "1.2.0", "a-1": "x"}}},
    "event": {"payload": {"list": ["a", {"b": None}], "yes": True, "half": 0.5, "größe": 3}},
    "env": {"X": "é"},
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ .inputs.version-bump }}", "minor"),
        ("{{inputs.version-bump}}", "minor"),
        ("{{ .Inputs.version-bump }}", "minor"),
        ("{{ Steps.build-all.outputs.version }}", "1.2.0"),
        ("{{ .steps.build-all.outputs.a-1 }}", "x"),
        ('{{ steps["build-all"].outputs["a-1"] }}', "x"),
        ("{{ .steps .build-all .outputs.a-1 }}", "x"),
        ("{{ .event.payload.list.0 }}{{ .event.payload.list[0] }}", "aa"),
        ("{{ .event.payload.größe }}", "3"),
        ("{{ .event.payload.yes }}|{{ .inputs.none }}|{{ .event.payload.half }}", "true||0.5"),
        ("{{ .event.payload.list }}", '["a",{"b":null}]'),
        ("{{ .inputs.name | shell_quote }}", "'it'\"'\"'s'"),
        ('{{ "a" ~ 1 ~ "-" ~ true ~ none ~ null ~ False }}', "a1-truefalse"),
        ('{{ ("a" ~ "b") | upper }}', "AB"),
        ('{{ "{{" }} {{ "}}" }}', "{{ }}"),
        ("{{ '{{ \\'x\\' }}' }}", "{{ 'x' }}"),
        ("a  {{- .env.X -}}  b", "aéb"),
        ("{{ .env.X | upper }}\n", "É\n"),
        ("\r\n{{\r\n .env.X }}\r\n", "\r\né\r\n"),
        ("x}}y", "x}}y"),
        ("{{ .env.X }}}", "é}"),
        ("${{{ .env.X }}}", "${é}"),
        ("{{{{{ .env.X }}", "{{{é"),
    ],
)
def test_an_expression_becomes_its_value(text: str, expected: str) -> None:
    assert render(text, SCOPE) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("inputs.name | json_escape", "it's"),
        ('"a\\n\\"" | json_escape', 'a\\n\\"'),
        ('"a b/é" | url_encode', "a%20b%2F%C3%A9"),
        ('"<\'>" | html_escape', "&lt;&#x27;&gt;"),
        ('inputs.nothing | default("d")', "d"),
        ('inputs.none | default("d") | upper', "D"),
        ('inputs.empty|default ( "d" )', "d"),
        ('inputs.name | default("d")', "it's"),
        ("inputs.nothing | default(inputs.name)", "it's"),
        ('" X " | trim | lower', "x"),
        ('"aXbX" | replace("X", "--")', "a--b--"),
        ('event.payload.list | join(",")', 'a,{"b":null}'),
        ('"a,b" | split(",") | join', "ab"),
        ('"a,b" | split(",") | last', "b"),
        ("event.payload.list | first", "a"),
        ('"abc" | first', "a"),
        ("event.payload.list | length", "2"),
        ("event.payload | length", "4"),
        ("env | to_json", '{"X":"é"}'),
        ("env.X | to_json", '"é"'),
    ],
)
def test_each_filter_does_what_its_name_says(expression: str, expected: str) -> None:
    assert render("{{ " + expression + " }}", SCOPE) == expected


@pytest.mark.parametrize(
    "text",
    ["${#a[@]}", "{% if x %}", "{# no comment #}", "$((1 + {1..3}))", "# line", "## {", "\u20ac\x00 {"],
)
def test_shell_syntax_passes_unchanged_beside_an_expression(text: str) -> None:
    assert render(text, SCOPE) == text
    assert render(text + "{{ .env.X }}" + text, SCOPE) == text + "é" + text


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        ("a {{ b", 1, 3, "never closed"),
        ("{{ 'b }}", 1, 1, "never closed"),
        ("{{ }}", 1, 3, "empty"),
        ("\n {{ .a $ }}", 2, 8, "unexpected char"),
        ("{{ (.a }}", 1, 3, "unexpected"),
        ("{{ .a) }}", 1, 3, "unexpected"),
        ("{{ .a .b c }}", 1, 10, "unexpected `c`"),
        ('{{ "a" "b" }}', 1, 8, "unexpected"),
        ("{{ .a | }}", 1, 8, "a value was expected"),
        ("{{ ..a }}", 1, 4, "expected a name"),
        ("{{ .a. }}", 1, 6, "unexpected `.`"),
        ('{{ "a" | upper.x }}', 1, 15, "unexpected `.`"),
        ("{{ 1 + 1 }}", 1, 6, "`+` is not available"),
        ("{{ .a == 1 }}", 1, 7, "`==` is not available"),
        ("{{ not .a }}", 1, 4, "`not` is not available"),
        ("{{ .a if .b }}", 1, 7, "unexpected `if`"),
        ("{{ .a() }}", 1, 6, "calls are not available"),
        ("{{ range(3) }}", 1, 9, "calls are not available"),
        ("{{ .a[.b] }}", 1, 3, "not available"),
        ("{{ .a, .b }}", 1, 3, "unexpected text after a value"),
        ("{{ [1] }}", 1, 3, "not available"),
        ("{{ (1, 2) }}", 1, 3, "not available"),
        ('{{ ("a")["b"] }}', 1, 3, "only a name"),
        ("{{ .a[true] }}", 1, 4, "text or a whole number"),
        ("{{ .a | uper }}", 1, 9, "did you mean `upper`"),
        ('{{ .a | replace("x") }}', 1, 9, "takes 2 arguments, not 1"),
        ('{{ .a | join("x", "y") }}', 1, 9, "takes at most 1 arguments"),
        ('{{ .a | "x" }}', 1, 9, "there is no filter"),
        ("{{ .a | (upper) }}", 1, 3, "expected token"),
        ('{{ "\\ud800" }}', 1, 3, "surrogate"),
        ("{{ " + "(" * 20 + ")" * 20 + " }}", 1, 20, "nested more than 16"),
        ("{{ .a " + "| trim " * 33 + " }}", 1, 233, "more than 32 filters"),
        ("{{ " + "a" * 5000 + " }}", 1, 3, "longer than 4096"),
    ],
)
def test_syntax_outside_of_the_language_is_refused_with_its_place(
    text: str, line: int, column: int, reason: str
) -> None:
    with pytest.raises(ExpressionError, match=reason.replace("(", r"\(").replace("+", r"\+")) as caught:
        parse_template(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert caught.value.expression == text


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("a\nb {{ .inputs.versoin-bump }}", (2, 6), "did you mean `inputs.version-bump`"),
        ("{{ .input.name }}", (1, 4), "did you mean `inputs`"),
        ("{{ .zzzzz }}", (1, 4), "here are `inputs`, `steps`, `event`, `env`"),
        ("{{ .event.payload.list.2 }}", (1, 4), "the list has 2 elements"),
        ("{{ .env.X.y }}", (1, 4), "`env.X` is a text"),
        ("{{ .event.payload.half.y }}", (1, 4), "`event.payload.half` is a number"),
        ("{{ .event.payload.yes.y }}", (1, 4), "is a boolean"),
        ("{{ .inputs.none.y }}", (1, 4), "is null"),
        ("{{ .env.X | join }}", (1, 13), "needs a list, not a text"),
        ("{{ .event.payload.yes | length }}", (1, 25), "not a boolean"),
        ("{{ .inputs | join }}", (1, 14), "not a mapping"),
        ("{{ .inputs.nope | upper }}", (1, 4), "`inputs.nope` is not defined"),
        ('{{ .inputs.nope ~ "x" | default("y") }}', (1, 4), "`inputs.nope` is not defined"),
        ("{{ .inputs.empty | first }}", (1, 20), "at least one"),
        ('{{ .env.X | split("") }}', (1, 13), "needs a text to split at"),
        ('{{ .env.X | replace("", "a") }}', (1, 13), "needs a text to look for"),
        ('{{ "\\0" | shell_quote }}', (1, 11), "NUL"),
        ("{{ 1e999 }}", (1, 3), "not a JSON number"),
        ('{{ "a" ~ 1e999 }}', (1, 3), "not a JSON number"),
    ],
)
def test_a_value_that_is_not_there_or_does_not_fit_is_named_with_its_place(
    text: str, place: tuple[int, int], reason: str
) -> None:
    with pytest.raises(ExpressionError, match=reason) as caught:
        render(text, SCOPE)
    assert (caught.value.line, caught.value.column) == place


def test_an_unknown_name_is_answered_with_the_way_to_write_two_braces() -> None:
    with pytest.raises(ExpressionError) as caught:
        render("docker inspect -f '{{.State}}'", SCOPE)
    assert '{{ "{{" }}' in caught.value.hint


@pytest.mark.parametrize("name", ["__class__", "keys", "__init__", "_env", "items"])
def test_attributes_of_python_objects_cannot_be_reached(name: str) -> None:
    for path in (
        f".inputs.{name}",
        f'.inputs["{name}"]',
        f".inputs.name.{name}",
        f".event.payload.list.{name}",
    ):
        with pytest.raises(ExpressionError, match="is not defined"):
            render("{{ " + path + " }}", SCOPE)


def test_the_names_are_listed_once_and_in_order() -> None:
    text = (
        '{{ .inputs.version-bump | default(.env.X) }} {{ .event.payload["v"] | upper | shell_quote }}'
        "{{ Outputs.version ~ .inputs.version-bump }}{{ 1 }}"
    )
    template = parse_template(text)
    assert template.names == (
        ("inputs", "version-bump"),
        ("env", "X"),
        ("event", "payload", "v"),
        ("outputs", "version"),
    )
    assert [path for path, _ in template.unquoted_places] == [
        ("inputs", "version-bump"),
        ("env", "X"),
        ("outputs", "version"),
    ]


def test_quoting_before_another_filter_does_not_count_as_quoted() -> None:
    assert parse_template("x\n{{ .a | shell_quote | trim }}").unquoted_places == ((("a",), 2),)
    assert parse_template("{{ (.a ~ .b) | shell_quote }}{{ .c | shell_quote ~ 'x' }}").unquoted_places == ()


@pytest.mark.parametrize(
    "text",
    [
        "{{ .big ~ .big }}",
        "{{ .big }}{{ .big }}",
        "{{ .big | replace('x', 'yy') }}",
        "{{ .big | replace('x', .big) }}",
        "{{ .big | split('x') | join(.big) }}",
        "{{ .big | html_escape }}",
        "{{ .big | upper | to_json }}",
    ],
)
def test_the_result_is_bounded_before_memory_is_taken(text: str) -> None:
    big = "x" * (1 << 20) if "html" not in text else "&" * (1 << 19)
    with pytest.raises(ExpressionError, match="longer than 1048576"):
        render(text, {"big": big})


def test_the_template_itself_is_bounded() -> None:
    with pytest.raises(ExpressionError, match="longer than"):
        parse_template("{{" + "x" * (1 << 20))
    with pytest.raises(ExpressionError, match="more than 10000 expressions"):
        parse_template("{{1}}" * 10_001)


def test_many_unclosed_quotes_take_no_time() -> None:
    with pytest.raises(ExpressionError, match="never closed"):
        parse_template("{{ " + "'\" " * 300_000)


def test_values_are_rendered_inside_lists_and_mappings() -> None:
    value = {"a": ["{{ .env.X }}", 1, None], "{{ k }}": ("{{ .event.payload.yes }}", 1.5)}
    assert render_value(value, SCOPE) == {"a": ["é", 1, None], "{{ k }}": ["true", 1.5]}


def test_a_parsed_template_crosses_a_process_boundary() -> None:
    template = parse_template("v{{ .inputs.name | shell_quote }}")
    assert pickle.loads(pickle.dumps(template)) == template  # noqa: S301 -- our own bytes


def test_an_error_crosses_a_process_boundary_whole() -> None:
    error = ExpressionError("no", expression="a\nb", line=2, column=1, hint="do")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own bytes
    assert (copy.message, copy.reason, copy.line, copy.column, copy.hint, copy.expression) == (
        "no (line 2, column 1)",
        "no",
        2,
        1,
        "do",
        "a\nb",
    )


def test_a_text_without_braces_costs_no_jinja2() -> None:
    code = (
        "import sys; from tako.expressions.templates import render;"
        "from tako.expressions.text import has_template;"
        "assert render('a {% b', {}) == 'a {% b';"
        "sys.exit('jinja2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert not has_template("{ {")
    assert has_template("{{")


@given(st.text())
def test_a_quoted_value_is_always_one_word_of_the_shell(value: str) -> None:
    if "\0" not in value:
        rendered = render("{{ .x | shell_quote }}", {"x": value})
        assert shlex.split(rendered) == [value]


@given(st.text(alphabet="{}.-|~()[]\"'\\ \n\rabx01é%#_=,:+", max_size=40))
def test_any_text_renders_or_is_refused_with_a_place_inside_it(text: str) -> None:
    for candidate in (text, "{{" + text + "}}"):
        line, column = refused_at(candidate, {"a": "A", "b": {"x": [1]}})
        lines = candidate.split("\n")
        assert 1 <= line <= len(lines)
        assert 1 <= column <= len(lines[line - 1]) + 1


def refused_at(text: str, scope: dict[str, object]) -> tuple[int, int]:
    """Give the place where `text` is refused, or the beginning if it renders."""
    try:
        result = render(text, scope)
    except ExpressionError as error:
        return error.line, error.column
    assert has_template(text) or result == text
    return 1, 1


@given(st.text(alphabet="abc{%#}$\n\r\t '\"\\-", max_size=30).filter(lambda text: "{{" not in text))
def test_data_around_an_expression_is_kept_to_the_byte(data: str) -> None:
    assert render(data + "{{ .a }}" + data, {"a": "|"}) == data + "|" + data
