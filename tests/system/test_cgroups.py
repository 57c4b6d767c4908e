from __future__ import annotations

from pathlib import Path

import pytest

from tako.system.cgroups import most_tasks


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({"pids.peak": "7\n", "pids.events": "max 3\n", "pids.max": "30\n"}, 7),
        # Linux before pids.peak: all that is known is whether the bound was met.
        ({"pids.events": "max 3\n", "pids.max": "30\n"}, 30),
        ({"pids.events": "max 0\n", "pids.max": "30\n"}, 0),
        ({}, 0),
    ],
)
def test_the_most_tasks_of_a_group_are_known_from_what_its_kernel_tells(
    tmp_path: Path, files: dict[str, str], most: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert most_tasks(tmp_path) == most
