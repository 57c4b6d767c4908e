"""What a power cut would leave: each record is one write, and what has ended is on the disk first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from tests.support.scenes import FAN_OUT, Scene, records
from tests.support.strace import Call, calls, needs_strace

pytestmark = needs_strace


@frozen
class Traced:
    """The calls on the journals of one tree, by run directory."""

    run: Path
    calls: list[Call]

    @property
    def runs(self) -> list[Path]:
        return [self.run, *(self.run / "children").iterdir()]

    def of(self, run: Path) -> list[Call]:
        return [call for call in self.calls if call.path == run / "journal.jsonl"]

    def written(self, run: Path) -> Iterator[tuple[dict[str, object], Call]]:
        """Each record with the call that wrote it."""
        return zip(records(run), (call for call in self.of(run) if call.name == "write"), strict=True)

    def synced_after(self, run: Path, written: Call) -> int:
        """When the journal was on the disk with this record."""
        syncs = (call for call in self.of(run) if call.name == "fdatasync")
        return next(sync.ended for sync in syncs if sync.began > written.ended)


@pytest.fixture
def traced(scene: Scene, tmp_path: Path) -> Traced:
    """Give a run of some steps with two children."""
    scene.settings("isolation: process\n")
    for name in ("acme/app", "acme/web"):
        scene.subscriber(name, "true", "true")
    checkout = scene.library("true", "true", FAN_OUT, "true")
    done, found = calls(
        scene.tako, "exec", "release", names="write,fdatasync", output=tmp_path / "calls", cwd=checkout
    )
    assert done.code == 0, done.stderr
    [run] = scene.runs()
    return Traced(run, found)


def _kind(call: Call) -> str:
    return call.data.removeprefix('{"kind":"').partition('"')[0]


def test_the_disk_has_what_was_told_before_anything_goes_on_from_it(traced: Traced) -> None:
    for run in traced.runs:
        lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
        for line, (record, call) in zip(lines, traced.written(run), strict=True):
            # One write, of exactly this record.
            assert (_kind(call), call.result) == (record["kind"], len(line))
        whole = list(traced.written(run))
        for (record, call), (after, following) in itertools.pairwise(whole):
            ended = record["kind"] == "StepFinished" and after["kind"] != "RunFinished"
            if ended or record["kind"] in ("RunFinished", "EventEmitted"):
                assert traced.synced_after(run, call) < following.began, (record, after)
        last = whole[-1]
        assert last[0]["kind"] == ("RunSettled" if run == traced.run else "RunFinished")
        assert traced.synced_after(run, last[1])


def test_the_end_of_a_child_is_on_the_disk_before_its_parent_hears_of_it(traced: Traced) -> None:
    reported = 0
    for record, call in traced.written(traced.run):
        if record["kind"] == "ChildFinished":
            child = traced.run / "children" / str(record["run_id"])
            [end] = [own for told, own in traced.written(child) if told["kind"] == "RunFinished"]
            assert traced.synced_after(child, end) < call.began
            reported += 1
    assert reported == 2


def test_the_root_syncs_what_it_records_in_one_turn_once(traced: Traced) -> None:
    own = traced.of(traced.run)
    order = [call.name if call.name == "fdatasync" else _kind(call) for call in own]
    assert order.count("ChildPlanned") == 2
    planned = order.index("ChildPlanned")
    assert order[planned : planned + 4] == ["ChildPlanned", "ChildPlanned", "FanOutPlanned", "fdatasync"]
