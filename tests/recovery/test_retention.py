from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tako.config.schema import KeptWorkspaces
from tako.layout.home import Home
from tako.layout.run import RunDirectory
from tako.recovery.index import Kept
from tako.recovery.retention import begun_before, surplus

NOW = 1_000_000.0
HOUR = 3600.0


def _kept(name: str, hours_ago: float, size: int = 1) -> Kept:
    return Kept(RunDirectory(Path("/nowhere") / name), NOW - hours_ago * HOUR, size)


def _goes(runs: list[Kept], bounds: KeptWorkspaces) -> dict[str, str]:
    return {run.paths.run_id: reason for run, reason in surplus(runs, bounds, NOW)}


def test_the_newest_stay() -> None:
    runs = [_kept("old", 3), _kept("new", 1), _kept("middle", 2)]
    assert _goes(runs, KeptWorkspaces(runs=2)) == {"old": "more than 2 runs"}
    assert _goes(runs, KeptWorkspaces(runs=0)).keys() == {"old", "new", "middle"}


def test_what_is_too_old_goes() -> None:
    runs = [_kept("old", 3), _kept("new", 1)]
    assert _goes(runs, KeptWorkspaces(age_s=2 * HOUR)) == {"old": "too old"}


def test_what_comes_on_top_of_too_many_bytes_goes_with_all_that_is_older() -> None:
    runs = [_kept("new", 1, 60), _kept("middle", 2, 60), _kept("old", 3, 1)]
    assert _goes(runs, KeptWorkspaces(size=100)) == {"middle": "too many bytes", "old": "too many bytes"}


def test_a_run_from_the_future_is_no_older_than_now() -> None:
    assert _goes([_kept("later", -1000)], KeptWorkspaces()) == {}


@given(
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 20)), max_size=12),
    st.integers(0, 6),
    st.integers(0, 60),
    st.integers(0, 300),
)
def test_what_is_left_is_within_all_bounds_and_newer_than_what_goes(
    told: list[tuple[int, int]], runs: int, size: int, hours: int
) -> None:
    bounds = KeptWorkspaces(runs=runs, age_s=hours * HOUR, size=size)
    everything = [_kept(f"r{number}", age, held) for number, (age, held) in enumerate(told)]
    gone = [run for run, _ in surplus(everything, bounds, NOW)]
    stay = [run for run in everything if run not in gone]
    assert len(stay) <= runs
    assert sum(run.size for run in stay) <= size
    assert all(NOW - run.ended_at <= bounds.age_s for run in stay)
    assert not gone or not stay or max(r.ended_at for r in gone) <= min(r.ended_at for r in stay)


def test_old_runs_are_told_by_their_ids_alone(home: Home) -> None:
    for name in ("exec-20200101-000000-00000001", "exec-20200102-000000-00000001", "exec-20210101-000000-x"):
        (home.workspaces / name).mkdir()
    moment = 1_577_923_200.0
    assert begun_before(home, moment) == ["exec-20200101-000000-00000001"]
    assert begun_before(home, -5.0) == []
