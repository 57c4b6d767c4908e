"""Fixtures for all tests: real repositories and the real tool, in directories of the test's own."""

from __future__ import annotations

import gc
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import runner
from tests.support.git import Repositories
from tests.support.runner import Tako
from tests.support.zygote import Zygote

# Hypothesis would fail an example that takes 200 ms. Nothing here is timed; pytest bounds what hangs.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

pytest_plugins = ("tests.support.leaks", "tests.support.forked")

#: They start thousands of processes, or try thousands of examples: measured, they take many times as long.
_UNMEASURED = (
    "crash",
    "e2e",
    "engine/fan_out/test_any_tako_yml.py",
    "engine/scheduler/test_machine_properties.py",
    "sandbox/attacks",
    "sandbox/test_limits_hold.py",
    "sandbox/test_real_tools.py",
    "scripts",
)


def pytest_configure() -> None:
    """Prepare each process of pytest for what it forks and starts."""
    # They hear the signals of a terminal, also where this was started by `nohup`.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    # In every process that is forked, coverage reads the source of all frames that are open in a test, for
    # the words of an error that does not happen.
    pytest.MonkeyPatch().setattr("coverage.collector.short_stack", str)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tell the tests that run with coverage from those that run without."""
    here = Path(__file__).parent
    for item in items:
        within = item.path.relative_to(here)
        heavy = any(within.is_relative_to(place) for place in _UNMEASURED)
        if heavy and not item.get_closest_marker("measured"):
            item.add_marker("unmeasured")


def pytest_collection_finish() -> None:
    """Keep the garbage collector away from thousands of tests: what is forked copies each page it visits."""
    gc.freeze()


@pytest.fixture
def tako_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test's own `TAKO_HOME`, which is not made yet, and set it for code called in this process."""
    home = tmp_path / "tako-home"
    monkeypatch.setenv("TAKO_HOME", str(home))
    return home


@pytest.fixture
def git_repo(tmp_path: Path) -> Repositories:
    """Give what makes git repositories: `git_repo("acme/greeting", {"tako.yml": ...})`."""
    return Repositories(tmp_path / "repositories")


@pytest.fixture
def tako(tmp_path: Path, tako_home: Path, fork: Zygote | None) -> Tako:
    """Give the command line tool in a clean environment: `tako("exec", "release", cwd=checkout)`."""
    return Tako(runner.clean_environment(tmp_path), tmp_path, fork)
