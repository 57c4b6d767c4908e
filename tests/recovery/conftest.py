"""A home for runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tako.layout.home import Home


@pytest.fixture
def home(tako_home: Path) -> Home:
    """Give the test's home."""
    (tako_home / "workspaces").mkdir(parents=True)
    return Home(tako_home)
