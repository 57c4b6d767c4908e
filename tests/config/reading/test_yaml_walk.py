"""What YAML itself may do wrong, before any schema looks at it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.config.reading.problems import Problems
from tako.config.reading.values import Value
from tako.config.reading.yaml_walk import DEPTH_MAX, read_tree
from tako.errors import ConfigError, Problem


def _data(text: str) -> object:
    problems = Problems("a.yml")
    data = Value(read_tree(text, problems), "", problems).data()
    problems.check()
    return data


def _told(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        _data(text)
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("12", 12),
        ("-7", -7),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        ("-.5e1", -5.0),
        ("1e3", 1000.0),
        ("on", "on"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("1:30", "1:30"),
        ("010", 10),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("'true'", "true"),
        ('"12"', "12"),
        ("|\n  1\n", "1\n"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_plain_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert _data(f"[{text}]" if "\n" not in text else f"- {text}") == [value]


@pytest.mark.parametrize(
    "text", [".inf", "-.INF", ".nan", ".NaN", "1e999", "9" * 30, "9223372036854775808", "0x" + "f" * 20]
)
def test_a_number_that_json_cannot_hold_is_refused(text: str) -> None:
    assert "quote it" in _told(f"a: {text}")


def test_the_smallest_and_largest_integers_are_taken() -> None:
    assert _data("[-9223372036854775808, 9223372036854775807]") == [-(2**63), 2**63 - 1]


def test_keys_are_texts_also_where_yaml_1_1_reads_booleans_or_numbers() -> None:
    assert _data("{on: 1, no: 2, true: 3, 7: 4}") == {"on": 1, "no": 2, "true": 3, "7": 4}


def test_an_alias_stands_for_what_its_anchor_names() -> None:
    assert _data("a: &x {k: [1]}\nb: *x\n*y : 1\n".replace("*y : 1\n", "")) == {
        "a": {"k": [1]},
        "b": {"k": [1]},
    }


def test_an_alias_to_a_scalar_can_be_a_key() -> None:
    assert _data("a: &x name\n*x : 1\n") == {"a": "name", "name": 1}


@pytest.mark.parametrize("opening", ["[", "- ", '{"a":', "[{a: "])
def test_one_level_too_many_is_an_error_that_names_the_limit(opening: str) -> None:
    assert f"nested more than {DEPTH_MAX} levels deep" in _told(opening * (DEPTH_MAX + 1))


def test_just_so_many_levels_are_allowed() -> None:
    assert "nested" not in str(_data("[" * DEPTH_MAX + "]" * DEPTH_MAX))
    assert f"nested more than {DEPTH_MAX} levels deep" in _told("[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1))


def test_aliases_cannot_nest_deeper_than_brackets_can() -> None:
    deep = "[" * 40 + "]" * 40
    assert "levels deep" in _told(f"a: &a {deep}\nb: {'[' * 30}*a{']' * 30}\n")


def test_aliases_that_multiply_are_stopped() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 5)]
    assert "aliases counted each time" in _told("\n".join(lines))


def test_an_alias_to_a_long_text_counts_as_much_as_the_text() -> None:
    assert "a long text as several" in _told(f"a: &a {'x' * 500_000}\nb: [{'*a, ' * 100}]\n")


def test_a_long_key_over_many_values_needs_no_gigabytes() -> None:
    assert "the keys are too long or too many" in _told(f"? {'k' * 100_000}\n: [{'1, ' * 30_000}]\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &a [*a]", "a.yml:1:8: the alias *a is inside of its own anchor"),
        ("a: *b", "a.yml:1:4: the alias *b has no anchor &b before it"),
        ("a: &a [1]\n*a : 2", "a.yml:2:1: a mapping or list cannot be a key"),
        ("a: 1\n---\nb: 2", "a.yml:2:1: expected one document, found a second one"),
        ("a: 1\na: 2", "a.yml:2:1: a: the key 'a' appears twice, first at line 1, column 1"),
        ("a: {b: 1,\n b: 2}", "a.yml:2:2: a.b: the key 'b' appears twice, first at line 1, column 5"),
        ("a: 1\n'a': 2", "a.yml:2:1: a: the key 'a' appears twice"),
        ("a:\n  <<: {b: 1}", "merge keys (<<) are not supported"),
        ("? [x]\n: 1", "a mapping or list cannot be a key"),
        ("run: {{ .inputs.x }} y", 'if this is a template, quote it: "{{ ... }}"'),
        ("'': 1", "a key is empty"),
        ("a: !!python/tuple [x]", "YAML tags are not supported"),
        ("a: !x [1]", "YAML tags are not supported, found '!x'"),
        ("a: !!map {}", "YAML tags are not supported"),
        ("a: ! b", "YAML tags are not supported"),
        ("a:\n\tb: 1", "a.yml:2:1: not valid YAML"),
        ("a:\n\tb: 1", "indent with spaces"),
        ("a: b: c", "a text that holds ': ' must be quoted"),
        ("a: @b", "quote the text"),
        ("a: [1, 2", "not valid YAML"),
        ('a: "b', "not valid YAML"),
        ("a: b\n c: d", "not valid YAML"),
        ("a: 'b' c\nd: e", "check the indentation and quotes"),
        ('a: "\\ud800"', "not valid YAML"),
        ('a: "\\ud83d\\ude00"', 'write the character itself, or as in "\\U0001F600"'),
        ("%YAML 3.0\n---\na: 1", "a.yml:1:1: not valid YAML"),
        ('a: "\\0"', "a NUL character cannot be used"),
        ("", "a.yml:1:1: the file is empty"),
        ("--- \n", "the file is empty"),
        ("# only a comment", "the file is empty"),
    ],
)
def test_forbidden_features_of_yaml_are_reported_with_their_place(text: str, told: str) -> None:
    assert told in _told(text)


def test_problems_before_a_syntax_error_are_reported_too() -> None:
    told = _told("a: !x 1\nb: [\n").splitlines()
    assert len(told) == 2
    assert told[0].startswith("a.yml:1:4: YAML tags")
    assert "not valid YAML" in told[1]


def test_quoted_merge_keys_are_ordinary_keys_of_a_payload() -> None:
    assert _data('a: {"<<": 1}') == {"a": {"<<": 1}}


def test_every_key_and_item_has_a_place() -> None:
    problems = Problems("a.yml")
    read_tree("a:\n  - b: 1\n    'c.d': [2]\n", problems)
    places = {key: (mark.line, mark.column) for key, mark in problems.marks.items()}
    assert places == {
        "a": (1, 1),
        "a[0]": (2, 5),
        "a[0].b": (2, 5),
        'a[0]["c.d"]': (3, 5),
        'a[0]["c.d"][0]': (3, 13),
    }


@given(st.text(alphabet="abc:-? \n[]{},&*!|>'\"#%@~1.\t", max_size=60))
def test_any_text_is_data_or_a_config_error(text: str) -> None:
    problems: tuple[Problem, ...] = ()
    try:
        _data(text)
    except ConfigError as error:
        problems = error.problems
    assert all(problem.line >= 1 and problem.column >= 1 and problem.message for problem in problems)


_KEYS = st.text("abcxyz", min_size=1, max_size=5)
_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(codec="ascii", exclude_categories=["Cc"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=15,
)


@given(st.dictionaries(_KEYS, _PLAIN, min_size=1, max_size=4))
def test_json_is_read_as_the_same_data(data: dict[str, object]) -> None:
    import json

    assert _data(json.dumps(data)) == data
