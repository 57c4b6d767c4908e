"""Fixtures of the tests with the real command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import scenes
from tests.support.git import Repositories
from tests.support.runner import Tako


@pytest.fixture
def scene(tako: Tako, git_repo: Repositories, tmp_path: Path) -> Iterator[scenes.Scene]:
    """Give a library with subscribers: `scene.library(...)`, `scene.subscriber("acme/web", ...)`."""
    with scenes.scene(tako, git_repo, tmp_path) as made:
        yield made
