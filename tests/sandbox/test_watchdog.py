"""What the watchdog says although it never came to look: a clock that stands still keeps it from that."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from tako.sandbox.policy import Limits, Policy
from tako.sandbox.process_level import launch
from tako.sandbox.watchdog import Watchdog, Watched
from tako.system.accounting.cgroups import NO_GROUPS, Groups, make_groups, remove

#: Dash ends by itself where it cannot fork.
_FORKS = "for i in 1 2 3 4 5 6 7 8; do sleep 600 & done; exit 3"


@pytest.fixture
def groups() -> Iterator[Groups]:
    made = make_groups(6, None)
    if not made.pids:
        pytest.skip("control groups with a bound on tasks cannot be made here")
    yield made
    remove(made)


@contextlib.contextmanager
def _ended(script: str, groups: Groups = NO_GROUPS) -> Iterator[int]:
    """Run a script in a session of its own and give its exit code; what it left runs until the end."""
    policy = Policy({"PATH": os.defpath}, "/", groups=groups.directories)
    process = launch(policy, ("sh", "-c", script)).process
    try:
        yield process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def _standing(limits: Limits, groups: Groups = NO_GROUPS) -> Watchdog:
    return Watchdog(limits, Watched(groups=groups), clock=lambda: 0.0)


def test_a_step_that_ended_at_the_wall_before_anybody_looked_is_over_its_limit(groups: Groups) -> None:
    watchdog = _standing(Limits(tasks=4), groups)
    with _ended(_FORKS, groups) as code:
        assert code == 2
        assert watchdog.look() is None
    breach = watchdog.last_look()
    assert breach is not None
    assert (breach.limit, breach.value, breach.seen) == ("processes", 4, 6)
    assert watchdog.peaks.tasks == 6


def test_a_step_that_stayed_below_its_limit_is_not_over_it(groups: Groups) -> None:
    watchdog = _standing(Limits(tasks=4), groups)
    with _ended("sleep 600 & true", groups):
        pass
    assert watchdog.last_look() is None
    assert watchdog.peaks.tasks == 2
