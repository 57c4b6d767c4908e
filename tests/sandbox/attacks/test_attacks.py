"""Every attack at every level comes out as docs/sandbox.md says, hurts no sibling and leaves nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tako.sandbox.policy import PROCESS
from tests.sandbox.attacks import ordinary
from tests.sandbox.attacks.catalogue import ATTACKS
from tests.sandbox.attacks.outcomes import NOT_STOPPED, STOPPED, UNHURT, Outcome, outcome
from tests.sandbox.attacks.shot import Attack
from tests.sandbox.attacks.table import documented
from tests.support.isolations import LEVELS, isolation, need

every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
every_level = pytest.mark.parametrize("level", LEVELS)


def _check(found: Outcome, attack: Attack, level: str, expected: set[str]) -> None:
    if level in attack.by_group and not found.grouped:
        expected = {NOT_STOPPED}
    assert found.word in expected
    if found.word != NOT_STOPPED:
        # `network: none` is not kept at `process`, so that the step is refused.
        assert found.begun is not (attack.network == "none" and level == PROCESS)
        assert (found.left, found.beside) == ([], UNHURT)


def _to_an_ordinary_user(attack: Attack, level: str) -> set[str]:
    """The table says what root can do; modes of files, Yama and sysctls may stop others."""
    said = documented()[attack.name][level]
    return {said, STOPPED} if said == NOT_STOPPED else {said}


@every_level
@every_attack
def test_an_attack_ends_as_the_table_says(tmp_path: Path, attack: Attack, level: str) -> None:
    need(level)
    expected = {documented()[attack.name][level]}
    if os.geteuid() != 0:
        expected = _to_an_ordinary_user(attack, level)
    _check(outcome(attack, isolation(level), tmp_path), attack, level, expected)


@pytest.mark.skipif(os.geteuid() != 0, reason="the test above runs as an ordinary user already")
@every_level
@every_attack
def test_an_attack_on_an_ordinary_user_ends_as_the_table_says(attack: Attack, level: str) -> None:
    need(level)
    if reason := ordinary.findings().reason(level):
        pytest.skip(f"level {level} does not work for an ordinary user here: {reason}")
    _check(ordinary.outcome(attack, level), attack, level, _to_an_ordinary_user(attack, level))


def test_the_table_has_every_attack() -> None:
    assert list(documented()) == [attack.name for attack in ATTACKS]
