"""Every attack at every level comes out as docs/sandbox.md says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.sandbox.attacks.attacks import ATTACKS, STOPPED, Attack, outcome
from tests.sandbox.attacks.table import documented
from tests.support.isolations import LEVELS, need

#: The table says what root sees; others may be stopped by the machine itself (file modes, Yama).
NEEDS_ROOT = ("open tako's own files for writing", "trace another process", "a mount")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack_ends_as_the_table_says(tmp_path: Path, attack: Attack, level: str) -> None:
    need(level)
    expected = {documented()[attack.name][level]}
    if os.getuid() != 0 and attack.name in NEEDS_ROOT:
        expected.add(STOPPED)
    assert outcome(attack, level, tmp_path) in expected


def test_the_table_has_every_attack() -> None:
    assert list(documented()) == [attack.name for attack in ATTACKS]
