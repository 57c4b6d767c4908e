"""Conditions: what CEL decides, what it is kept from, and where mistakes are said to be."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.expressions.cel import compile_condition, evaluate_condition
from tako.expressions.errors import ExpressionError, FieldMissingError

SCOPE: dict[str, object] = {
    "event": {
        "type": "built",
        "payload": {
            "version": "v1.12.3-rc.1",
            "n": 3,
            "half": 0.5,
            "list": [1, "a", {"b": None}],
            "tags": ("Alpha", "beta"),
            "yes": True,
            "text": "É, b ",
            "in": 1,
            "null": None,
        },
    },
    "inputs": {"version-bump": "minor", "if": "x"},
    "steps": {"build-all": {"outputs": {"v": "1"}}},
}


@pytest.mark.parametrize(
    "condition",
    [
        "semver.major(event.payload.version) == 1",
        "semver.minor(event.payload.version) == 12 && semver.patch('1.2.3') == 3",
        "semver.compare(event.payload.version, '1.12.3') < 0",
        "semver.valid('1.2.3') && !semver.valid('1.2')",
        '.inputs.version-bump == "minor"',
        '.Inputs.version-bump.startsWith("min")',
        'inputs["version-bump"] == "minor"',
        "has(.inputs.version-bump) && !has(.inputs.no-such)",
        '.inputs.if == "x"',
        "event.payload.in == 1 && .event.payload.in == 1 && .event.payload.list.0 == 1",
        '.steps.build-all.outputs.v == "1"',
        '".inputs.version-bump" != \'.inputs.x\' // .inputs.version-bump',
        'r"\\d.x" == "\\\\d.x" && """a"b""" == "a\\"b"',
        "event.payload.n - 1 == 2 && event.payload.n == 3.0",
        "event.payload.n + 1 == 4",
        '"a" + "b" == "ab"',
        "event.payload.list[2].b == null",
        "1 in event.payload.list && !(2 in event.payload.list)",
        'event.payload.tags.exists(tag, tag in ["beta", "gamma"])',
        "event.payload.tags.all(tag, tag.size() > 3) && [1, 2].exists_one(n, n > 1)",
        '.event.payload.tags.map(tag, tag.lower()).join("-") == "alpha-beta"',
        "event.payload.tags.filter(tag, tag.lower() != tag).size() == 1",
        'event.payload.text.split(",")[1].trim() == "b"',
        'split("a,b", ",").size() == 2 && trim(" a ") == "a" && "ab".split("") == ["a", "b"]',
        'event.payload.text.lower() == "é, b " && "aé".upper() == "AÉ"',
        '"aÉ".upperAscii() == "AÉ" && "AÉ".lowerAscii() == "aÉ"',
        '["a", "b"].join() == "ab" && "aba".replace("a", "x") == "xbx"',
        '"abc".substring(1) == "bc" && "abc".substring(1, 2) == "b"',
        '"abc".contains("b") && "abc".endsWith("c") && "abc".matches("^a.c$")',
        "event.payload.half < 1.0 && event.payload.yes",
        'timestamp("2020-01-01T00:00:00Z") < timestamp("2021-01-01T00:00:00Z")',
        "{'a': 1}.a == 1 && [1, 2][1] == 2",
        '"12".matches("[0-9]+") ? true : false',
        "event.`type` == 'built'",
        "0x10 == 16 && 1e+2 == 100.0",
        "true",
    ],
)  # fmt: skip
def test_a_condition_holds(condition: str) -> None:
    assert evaluate_condition(condition, SCOPE) is True
    assert evaluate_condition(f"!({condition.partition('//')[0]})", SCOPE) is False


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("event.payload.nope == 1", 'there is no field "nope"'),
        ("event.nope.nope", 'there is no field "nope"'),
        (".inputs.no-such == 1", 'there is no field "no-such"'),
        ("event.payload.list[3] == 1", "there is no element 3 in a list of 3"),
        ("event.payload.n.major == 1", "that is not a mapping"),
        ("event.payload.null.x == 1", "that is not a mapping"),
        ("other.x == 1", 'there is no field "x"'),
    ],
)
def test_a_missing_field_is_told_apart_from_other_errors(condition: str, reason: str) -> None:
    with pytest.raises(FieldMissingError, match=reason.replace("[", r"\[")) as caught:
        compile_condition(condition, ("event", "inputs", "other")).evaluate(SCOPE)
    assert caught.value.expression == condition


