from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tako.system.storage.writing import holder_of, is_locked, try_lock, try_share


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT)


def test_a_shared_lock_keeps_out_who_wants_it_alone_and_is_not_seen_as_held(tmp_path: Path) -> None:
    one, two, alone = (_opened(tmp_path / "lock") for _ in range(3))
    assert try_share(one)
    assert try_share(two)
    assert not try_lock(alone)
    assert not is_locked(tmp_path / "lock")
    for descriptor in (one, two):
        os.close(descriptor)
    assert try_lock(alone)
    assert is_locked(tmp_path / "lock")
    late = _opened(tmp_path / "lock")
    assert not try_share(late)
    os.close(late)
    os.close(alone)


@contextmanager
def _looked_at(path: Path, *, by: int) -> Iterator[None]:
    """Have so many processes look at a lock without a pause."""
    pids = []
    readable, writable = os.pipe()
    try:
        for _ in range(by):
            pid = os.fork()
            if pid == 0:
                is_locked(path)
                os.write(writable, b"x")
                while True:
                    is_locked(path)
            pids.append(pid)
        for _ in range(by):
            os.read(readable, 1)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(readable)
        os.close(writable)


def test_who_only_looks_keeps_nobody_from_having_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    os.close(_opened(path))
    with _looked_at(path, by=6):
        for _ in range(50):
            lock = _opened(path)
            assert try_lock(lock)
            assert is_locked(path)
            os.close(lock)


def test_the_holder_of_a_lock_is_described_by_pid_and_command(tmp_path: Path) -> None:
    holder, asking = _opened(tmp_path / "lock"), _opened(tmp_path / "lock")
    assert holder_of(asking) == "another process"
    assert try_lock(holder)
    said = holder_of(asking)
    assert said.startswith(f"process {os.getpid()} (")
    assert "pytest" in said
    os.close(holder)
    os.close(asking)


def test_a_holder_that_has_ended_is_reported_by_pid(tmp_path: Path) -> None:
    """The lock lives as long as somebody has the open file, the process that took it may be gone."""
    holder, asking = _opened(tmp_path / "lock"), _opened(tmp_path / "lock")
    taker = os.fork()
    if taker == 0:
        try_lock(holder)
        os._exit(0)
    os.waitpid(taker, 0)
    assert not try_lock(asking)
    assert holder_of(asking) in (f"process {taker}", "another process")
    os.close(holder)
    os.close(asking)
