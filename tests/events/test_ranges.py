"""Version ranges: each notation, prereleases, and a naive oracle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.errors import UsageError
from tako.events.ranges import parse_range
from tako.expressions.semver import parse_version


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("(1.1.0...2.0.0]", "1.1.1 1.9.0 2.0.0", "1.1.0 1.0.0 2.0.1"),
        ("[1.0.0...2.0.0)", "1.0.0 1.99.99", "0.9.9 2.0.0 2.0.0-rc.1"),
        ("[1.0.0..2.0.0)", "1.0.0", "2.0.0"),
        ("[1.0.0 , 2.0.0)", "1.0.0", "2.0.0"),
        ("[1.0.0...)", "1.0.0 99.0.0", "0.9.9"),
        ("(...2.0.0]", "0.0.0 2.0.0", "2.0.1"),
        ("(...)", "0.0.0", "1.0.0-a"),
        ("[1.0.0...1.0.0]", "1.0.0 1.0.0+build", "1.0.1"),
        (">=1.2.0 <2.0.0", "1.2.0 1.9.9", "1.1.9 2.0.0 2.0.0-rc.1"),
        (">= 1.2.0, < 2.0.0", "1.2.0", "2.0.0"),
        (">1.2.0 <=2.0.0", "1.2.1 2.0.0", "1.2.0 2.0.1"),
        (">1.2 <=2", "1.3.0 2.9.9", "1.2.9 3.0.0"),
        (">=1.2 <2", "1.2.0 1.9.9", "1.1.9 2.0.0"),
        ("^1.2.3", "1.2.3 1.9.0", "1.2.2 2.0.0"),
        ("^1.2", "1.2.0 1.9.0", "1.1.0 2.0.0"),
        ("^0.2.3", "0.2.3 0.2.9", "0.2.2 0.3.0"),
        ("^0.0.3", "0.0.3", "0.0.2 0.0.4"),
        ("^0.0", "0.0.0 0.0.9", "0.1.0"),
        ("^0", "0.0.0 0.9.0", "1.0.0"),
        ("^0.0.0", "0.0.0", "0.0.1"),
        ("~1.2.3", "1.2.3 1.2.9", "1.2.2 1.3.0"),
        ("~1.2", "1.2.0 1.2.9", "1.3.0"),
        ("~1", "1.0.0 1.9.0", "2.0.0"),
        ("1.x", "1.0.0 1.9.9", "0.9.0 2.0.0"),
        ("1.2.*", "1.2.0 1.2.9", "1.3.0"),
        ("1.X.x", "1.2.0", "2.0.0"),
        ("1", "1.0.0 1.9.9", "2.0.0"),
        ("=1.2", "1.2.3", "1.3.0"),
        ("1.2.3", "1.2.3 1.2.3+build", "1.2.4 1.2.3-rc.1"),
        ("=1.2.3", "1.2.3", "1.2.4"),
        ("*", "0.0.0 1.0.0-rc.1 9.9.9", ""),
        ("", "0.0.0 1.0.0-rc.1 9.9.9", ""),
        ("  ", "0.0.0", ""),
        ("^1.0 || [3.0.0...4.0.0) || 7.x", "1.0.0 3.5.0 7.1.0", "2.0.0 4.0.0 8.0.0"),
        ("<2.0.0", "1.9.9", "2.0.0-alpha 1.0.0-alpha 2.0.0"),
        (">=1.2.3-beta.2", "1.2.3-beta.2 1.2.3-rc.1 1.2.3 2.0.0", "1.2.3-beta.1 1.2.4-rc.1 2.0.0-a"),
        ("[1.0.0-a...1.0.0-c)", "1.0.0-a 1.0.0-b", "1.0.0-c 1.0.0"),
        ("1.0.0-rc.1", "1.0.0-rc.1", "1.0.0 1.0.0-rc.2"),
        ("^1.0.0-rc.1", "1.0.0-rc.1 1.0.0 1.5.0", "2.0.0-rc.1 1.5.0-rc.1"),
    ],
)
def test_a_range_contains_what_its_notation_says(text: str, inside: str, outside: str) -> None:
    found = parse_range(text)
    assert str(found) == text
    assert [version for version in inside.split() if not found.contains(version)] == []
    assert [version for version in outside.split() if found.contains(version)] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("(1.0.0...2.0.0", "an interval ends with"),
        ("[1.0.0 2.0.0]", "needs '...'"),
        ("[1.0...2.0.0]", "'1.0' is not a semantic version"),
        ("[2.0.0...1.0.0]", "no version lies"),
        ("(1.0.0...1.0.0]", "no version lies"),
        ("[1.0.0...2.0.0...3.0.0]", "is not a semantic version"),
        (">=", "'>=' is no comparator"),
        ("=>1.0.0", "'=>1.0.0' is no comparator"),
        (">=1.0.0 &", "'&' is not a semantic version"),
        ("1.x.3", "'1.x.3' is not a semantic version"),
        ("v1.2", "'v1.2' is not"),
        (">=*", "needs a version"),
        ("^x", "needs a version"),
        ("^01.2", "is not a semantic version"),
        ("1.0.0 ||", "an alternative is empty"),
        ("1.0.0 | 2.0.0", "is no comparator"),
        ("1.2.3.4", "is not a semantic version"),
        ("9999999999", "is not a semantic version"),
        ("1" * 2000, "at most 1000 characters"),
    ],
)
def test_what_is_no_range_is_refused_with_what_was_expected(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        parse_range(text)
    assert len(text) > 1000 or "[1.0.0...2.0.0)" in caught.value.hint


def test_a_version_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="not a semantic version"):
        parse_range("*").contains("1")


NUMBERS = st.tuples(*[st.integers(0, 3)] * 3)
BOUNDS = st.sampled_from([">=", "<=", ">", "<", "="])


@given(NUMBERS, st.lists(st.tuples(BOUNDS, NUMBERS), min_size=1, max_size=3))
def test_comparators_over_releases_are_comparisons_of_tuples(
    version: tuple[int, ...], comparators: list[tuple[str, tuple[int, ...]]]
) -> None:
    naive = {
        ">=": lambda bound: version >= bound,
        "<=": lambda bound: version <= bound,
        ">": lambda bound: version > bound,
        "<": lambda bound: version < bound,
        "=": lambda bound: version == bound,
    }
    text = " ".join(operator + ".".join(map(str, bound)) for operator, bound in comparators)
    expected = all(naive[operator](bound) for operator, bound in comparators)
    assert parse_range(text).contains(".".join(map(str, version))) == expected


@given(NUMBERS, NUMBERS, NUMBERS, st.sampled_from("[("), st.sampled_from("])"))
def test_an_interval_means_its_two_comparators(
    version: tuple[int, ...], one: tuple[int, ...], other: tuple[int, ...], left: str, right: str
) -> None:
    low, high = (".".join(map(str, bound)) for bound in sorted((one, other)))
    if low == high:
        left, right = "[", "]"
    comparators = f"{'>=' if left == '[' else '>'}{low} {'<=' if right == ']' else '<'}{high}"
    text = ".".join(map(str, version))
    assert parse_range(f"{left}{low}...{high}{right}").contains(text) == parse_range(comparators).contains(
        text
    )


@given(NUMBERS, NUMBERS)
def test_a_caret_keeps_what_stands_left_of_the_first_non_zero(
    version: tuple[int, ...], base: tuple[int, ...]
) -> None:
    kept = next((index for index, number in enumerate(base) if number), 2) + 1
    expected = version >= base and version[:kept] == base[:kept]
    found = parse_range("^" + ".".join(map(str, base)))
    assert found.takes(parse_version(".".join(map(str, version)))) == expected


@given(st.text(alphabet="0123.x*^~<>=|[](), -av", max_size=20))
def test_any_text_is_a_range_or_refused(text: str) -> None:
    try:
        found = parse_range(text)
    except UsageError:
        return
    assert found.contains("1.2.3") in {True, False}