@pytest.mark.parametrize(
    ("condition", "line", "column", "reason"),
    [
        ("", 1, 1, "empty"),
        ("1 +", 1, 4, "Syntax error"),
        ("\n  evnt.type == 1", 2, 7, "`evnt` is not defined, did you mean `event`"),
        ("zzzzzz", 1, 1, "here are `event`, `inputs`, `steps`"),
        (".inputs.version-bump == 3 )", 1, 27, "extraneous"),
        ('.steps.build-all.outputs.v == "a" && nope', 1, 38, "`nope` is not defined"),
        ('"a" + 1 == "b"', 1, 5, "no matching overload"),
        ("event.payload.n + 1", 1, 1, "gives int, not true or false"),
        ('"text"', 1, 1, "gives string"),
        ("'a", 1, 1, "never closed"),
        ('x == "a\n"', 1, 6, "never closed"),
        ("google.protobuf.Struct{}", 1, 23, "messages are not available"),
        ("(" * 40 + "true" + ")" * 40, 1, 1, "recursion limit"),
        ('"\ud800" == ""', 1, 2, "surrogate"),
        ("true || " * 600 + "true", 1, 1, "longer than 4096"),
        ("event.x.all(y, [y] == [])", 1, 17, "`y` inside a list or map cannot stand"),
        ("event.x.all(y, {'a': .event.x} == {})", 1, 22, "`event` inside"),
        ("event.x.all(y, y + y == y)", 1, 18, r"`\+` cannot stand .* iterates with `all`"),
        ("event.x.map(y, y).map(y, y) == []", 1, 22, "a second `map`"),
    ],
)  # fmt: skip
def test_a_condition_that_cannot_be_compiled_is_refused_with_its_place(
    condition: str, line: int, column: int, reason: str
) -> None:
    with pytest.raises(ExpressionError, match=reason) as caught:
        compile_condition(condition, tuple(SCOPE))
    assert (caught.value.line, caught.value.column) == (line, column)


def test_a_hyphen_read_as_minus_is_explained() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_condition('inputs.version-bump == "minor"', ("inputs",))
    assert caught.value.column == 16
    assert ".inputs.version-bump" in caught.value.hint


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("event.payload.n", "gives int"),
        ("event.payload.version", "gives string"),
        ("event", "gives map"),
        ("event.payload.null", "gives null"),
        ("1 / 0 == 1", "divide by zero"),
        ("9223372036854775807 + 1 > 0", "overflow"),
        ('"x".matches("(")', "invalid regular expression"),
        ('semver.major("1.x") == 1', "not a semantic version"),
        ("semver.major(event.payload.n) == 1", "No matching overloads"),
        ('event.payload.list.join() == ""', "join needs a list of texts"),
        ('"abc".substring(2, 1) == ""', "outside a text of 3"),
        ('"abc".substring(4) == ""', "outside a text of 3"),
        ("event.payload.yes && event.payload.n", "No matching overloads|gives"),
    ],
)
def test_a_condition_that_fails_or_gives_no_boolean_is_an_error(condition: str, reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason) as caught:
        evaluate_condition(condition, SCOPE)
    assert not isinstance(caught.value, FieldMissingError)


def deep(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("\ud800", "half a surrogate pair"),
        ({"\ud800": 1}, "half a surrogate pair"),
        ("a\0b", "a NUL character"),
        (2**63, "does not fit into 64 bits"),
        (-(2**63) - 1, "does not fit into 64 bits"),
        (10**5000, "does not fit into 64 bits"),
        ({1: 2}, "key must be a text"),
        ({1, 2}, "set is not a JSON value"),
        (object, "not a JSON value"),
        (deep(5000), "64 levels"),
        (["x" * 1000] * 400_000, "too long on"),
    ],
    ids=range(11),
)
def test_values_that_are_not_plain_json_never_reach_cel(value: object, reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason):
        evaluate_condition("event.x == 1 || 1 in event.x || event.x == 2", {"event": {"x": value}})


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), float("nan"), None, 1.5, "\x01"])
def test_every_other_plain_value_can_be_compared(value: object) -> None:
    assert evaluate_condition("event.x == event.x || event.x != event.x", {"event": {"x": value}})


def test_values_that_a_condition_does_not_read_are_not_copied() -> None:
    assert evaluate_condition("event.x == 1", {"event": {"x": 1}, "steps": object()})


def test_a_variable_that_the_scope_lacks_has_no_fields() -> None:
    assert not compile_condition("has(inputs.x)", ("inputs",)).evaluate({})


def test_equal_conditions_are_compiled_once() -> None:
    assert compile_condition("event.x == 1", ["event"]) is compile_condition("event.x == 1", ("event",))


def test_text_made_by_one_evaluation_is_not_charged_to_the_next() -> None:
    condition = compile_condition("event.s.upper().lower().trim() == event.s", ("event",))
    scope = {"event": {"s": "a" * 1_000_000}}
    assert all(condition.evaluate(scope) for _ in range(5))


