from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.config.inputs import resolve_inputs
from tako.config.schema import Input, Validation, Workflow
from tako.errors import InputsInvalidError


def _workflow(*inputs: Input) -> Workflow:
    return Workflow("release", inputs={declared.name: declared for declared in inputs})


def _resolved(declared: Input, value: object) -> object:
    return resolve_inputs(_workflow(declared), {declared.name: value})[declared.name]


def _told(workflow: Workflow, given_values: dict[str, object]) -> str:
    with pytest.raises(InputsInvalidError) as caught:
        resolve_inputs(workflow, given_values)
    return caught.value.message


@pytest.mark.parametrize(
    ("kind", "given_value", "value"),
    [
        ("string", "a", "a"),
        ("string", "", ""),
        ("string", 3, "3"),
        ("string", 1.5, "1.5"),
        ("string", True, "true"),
        ("integer", "3", 3),
        ("integer", " -3 ", -3),
        ("integer", 4, 4),
        ("integer", 3.0, 3),
        ("number", "1.5", 1.5),
        ("number", "2", 2),
        ("number", "1e3", 1000.0),
        ("number", 0.25, 0.25),
        ("boolean", "true", True),
        ("boolean", "false", False),
        ("boolean", True, True),
    ],
)
def test_given_values_come_out_in_the_declared_type(kind: str, given_value: object, value: object) -> None:
    found = _resolved(Input("i", type=kind), given_value)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "given_value", "told"),
    [
        ("string", None, "must be a string, got nothing"),
        ("string", [1], "must be a string, got a list"),
        ("string", {"a": 1}, "must be a string, got a mapping"),
        ("integer", "three", "must be an integer, got 'three'"),
        ("integer", "1.5", "must be an integer, got '1.5'"),
        ("integer", 1.5, "must be an integer, got 1.5"),
        ("integer", True, "must be an integer, got true"),
        ("integer", "9" * 20, "must be an integer that fits into 64 bits, got '999"),
        ("integer", "9" * 9999, "must be an integer that fits into 64 bits, got '999"),
        ("number", "nan", "must be a number, got 'nan'"),
        ("number", "9223372036854775808", "must be a number that fits into 64 bits, got '9223"),
        ("number", "1" * 30, "must be a number that fits into 64 bits, got '111"),
        ("string", "a\0b", "cannot be used: it holds the control character U+0000"),
        ("string", "a\x1b[2J", "cannot be used: it holds the control character U+001B"),
        ("integer", "1\x07", "cannot be used: it holds the control character U+0007"),
        ("string", "caf\udce9", "cannot be used: it is not Unicode text (UTF-8)"),
        ("number", "1e999", "must be a number, got '1e999'"),
        ("number", float("inf"), "must be a number, got inf"),
        ("number", False, "must be a number, got false"),
        ("boolean", "yes", "must be true or false, got 'yes'"),
        ("boolean", 1, "must be true or false, got 1"),
    ],
)
def test_a_wrong_type_is_reported_with_the_given_value(kind: str, given_value: object, told: str) -> None:
    message = _told(_workflow(Input("i", type=kind)), {"i": given_value})
    assert message.startswith(f"input 'i' of workflow 'release' {told}")
    assert len(message) < 200


@pytest.mark.parametrize(
    ("kind", "rules", "given_value", "told"),
    [
        ("string", Validation(enum=("a", "b")), "c", "must be one of a, b, got 'c'"),
        ("integer", Validation(enum=(1, 2)), "3", "must be one of 1, 2, got 3"),
        ("boolean", Validation(enum=(True,)), "false", "must be one of true, got false"),
        ("string", Validation(pattern="^v[0-9]+$"), "x1", "must match ^v[0-9]+$, got 'x1'"),
        ("integer", Validation(minimum=2), "1", "must be at least 2, got 1"),
        ("number", Validation(maximum=2.5), "3", "must be at most 2.5, got 3"),
        ("string", Validation(min_length=2), "a", "must have at least 2 characters, got 1"),
        ("string", Validation(max_length=2), "abc", "must have at most 2 characters, got 3"),
    ],
)
def test_a_broken_rule_is_reported(kind: str, rules: Validation, given_value: object, told: str) -> None:
    assert told in _told(_workflow(Input("i", type=kind, validation=rules)), {"i": given_value})


@pytest.mark.parametrize(
    ("kind", "rules", "given_value"),
    [
        ("string", Validation(enum=("a", "b"), pattern="[ab]", min_length=1, max_length=1), "a"),
        ("integer", Validation(minimum=1, maximum=3), "3"),
        ("number", Validation(enum=(1, 2.5)), "1"),
        ("boolean", Validation(minimum=5), "true"),
    ],
)
def test_a_kept_rule_lets_the_value_pass(kind: str, rules: Validation, given_value: object) -> None:
    assert _resolved(Input("i", type=kind, validation=rules), given_value) is not None


def test_a_number_is_not_a_boolean_in_an_enumeration() -> None:
    assert "must be one of true" in _told(
        _workflow(Input("i", type="integer", validation=Validation(enum=(True,)))), {"i": "1"}
    )


def test_missing_inputs_get_their_default_or_an_empty_value() -> None:
    workflow = _workflow(
        Input("a", default="x", has_default=True),
        Input("b"),
        Input("c", type="integer"),
        Input("d", default=None, has_default=True),
    )
    assert resolve_inputs(workflow, {}) == {"a": "x", "b": "", "c": None, "d": None}


def test_a_missing_required_input_is_reported_with_the_expected_form() -> None:
    workflow = _workflow(
        Input("kind", required=True, validation=Validation(enum=("major", "minor"))),
        Input("count", type="integer", required=True),
    )
    assert _told(workflow, {}).splitlines() == [
        "input 'kind' of workflow 'release' is required; expected one of major, minor",
        "input 'count' of workflow 'release' is required; expected an integer",
    ]


def test_all_problems_are_reported_one_a_line() -> None:
    workflow = _workflow(Input("version", required=True), Input("count", type="integer"))
    assert _told(workflow, {"verson": "1", "count": "many"}).splitlines() == [
        "unknown input 'verson' of workflow 'release'; did you mean 'version'?",
        "input 'version' of workflow 'release' is required; expected a string",
        "input 'count' of workflow 'release' must be an integer, got 'many'",
    ]


def test_a_workflow_without_inputs_takes_none() -> None:
    assert resolve_inputs(_workflow(), {}) == {}
    assert _told(_workflow(), {"a": "1"}) == "unknown input 'a' of workflow 'release'"


def test_a_pattern_is_looked_for_by_re2() -> None:
    # `\\C`, one byte, is known to RE2 and not to Python's `re`.
    declared = Input("i", validation=Validation(pattern=r"^\C\C$"))
    assert _resolved(declared, "ab") == "ab"
    assert "must match" in _told(_workflow(declared), {"i": "abc"})


@given(st.integers(-(2**63), 2**63 - 1))
def test_every_integer_survives_being_a_text(value: int) -> None:
    assert _resolved(Input("i", type="integer"), str(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_survives_being_a_text(value: float) -> None:
    assert _resolved(Input("i", type="number"), str(value)) == value
