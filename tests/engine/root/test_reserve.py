from __future__ import annotations

import os
from pathlib import Path

import pytest

from tako.engine.root import reserve as module
from tako.engine.root.reserve import PATIENCE_S, Reserve, greediest, held_by, held_by_all
from tako.engine.run.run_directory import make_directory
from tako.engine.run.spec import Segment
from tests.support.segments import run_spec

MIB = 1 << 20


class _Disk:
    """A clock and a disk that a test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
        self.now, self.free = 100.0, free
        monkeypatch.setattr(module, "free_on_disk", lambda _: self.free)

    def reserve(self) -> Reserve:
        return Reserve(Path("/home"), 10 * MIB, clock=lambda: self.now)


@pytest.mark.parametrize(("free", "wait_s"), [(11 * MIB, 0.05), (2 << 30, 1.99), (1 << 40, 5.0)])
def test_a_disk_is_looked_at_before_anybody_can_have_filled_it(
    monkeypatch: pytest.MonkeyPatch, free: int, wait_s: float
) -> None:
    disk = _Disk(monkeypatch, free)
    reserve = disk.reserve()
    assert (reserve.wait_s, reserve.look()) == (0.0, 0)
    assert reserve.wait_s == pytest.approx(wait_s, abs=0.01)
    disk.free = 0
    assert reserve.look() == 0
    disk.now += 5.0
    assert reserve.look() == 10 * MIB


def test_a_reserve_that_is_used_up_is_looked_at_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = _Disk(monkeypatch, 4 * MIB)
    reserve = disk.reserve()
    assert reserve.look() == 6 * MIB
    disk.free = 10 * MIB
    assert reserve.look() == 0


def test_nothing_is_given_up_as_long_as_something_runs_or_may_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = _Disk(monkeypatch, 4 * MIB)
    reserve = disk.reserve()
    assert not reserve.is_stuck(waiting=True)
    reserve.look()
    assert not reserve.is_stuck(waiting=True)
    disk.now += PATIENCE_S
    assert not reserve.is_stuck(waiting=False)
    assert not reserve.is_stuck(waiting=True)
    disk.now += PATIENCE_S
    assert reserve.is_stuck(waiting=True)
    assert reserve.told() == (
        "the disk of /home has 4.0 MiB free, less than min_free, 10.0 MiB, and nothing runs that could make"
        " room: free some space, or lower min_free in config.yml"
    )


@pytest.mark.parametrize(
    ("held", "missing", "chosen"),
    [
        ({"a": 5, "b": 9}, 1, "b"),
        ({"a": 5, "b": 9}, 14, "b"),
        # Somebody else has filled the disk: to end all of them would not help.
        ({"a": 5, "b": 9}, 15, ""),
        ({}, 1, ""),
        ({}, 0, ""),
    ],
)
def test_the_greediest_makes_room_unless_others_have_filled_the_disk(
    held: dict[str, int], missing: int, chosen: str
) -> None:
    assert greediest(held, missing) == chosen


def test_a_run_holds_what_lies_in_its_directories_and_what_its_processes_keep_open(tmp_path: Path) -> None:
    spec = run_spec(tmp_path, "true", tool_caches=((tmp_path, ".cache"),))
    make_directory(spec.paths)
    spec.paths.repo.mkdir(parents=True)
    (spec.paths.repo / "f").write_bytes(bytes(2 * MIB))
    (spec.paths.log("step-1")).write_bytes(bytes(MIB))
    segment = Segment(spec, 0, 1, str(tmp_path / "gone"))
    assert 3 * MIB <= held_by(segment, tmp_path, None) < 4 * MIB
    (listen, say), (wait, go) = os.pipe(), os.pipe()
    worker = os.fork()
    if worker == 0:
        child = os.fork()
        if child == 0:
            kept = os.open(spec.paths.repo / "removed", os.O_RDWR | os.O_CREAT)
            os.unlink(spec.paths.repo / "removed")
            os.write(kept, bytes(5 * MIB))
            os.write(say, b"x")
            os.read(wait, 1)
            os._exit(0)
        os.waitpid(child, 0)
        os._exit(0)
    try:
        os.read(listen, 1)
        assert 8 * MIB <= held_by(segment, tmp_path, worker) < 9 * MIB
    finally:
        os.write(go, b"x")
        os.waitpid(worker, 0)
        for descriptor in (listen, say, wait, go):
            os.close(descriptor)


def test_a_run_whose_directories_go_away_meanwhile_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = [Segment(run_spec(tmp_path, "true", number=number), 0, 1, str(tmp_path)) for number in (1, 2)]

    def look(segment: Segment, _place: Path, worker: int | None) -> int:
        if worker is None:
            raise FileNotFoundError
        return 7

    monkeypatch.setattr(module, "held_by", look)
    first, second = (segment.run.run_id for segment in segments)
    assert held_by_all(segments, tmp_path, {first: 5, second: None}) == {first: 7}


def test_a_directory_that_a_step_has_closed_counts_as_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = run_spec(tmp_path, "true")
    make_directory(spec.paths)
    stat = Path.stat

    def closed(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path == spec.paths.home:
            raise PermissionError
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", closed)
    assert held_by(Segment(spec, 0, 1, str(tmp_path / "gone")), tmp_path, None) >= 0
