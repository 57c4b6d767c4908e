"""Canonical JSON, against the examples of RFC 8785 and the standard library."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.errors import UsageError
from tako.expressions.canonical import canonical_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (5e-324, "5e-324"),
        (-1.7976931348623157e308, "-1.7976931348623157e+308"),
        (9007199254740992.0, "9007199254740992"),
        (295147905179352830000.0, "295147905179352830000"),
        (9.999999999999997e22, "9.999999999999997e+22"),
        (1e23, "1e+23"),
        (333333333.3333332, "333333333.3333332"),
        (0.000001, "0.000001"),
        (1e-7, "1e-7"),
        (4.50, "4.5"),
        (2e-3, "0.002"),
        (-1.5, "-1.5"),
    ],
)
def test_numbers_are_written_as_in_rfc_8785_appendix_b(value: float, expected: str) -> None:
    assert canonical_json(value) == expected


def test_keys_are_sorted_by_utf_16_units_as_in_rfc_8785() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    written = json.loads(canonical_json(dict.fromkeys(keys)))
    assert list(written) == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_whole_numbers_stay_exact_and_equal_numbers_are_written_alike() -> None:
    assert canonical_json([2**70, 1, 1.0, True, None]) == "[1180591620717411303424,1,1,true,null]"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "nan is not"),
        ([float("inf")], "inf is not"),
        ({1: 2}, "key"),
        ({"a": {1}}, "set"),
        ("\ud800", "surrogate"),
        ({"\udfff": 1}, "surrogate"),
        (1 << 2000, "1024 bits"),
    ],
)
def test_values_outside_of_json_are_refused(value: object, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        canonical_json(value)


def test_deep_nesting_is_refused_before_the_stack_ends() -> None:
    value: object = 1
    for _ in range(5000):
        value = [value]
    with pytest.raises(UsageError, match="64 levels"):
        canonical_json(value)


@given(JSON)
def test_written_values_read_back_equal(value: object) -> None:
    # As RFC 8785 has it, every number is a double.
    assert json.loads(canonical_json(value), parse_int=float) == value


@given(st.dictionaries(st.text(), st.integers(), max_size=6))
def test_the_order_of_keys_makes_no_difference(value: dict[str, int]) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)
