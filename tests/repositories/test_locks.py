"""Locks between processes: who gets in, who waits, who is told."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tako.errors import BugError, MachineError
from tako.layout.cache import CacheLayout
from tako.repositories import locks as module
from tako.repositories.locks import Holder, LockManager
from tako.repositories.reference import Repository, parse_repository

LIB, OTHER = parse_repository("acme/lib"), parse_repository("acme/other")

# Holds a lock from the line "held" until its stdin ends; prints what it is told while it waits.
HOLD = """
import sys
from pathlib import Path
from tako.layout.cache import CacheLayout
from tako.repositories.locks import LockManager
from tako.repositories.reference import parse_repository
locks = LockManager(CacheLayout(Path(sys.argv[1])), 60, lambda text: print("waits", flush=True))
with getattr(locks, sys.argv[2])(parse_repository(sys.argv[3])):
    print("held", flush=True)
    sys.stdin.read()
print("released", flush=True)
"""


class Other:
    """Another process that wants a lock."""

    def __init__(self, directory: Path, how: str, repository: str = "acme/lib") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(directory), how, repository],
            env={"PYTHONPATH": os.pathsep.join(sys.path), "TAKO_RUN_ID": "exec-20240101-000000-0badcafe"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def let_go(self) -> str:
        return self.process.communicate(timeout=60)[0].split()[-1]


@contextmanager
def other(directory: Path, how: str, expected: str = "held", repository: str = "acme/lib") -> Iterator[Other]:
    """Give a process that holds a lock, or waits for it."""
    found = Other(directory, how, repository)
    try:
        assert found.line() == expected
        yield found
    finally:
        found.process.kill()
        found.process.communicate()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Give the cache's directory."""
    return tmp_path / "cache"


def _locks(cache: Path, timeout_s: float = 0.2) -> tuple[LockManager, list[str]]:
    told: list[str] = []
    return LockManager(CacheLayout(cache), timeout_s, told.append), told


def test_readers_share_and_different_repositories_do_not_meet(cache: Path) -> None:
    locks, told = _locks(cache)
    with other(cache, "shared"), other(cache, "exclusive", repository="acme/other"), locks.shared(LIB):
        assert (cache / "locks" / "acme" / "lib.lock").exists()
    assert told == []


@pytest.mark.parametrize(("theirs", "ours"), [("exclusive", "shared"), ("shared", "exclusive")])
def test_a_lock_held_elsewhere_is_waited_for_then_refused_naming_its_holder(
    cache: Path, theirs: str, ours: str
) -> None:
    locks, told = _locks(cache)
    with other(cache, theirs) as holder:
        who = f"process {holder.process.pid}"
        with pytest.raises(MachineError) as caught, getattr(locks, ours)(LIB):
            pytest.fail("two are in")
        assert who in caught.value.message
        assert "run exec-20240101-000000-0badcafe" in caught.value.message
        assert "after 0.2 s" in caught.value.message
        assert len(told) == 1
        assert told[0].startswith(f"waiting for the {ours} lock of acme/lib, held by {who}")
        assert holder.let_go() == "released"
    with getattr(locks, ours)(LIB):
        assert len(told) == 1


def test_a_waiter_gets_the_lock_as_soon_as_the_holder_leaves(cache: Path) -> None:
    waits, entered = threading.Event(), threading.Event()
    locks = LockManager(CacheLayout(cache), 60, lambda _: waits.set())
    with other(cache, "exclusive") as holder:

        def enter() -> None:
            with locks.exclusive(LIB):
                entered.set()

        thread = threading.Thread(target=enter)
        thread.start()
        assert waits.wait(60)
        assert not entered.is_set()
        holder.let_go()
        thread.join(60)
        assert entered.is_set()


@pytest.mark.parametrize("how", ["exclusive", "shared"])
def test_a_killed_holder_releases_at_once(cache: Path, how: str) -> None:
    locks, told = _locks(cache, 30)
    with other(cache, how) as holder:
        holder.process.kill()
        holder.process.wait()
        with locks.exclusive(LIB):
            # What the dead one left beside the lock is gone too, the lock files stay.
            names = {path.name for path in (cache / "locks" / "acme").iterdir()}
            assert names <= {"lib.lock", "lib.lock.gate", f"lib.lock.holder-{os.getpid()}"}
    assert told == []


