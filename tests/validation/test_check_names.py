from __future__ import annotations

import pytest

from tako.validation.check_names import Names, name_problem
from tako.values import evolve

_NAMES = Names(
    inputs=("version-bump", "count"),
    steps=("build",),
    later=("build", "test"),
    env=("LEVEL",),
    event=True,
    outputs=True,
)


@pytest.mark.parametrize(
    "path",
    [
        ("inputs", "version-bump"),
        ("inputs",),
        ("steps",),
        ("steps", "build"),
        ("steps", "build", "outputs", "anything"),
        ("steps", "build", "exit_code"),
        ("env", "LEVEL"),
        ("event", "payload", "a", "b"),
        ("event", "type"),
        ("outputs", "anything"),
    ],
)
def test_existing_names_may_be_used(path: tuple[str, ...]) -> None:
    assert name_problem(path, _NAMES) == ""


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (("inputs", "version_bump"), "there is no 'inputs.version_bump'; did you mean 'version-bump'?"),
        (("input", "count"), "there is no 'input' here; did you mean 'inputs'?"),
        (("steps", "biuld"), "there is no step 'biuld'; did you mean 'build'?"),
        (("steps", "test", "outputs", "x"), "the step 'test' has not run yet at this place"),
        (("steps", "build", "output", "x"), "a step has no 'output'; did you mean 'outputs'?"),
        (("env", "LEVE"), "there is no 'env.LEVE'; did you mean 'LEVEL'?"),
        (("event", "paylod"), "there is no 'event.paylod'; did you mean 'payload'?"),
    ],
)
def test_an_unknown_name_is_reported_with_the_nearest_known_one(path: tuple[str, ...], told: str) -> None:
    assert name_problem(path, _NAMES) == told


def test_a_word_without_meaning_at_its_place_says_where_it_has_one() -> None:
    names = evolve(_NAMES, event=False, outputs=False, env=None, steps=None)
    assert "add 'event' to its 'on'" in name_problem(("event", "payload"), names)
    assert "only in what a step produces" in name_problem(("outputs", "x"), names)
    assert "there is no 'env' here; known here: inputs" in name_problem(("env", "X"), names)
