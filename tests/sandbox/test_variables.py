"""What no program can be given fails the step that asks for it: its name is told, not its value."""

from __future__ import annotations

import os
import re

import pytest

from tako.errors import UsageError
from tako.sandbox.variables import check_environment

_ONE = 32 * os.sysconf("SC_PAGE_SIZE")
_ALL = os.sysconf("SC_ARG_MAX")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (
            {"A": "x" * (_ONE - 2)},
            "its variable A has .*, and a program takes .* of one: put it into a",
        ),
        ({f"V{n}": "x" * 60_000 for n in range(_ALL // 60_000 + 1)}, "its variable V0 has most of .* MiB"),
        ({"A": "before\0after"}, "'A' holds a NUL"),
        ({"A\0B": "x"}, "holds a NUL"),
        ({"A": "\ud800"}, "A holds a character"),
        ({"A": "", "B": "", "C": ""}, "it would get 3 variables, and this isolation level takes 2"),
    ],
)
def test_a_variable_that_no_program_can_get_is_named(environment: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        check_environment(environment, most=2 if len(environment) == 3 else None)
    assert not re.search("x{9}|after", raised.value.message)


def test_variables_within_the_limits_pass() -> None:
    check_environment({"A": "x" * (_ONE - 3), "EMPTY": "", "BYTES": "\udcff"}, most=3)
