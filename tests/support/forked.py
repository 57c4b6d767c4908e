"""A pytest plugin: what a test marked `forked` runs with its `tako` is forked, not executed.

One process with all of tako loaded is kept for all these tests; see tests.support.zygote. What a test starts
and does not wait for is executed in any case.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import pytest

from tests.support.runner import clean_environment
from tests.support.zygote import Zygote, zygote

_kept = pytest.StashKey[contextlib.ExitStack]()
_zygote = pytest.StashKey[Zygote]()


@pytest.fixture
def fork(request: pytest.FixtureRequest) -> Zygote | None:
    """Give what forks the commands of the test; None if it is not marked, or if somebody debugs it."""
    return request.config.stash[_zygote] if _is_forked(request.node) else None


def _is_forked(item: pytest.Item) -> bool:
    return item.get_closest_marker("forked") is not None and not os.environ.get("TAKO_TEST_EXECUTE")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start it before tests.support.leaks, a plugin that is registered earlier, looks around: it stays."""
    known = item.config.stash.get(_zygote, None)
    if _is_forked(item) and (known is None or not known.is_usable):
        _end(item.config)
        kept = item.config.stash[_kept] = contextlib.ExitStack()
        environment = clean_environment(Path(tempfile.gettempdir()))
        item.config.stash[_zygote] = kept.enter_context(zygote(environment))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End it, before coverage is collected."""
    _end(session.config)


def _end(config: pytest.Config) -> None:
    kept = config.stash.get(_kept, None)
    if kept is not None:
        kept.close()
