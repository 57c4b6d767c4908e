from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from tako.engine.root.open_files import jobs_within, raise_open_files, too_few
from tako.errors import MachineError


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, tuple[int, int]]]:
    """Give the limits that are believed to be there, and set."""
    limits = {resource.RLIMIT_NOFILE: (64, 64)}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", limits.__setitem__)
    return limits  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("hard", "jobs", "room"),
    [(48, 8, 1), (64, 8, 2), (1024, 62, 62), (1024, 64, 62), (resource.RLIM_INFINITY, 4096, 4096)],
)
def test_no_more_jobs_than_files_may_be_open(
    limit: dict[int, tuple[int, int]], hard: int, jobs: int, room: int
) -> None:
    limit[resource.RLIMIT_NOFILE] = (48, hard)
    assert jobs_within(jobs) == room


def test_too_few_files_for_one_job_is_the_machines_fault(limit: dict[int, tuple[int, int]]) -> None:
    limit[resource.RLIMIT_NOFILE] = (40, 40)
    with pytest.raises(MachineError, match="no more than 40 files"):
        jobs_within(1)


def test_what_is_said_names_the_limit(limit: dict[int, tuple[int, int]]) -> None:
    limit[resource.RLIMIT_NOFILE] = (20, 64)
    assert too_few(8, 2).startswith("jobs 2 instead of 8: no more than 64 files")


def test_the_soft_limit_becomes_the_hard_one(limit: dict[int, tuple[int, int]]) -> None:
    limit[resource.RLIMIT_NOFILE] = (64, 4096)
    raise_open_files()
    assert limit[resource.RLIMIT_NOFILE] == (4096, 4096)
