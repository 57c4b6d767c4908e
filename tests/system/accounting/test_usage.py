"""What is used is counted where the kernel tells it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tako.system.accounting import usage
from tako.system.accounting.usage import huge, processes


@pytest.fixture(autouse=True)
def _pools() -> Iterator[None]:
    usage._has_huge_pages.cache_clear()
    yield
    usage._has_huge_pages.cache_clear()


def test_huge_pages_are_read_from_the_status() -> None:
    assert huge(b"Name:\tx\nVmRSS:\t  10 kB\nHugetlbPages:\t    4096 kB\nThreads:\t1\n") == 4 << 20
    assert huge(b"Name:\tx\n") == 0
    assert huge(Path("/proc/self/status").read_bytes()) == 0


@pytest.mark.parametrize(
    ("pools", "found"), [({}, False), ({"nr_hugepages": "0"}, False), ({"nr_hugepages": "2"}, True)]
)
def test_they_are_looked_at_only_where_there_are_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pools: dict[str, str], found: bool
) -> None:
    (tmp_path / "hugepages-2048kB").mkdir()
    for name, text in pools.items():
        (tmp_path / "hugepages-2048kB" / name).write_text(f"{text}\n")
    monkeypatch.setattr(usage, "_HUGE", tmp_path)
    assert usage._has_huge_pages() is found


def test_where_there_are_some_they_count_as_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "_has_huge_pages", lambda: True)
    monkeypatch.setattr(usage, "huge", lambda _status: 1 << 40)
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    try:
        os.waitpid(pid, os.WUNTRACED)
        assert processes().resident > 1 << 40
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
