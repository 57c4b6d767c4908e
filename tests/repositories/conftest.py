"""Caches in directories of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import field, frozen

from tako.config.schema import Settings
from tako.layout.cache import CacheLayout
from tako.layout.home import Home
from tako.repositories.cache import Cache
from tako.repositories.locks import LockManager

CONFIG = """
version: 0.1.0
workflows:
  test: {steps: [{run: "true"}]}
subscriptions:
  - {artifact: "acme/lib:default", events: [built], workflow: test}
"""


@frozen
class OpenedCache:
    """A cache and what it said."""

    cache: Cache
    layout: CacheLayout
    locks: LockManager
    notes: list[str] = field(factory=list)


OpenCache = Callable[..., OpenedCache]


@pytest.fixture
def open_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenCache:
    """Give what opens the test's cache, as another process would see it: `open_cache(url_template=...)`."""
    monkeypatch.setenv("HOME", str(tmp_path / "user"))

    def opened(*, local: bool = False, **settings: object) -> OpenedCache:
        notes: list[str] = []
        home = Home(tmp_path / "tako")
        locks = LockManager(home.cache, 30.0, notes.append)
        cache = Cache(home, Settings(**settings), locks, local=local, on_note=notes.append)  # type: ignore[arg-type]
        return OpenedCache(cache, home.cache, locks, notes)

    return opened
