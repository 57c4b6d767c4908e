"""Every attack at every level comes out as docs/sandbox.md says, hurts no sibling and leaves nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tako.sandbox.policy import LANDLOCK, PROCESS
from tako.values import evolve
from tests.sandbox.attacks import on_metadata, on_settings, ordinary
from tests.sandbox.attacks.catalogue import ATTACKS
from tests.sandbox.attacks.outcomes import (
    IN_NAMESPACES,
    NOT_STOPPED,
    STOPPED,
    UNHURT,
    Outcome,
    outcome,
)
from tests.sandbox.attacks.shot import Attack
from tests.sandbox.attacks.table import documented
from tests.support.isolations import LEVELS, isolation, need

every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
every_level = pytest.mark.parametrize("level", LEVELS)


def _said(attack: Attack, level: str, *, own_processes: bool = True) -> str:
    """What the table says where workers can have namespaces, or cannot."""
    said = documented()[attack.name][level]
    if said != IN_NAMESPACES:
        return said
    return STOPPED if own_processes or level != LANDLOCK else NOT_STOPPED


def _check(found: Outcome, attack: Attack, level: str, expected: set[str]) -> None:
    if level in attack.by_group and not found.grouped:
        expected = {NOT_STOPPED}
    assert found.word in expected
    if found.word != NOT_STOPPED:
        # `network: none` is not kept at `process`, so that the step is refused.
        assert found.begun is not (attack.network == "none" and level == PROCESS)
        assert (found.left, found.beside) == ([], UNHURT)


def _to_an_ordinary_user(said: str) -> set[str]:
    """The table says what root can do; modes of files, Yama and sysctls may stop others."""
    return {said, STOPPED} if said == NOT_STOPPED else {said}


@every_level
@every_attack
def test_an_attack_ends_as_the_table_says(tmp_path: Path, attack: Attack, level: str) -> None:
    need(level)
    held_by = isolation(level)
    said = _said(attack, level, own_processes=held_by.own_processes)
    expected = {said} if os.geteuid() == 0 else _to_an_ordinary_user(said)
    _check(outcome(attack, held_by, tmp_path), attack, level, expected)


@pytest.mark.skipif(os.geteuid() != 0, reason="the test above runs as an ordinary user already")
@every_level
@every_attack
def test_an_attack_on_an_ordinary_user_ends_as_the_table_says(attack: Attack, level: str) -> None:
    need(level)
    if reason := ordinary.findings().reason(level):
        pytest.skip(f"level {level} does not work for an ordinary user here: {reason}")
    said = _said(attack, level, own_processes=not ordinary.findings().own_processes)
    _check(ordinary.outcome(attack, level), attack, level, _to_an_ordinary_user(said))


@pytest.mark.parametrize(
    "attack",
    [
        attack
        for attack in ATTACKS
        if attack.by_namespaces or attack in (*on_settings.ATTACKS, *on_metadata.ATTACKS)
    ],
    ids=lambda attack: attack.name,
)
def test_an_attack_ends_as_the_table_says_where_workers_can_have_no_namespaces(
    tmp_path: Path, attack: Attack
) -> None:
    held_by = evolve(isolation(LANDLOCK), overlays=False, own_root=False, own_processes=False)
    said = _said(attack, LANDLOCK, own_processes=False)
    expected = {said} if os.geteuid() == 0 else _to_an_ordinary_user(said)
    _check(outcome(attack, held_by, tmp_path), attack, LANDLOCK, expected)


def test_the_table_has_every_attack() -> None:
    assert list(documented()) == [attack.name for attack in ATTACKS]
