"""A home with one told run in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tako.layout.home import Home
from tako.layout.run import RunDirectory
from tests.support.told_runs import write_failed_tree


@pytest.fixture
def home(tako_home: Path) -> Home:
    """Give the test's home."""
    (tako_home / "workspaces").mkdir(parents=True)
    return Home(tako_home)


@pytest.fixture
def told(home: Home) -> RunDirectory:
    """Give the root of a run that failed, with everything in it."""
    return write_failed_tree(home)
