from __future__ import annotations

import pytest

from tako.config.patterns import PATTERN_MAX, compiled, found_in, pattern_problem


def test_a_pattern_finds_its_groups() -> None:
    pattern = compiled("version=([0-9.]+)")
    match = pattern.search("x version=1.2 y")
    assert pattern.groups == 1
    assert match is not None
    assert match.group(1) == "1.2"


def test_a_pattern_is_looked_for_anywhere_unless_anchored() -> None:
    assert found_in("b", "abc")
    assert not found_in("^b$", "abc")


@pytest.mark.parametrize("pattern", ["(a", "(?=a)", r"\1", "a{1001}", "(é"])
def test_a_pattern_that_re2_refuses_is_a_problem_not_a_crash(pattern: str) -> None:
    assert "not a regular expression of RE2" in pattern_problem(pattern)


def test_a_very_long_pattern_is_refused() -> None:
    assert "longer than" in pattern_problem("a" * (PATTERN_MAX + 1))


def test_a_wrong_pattern_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    pattern_problem("(a")
    assert capfd.readouterr() == ("", "")