def test_threads_evaluate_at_the_same_time() -> None:
    condition = compile_condition("event.l.exists(x, x == 4) && event.s.upper() != event.s", ("event",))
    scope = {"event": {"s": "a" * 1000, "l": [1, 2, 3, 4]}}
    results: list[bool] = []
    barrier = threading.Barrier(4)

    def evaluate() -> None:
        barrier.wait()
        results.extend(condition.evaluate(scope) for _ in range(50))

    threads = [threading.Thread(target=evaluate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 200


def test_nothing_heavy_is_imported_before_a_condition_is_compiled() -> None:
    code = "import sys, tako.expressions.cel; sys.exit('cel_expr_python' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(st.text(alphabet="ab.-_ ()[]{}'\"\\`+in1r/é\n,&|=!?:", max_size=40))
def test_any_text_is_decided_or_refused_with_a_place_inside_it(text: str) -> None:
    line, column = refused_at(text)
    lines = text.split("\n")
    assert 1 <= line <= len(lines)
    assert 1 <= column <= len(lines[line - 1]) + 1


def refused_at(text: str) -> tuple[int, int]:
    """Give the place where `text` is refused, or the beginning if it is a condition."""
    try:
        assert evaluate_condition(text, {"a": {"b": True}, "b": True}) in {True, False}
    except ExpressionError as error:
        return error.line, error.column
    return 1, 1


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,5}(-[a-z0-9_]{1,5}){0,3}", fullmatch=True)


@given(st.lists(NAMES, min_size=1, max_size=4), st.booleans())
def test_the_leading_dot_reaches_every_name(names: list[str], value: object) -> None:
    scope: object = value
    for name in reversed(names):
        scope = {name: scope}
    condition = ".inputs." + ".".join(names)
    assert evaluate_condition(f"{condition} == {str(value).lower()}", {"inputs": scope})


_LABELS = {"event": {"labels": {"z": 1, "b": 2, "a": {"y": 1, "x": 2}}, "tags": ["y", "x"], "either": True}}


@pytest.mark.parametrize(
    "condition",
    [
        'event.labels.map(k, k).join(",") == "a,b,z"',
        '.event.labels.map(k, k).join(",") == "a,b,z"',
        'event["labels"].filter(k, k != "b").join(",") == "a,z"',
        '.event.labels.a . map ( k , k ).join(",") == "x,y"',
        '(event.either ? event.labels : event.tags).map(k, k).join(",") == "a,b,z"',
        'event.labels.filter(k, true).filter(k, k > "a").join(",") == "b,z"',
        'event.tags.exists(t, event.labels.a.filter(k, k == t).join("") == "x")',
        '!event.labels.exists(k, k == "q") && event.labels.a.exists_one(k, k == "x")',
        '{"b": 1, "a": 2}.map(k, k).join("") == "ab"',
        'event.tags.map(t, t).join("") == "yx"',
        "[2, 1].map(n, n) == [2, 1]",
    ],
)
def test_macros_visit_the_keys_of_a_mapping_in_order_and_lists_as_they_are(condition: str) -> None:
    assert evaluate_condition(condition, _LABELS)


def test_the_order_is_the_same_in_every_process() -> None:
    program = (
        "from tako.expressions.cel import evaluate_condition as holds\n"
        """print(holds('m.map(k, k).join("") == "abcdefgh"', {"m": dict.fromkeys("hgfedcba", 1)}))"""
    )
    said = [subprocess.check_output([sys.executable, "-c", program], text=True) for _ in range(4)]
    assert said == ["True\n"] * 4


def test_a_place_behind_a_macro_is_reported_as_it_was_written() -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_condition("event.tags.exists(t, t == 1) && event.tags.all(t, nope)", ("event",))
    assert (caught.value.line, caught.value.column) == (1, 51)


@pytest.mark.parametrize(
    "made",
    [
        '"a\\x00b".lower()',
        '"a\\x00b".replace("a", "b")',
        '"ab".replace("a", "\\x00")',
        '["a", "b"].join("\\x00")',
        '"a\\x00b".split("b")[0]',
        '"a\\x00b".split("")[0]',
        '"a\\x00b".substring(0, 2)',
    ],
)
def test_no_function_returns_a_text_that_cel_would_cut(made: str) -> None:
    with pytest.raises(ExpressionError, match="a NUL character"):
        evaluate_condition(f"{made} == 'a'", {})


@pytest.mark.parametrize(("length", "holds"), [(9_998, True), (9_999, False)])
def test_all_macros_of_a_condition_have_fewer_than_ten_thousand_iterations(length: int, holds: bool) -> None:
    scope = {"event": {"list": [0] * length}}
    if holds:
        assert evaluate_condition("event.list.all(x, x == 0)", scope)
    else:
        with pytest.raises(ExpressionError, match="macros together would iterate 10000 times or more"):
            evaluate_condition("event.list.all(x, x == 0)", scope)
