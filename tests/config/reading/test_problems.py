from __future__ import annotations

import pytest

from tako.config.reading.problems import Problems, did_you_mean, mark_of
from tako.config.schema import Mark
from tako.errors import ConfigError

_MARKS = {"a": Mark("f", 2, 1), "a.b": Mark("f", 3, 3), "a.b[0]": Mark("f", 4, 5)}


@pytest.mark.parametrize(
    ("key", "line"),
    [("a.b[0]", 4), ("a.b[0].c.d", 4), ("a.b[7]", 3), ("a.x", 2), ("x", 1), ("x.y[0]", 1), ("", 1)],
)
def test_the_place_of_a_key_is_its_own_or_of_what_it_is_in(key: str, line: int) -> None:
    assert mark_of(_MARKS, key, "f").line == line


@pytest.mark.parametrize(
    ("word", "known", "told"),
    [
        ("stps", ["steps", "env"], "; did you mean 'steps'?"),
        ("zzz", ["steps", "env"], "; known here: steps, env"),
        ("zzz", [], ""),
    ],
)
def test_the_nearest_known_word_is_offered(word: str, known: list[str], told: str) -> None:
    assert did_you_mean(word, known) == told


def test_no_problem_is_no_error() -> None:
    Problems("f").check()


def test_each_problem_is_reported_once_in_the_order_of_the_file() -> None:
    problems = Problems("f")
    problems.marks = _MARKS
    for key, message in (("a.b", "second"), ("a", "first"), ("a.b", "second")):
        problems.at(key, message)
    with pytest.raises(ConfigError) as caught:
        problems.check()
    assert caught.value.message == "f:2:1: a: first\nf:3:3: a.b: second"
