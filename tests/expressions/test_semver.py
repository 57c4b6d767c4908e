"""Semantic versions: the grammar and the precedence of semver.org."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.errors import UsageError
from tako.expressions.semver import Version, compare, parse_version

IDENTIFIERS = st.sampled_from(["0", "1", "9", "10", "a", "b", "A", "-", "a1", "1a", "rc", "rc-1"])
VERSIONS = st.builds(
    lambda numbers, prerelease, build: (
        ".".join(map(str, numbers))
        + ("-" + ".".join(prerelease) if prerelease else "")
        + ("+" + ".".join(build) if build else "")
    ),
    st.tuples(*[st.integers(0, 3)] * 3),
    st.lists(IDENTIFIERS, max_size=3),
    st.lists(IDENTIFIERS, max_size=2),
)


def naive_less(left: str, right: str) -> bool:
    """Read section 11 of the specification word by word."""
    (left_core, _, left_pre), (right_core, _, right_pre) = (
        text.split("+")[0].partition("-") for text in (left, right)
    )
    for one, other in zip(left_core.split("."), right_core.split("."), strict=True):
        if int(one) != int(other):
            return int(one) < int(other)
    if not left_pre or not right_pre:
        return bool(left_pre) and not right_pre
    for one, other in itertools.zip_longest(left_pre.split("."), right_pre.split(".")):
        if one == other:
            continue
        if one is None or other is None:
            return one is None
        if one.isdigit() and other.isdigit():
            return int(one) < int(other)
        if one.isdigit() != other.isdigit():
            return bool(one.isdigit())
        return bool(one < other)
    return False


def test_the_example_of_section_11_is_in_order() -> None:
    suffixes = ("-alpha", "-alpha.1", "-alpha.beta", "-beta", "-beta.2", "-beta.11", "-rc.1", "")
    versions = [parse_version("1.0.0" + suffix) for suffix in suffixes]
    shuffled = sorted(versions, key=str)
    assert shuffled != versions
    assert sorted(shuffled, key=lambda version: version.key) == versions


def test_build_metadata_has_no_part_in_precedence() -> None:
    assert compare(parse_version("1.0.0+a"), parse_version("1.0.0+b.2")) == 0
    assert parse_version("1.0.0-a.1+001").build == ("001",)


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3-a..b", "v1.2.3", "1.2.3+"),
        *(" 1.2.3", "1.2.3\n", "-1.2.3", "1.2.3-é", "1.2.x", "1" * 300 + ".0.0", "\u0661.2.3"),
    ],
)
def test_a_text_that_is_no_semantic_version_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"MAJOR\.MINOR\.PATCH"):
        parse_version(text)


@given(VERSIONS)
def test_a_version_is_written_as_it_was_read(text: str) -> None:
    assert str(parse_version(text)) == text


@given(VERSIONS, VERSIONS)
def test_the_order_is_that_of_the_specification(left: str, right: str) -> None:
    expected = naive_less(right, left) - naive_less(left, right)
    assert compare(parse_version(left), parse_version(right)) == expected


@given(st.lists(VERSIONS.map(parse_version), min_size=3, max_size=3))
def test_the_order_is_total(versions: list[Version]) -> None:
    low, middle, high = sorted(versions, key=lambda version: version.key)
    assert compare(low, middle) <= 0
    assert compare(middle, high) <= 0
    assert compare(low, high) <= 0
    assert compare(high, low) >= 0
