"""CPU time without a control group, of real processes and of what /proc says at moments in between."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tako.system.accounting.cpu_time import CpuTime

_BURNT_S = 0.3


@contextlib.contextmanager
def _burner(*, ignoring: bool) -> Iterator[tuple[int, int]]:
    """A process whose child has used 0.3 s, with a pipe: written to, the child ends and is collected.

    By the process, or by the kernel if that ignores SIGCHLD.
    """
    ready, done = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN if ignoring else signal.SIG_DFL)
        child = os.fork()
        if child == 0:
            while time.process_time() < _BURNT_S:
                pass
            os.write(ready[1], b"x")
            os.read(done[0], 1)
            # Where this is measured, os._exit would first use time to write down what was run.
            os.kill(os.getpid(), signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child, 0)
        signal.pause()
    try:
        os.read(ready[0], 1)
        yield pid, done[1]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for descriptor in (*ready, *done):
            os.close(descriptor)


def _children(pid: int) -> tuple[int, ...]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return tuple(map(int, file.read().split()))


@pytest.mark.parametrize("ignoring", [True, False])
def test_time_counts_once_whoever_collects_it(ignoring: bool) -> None:
    counted = CpuTime()
    with _burner(ignoring=ignoring) as (pid, done):
        pids = (pid, *_children(pid))
        assert len(pids) == 2
        before = counted.look(pids)
        assert before == pytest.approx(_BURNT_S, abs=0.1)
        os.write(done, b"x")
        while _children(pid):
            time.sleep(0.001)
        for _ in range(5):
            assert counted.look((pid,)) == pytest.approx(before, abs=0.1)
    for _ in range(5):
        assert counted.look(()) == pytest.approx(before, abs=0.1)


def _told(*sums: float) -> Callable[[], float]:
    following: Iterator[float] = iter((0.0, *sums))
    return lambda: next(following)


def test_what_is_missing_for_a_moment_is_not_counted_twice() -> None:
    """A process that was collected after its parent had been read."""
    # Each look reads up to three times while the sum is too low.
    counted = CpuTime(collected=_told(5.0, 3.0, 3.0, 3.0, 5.0, 6.0))
    assert [counted.look(()) for _ in range(4)] == [5.0, 5.0, 5.0, 6.0]


def test_what_stays_missing_is_kept_and_what_is_used_afterwards_added() -> None:
    lost = CpuTime(collected=_told(5.0, *[3.0] * 5, 4.0, 9.0))
    assert [lost.look(()) for _ in range(6)] == [5.0, 5.0, 5.0, 5.0, 6.0, 11.0]
