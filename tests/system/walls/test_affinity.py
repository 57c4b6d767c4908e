from __future__ import annotations

import os
import signal

import pytest

from tako.system.walls.affinity import hold_to


def test_a_process_is_brought_back_to_its_cpus_and_one_that_has_fewer_is_left_alone() -> None:
    present = sorted(os.sched_getaffinity(0))
    if len(present) < 2:
        pytest.skip("this machine has one CPU")
    pid = os.fork()
    if pid == 0:
        signal.pause()
    try:
        hold_to(frozenset(present[:1]), (pid, 0x7FFFFFFF))
        assert os.sched_getaffinity(pid) == {present[0]}
        hold_to(frozenset(present), (pid,))
        assert os.sched_getaffinity(pid) == {present[0]}
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_thread_that_has_just_ended_spares_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    present = sorted(os.sched_getaffinity(0))
    if len(present) < 2:
        pytest.skip("this machine has one CPU")
    pid = os.fork()
    if pid == 0:
        signal.pause()
    try:
        monkeypatch.setattr(os, "listdir", lambda _: [str(0x7FFFFFFF), str(pid)])
        hold_to(frozenset(present[:1]), (pid,))
        assert os.sched_getaffinity(pid) == {present[0]}
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