def test_a_writer_gets_in_beside_overlapping_readers(cache: Path) -> None:
    # The late reader has to stand behind the writer that came before it, though a reader holds the lock.
    with (
        other(cache, "shared") as first,
        other(cache, "exclusive", "waits") as writer,
        other(cache, "shared", "waits") as late,
    ):
        assert first.let_go() == "released"
        assert writer.line() == "held"
        assert writer.let_go() == "released"
        assert late.line() == "held"


def test_one_behind_the_gate_is_refused_when_its_time_is_over(cache: Path) -> None:
    locks, told = _locks(cache)
    with (
        other(cache, "shared") as reader,
        other(cache, "exclusive", "waits"),
        pytest.raises(MachineError, match=f"held by process {reader.process.pid}"),
        locks.shared(LIB),
    ):
        pytest.fail("the writer was passed")
    assert len(told) == 1


def test_threads_of_one_process_exclude_each_other(cache: Path) -> None:
    locks, told = _locks(cache)
    refused: list[str] = []

    def attempt() -> None:
        try:
            with _locks(cache)[0].exclusive(LIB):
                refused.append("got in")
        except MachineError as error:
            refused.append(error.message)

    with locks.exclusive(LIB):
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join(60)
    assert refused == [
        "the lock of acme/lib is still held by another thread of this process after 0.2 s",
    ]
    with other(cache, "exclusive"):
        assert told == []


def test_threads_take_turns_and_nobody_is_lost(cache: Path) -> None:
    locks, _ = _locks(cache, 60)
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(20):
            with locks.exclusive(LIB):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(most), max(most)) == (80, 1)


@pytest.mark.parametrize("second", [LIB, OTHER])
def test_two_locks_in_one_thread_are_a_bug(cache: Path, second: Repository) -> None:
    locks, _ = _locks(cache)
    with (
        locks.shared(LIB),
        pytest.raises(BugError, match="while this thread holds that of acme/lib"),
        locks.shared(second),
    ):
        pytest.fail("two locks")
    with locks.shared(OTHER), other(cache, "shared", repository="acme/lib") as reader:
        assert reader.let_go() == "released"


def test_an_error_inside_releases_the_lock(cache: Path) -> None:
    locks, _ = _locks(cache)
    with pytest.raises(ZeroDivisionError), locks.exclusive(LIB):
        _ = 1 / 0
    with other(cache, "exclusive"), pytest.raises(MachineError), locks.shared(LIB):
        pytest.fail("it was still ours")


def test_a_forked_child_does_not_believe_to_hold_its_parents_lock(cache: Path) -> None:
    locks, _ = _locks(cache)
    with locks.exclusive(LIB):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with locks.exclusive(LIB):
                    code = 2
            except MachineError as error:
                code = 0 if f"process {os.getppid()}" in error.message else 3
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        with other(cache, "shared", "waits"):
            assert True


def test_only_the_words_of_the_command_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/tako", "exec", "release", "--inputs.token=s3cret"])
    assert module._own_command() == "tako exec release"
    monkeypatch.setattr(sys, "argv", ["tako", "--inputs.token=s3cret", "exec"])
    assert module._own_command() == "tako"
    assert str(Holder(7, "exec-1", "tako exec")) == "process 7 (tako exec, run exec-1)"
    assert str(Holder(7)) == "process 7"


def test_a_holder_that_left_no_word_is_known_by_its_pid(cache: Path) -> None:
    locks, _ = _locks(cache)
    with other(cache, "exclusive") as holder:
        for path in (cache / "locks" / "acme").glob("*.holder-*"):
            path.unlink()
        expected = f"held by process {holder.process.pid} after"
        with pytest.raises(MachineError, match=expected), locks.shared(LIB):
            pytest.fail("two are in")


def test_nobody_is_named_where_the_kernel_names_nobody(cache: Path) -> None:
    path = cache / "free"
    cache.mkdir()
    assert module._who_holds(path) == "another process"
    path.touch()
    assert module._who_holds(path) == "another process"


def test_a_file_system_without_locks_is_refused_before_anything(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    locks, _ = _locks(cache)
    with pytest.raises(MachineError, match="locks do not work"), locks.shared(LIB):
        pytest.fail("it got in")
