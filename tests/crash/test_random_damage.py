"""A few cases of `python -m tests.crash.random_damage`, always the same; `nox -s stress` runs many more."""

from __future__ import annotations

import random
from pathlib import Path

from tests.crash.random_damage import make_world, one_case
from tests.support.runner import clean_environment
from tests.support.zygote import zygote


def test_no_command_calls_a_damaged_file_a_bug_or_waits_for_it(tmp_path: Path) -> None:
    chance = random.Random(1)  # noqa: S311 - always the same damage
    with zygote(clean_environment(tmp_path)) as fork:
        world = make_world(tmp_path / "world", fork)
        assert [text for _ in range(6) for text in one_case(world, chance)] == []
