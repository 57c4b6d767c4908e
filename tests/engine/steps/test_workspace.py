from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tako.engine.run.run_directory import make_directory
from tako.engine.run.spec import RunSpec
from tako.engine.steps import workspace
from tako.errors import DiskFullError, MachineError
from tako.journal.fold import fold
from tako.journal.records import ChildFinished, ChildPlanned, EventEmitted, Record
from tako.journal.run_state import RunState
from tako.sandbox.policy import Limits
from tako.values import evolve
from tests.support.git import write_files
from tests.support.records import T0, event, run_id, run_started
from tests.support.segments import run_spec
from tests.support.trees import listing


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    """Give a child whose repository holds one file."""
    made = run_spec(tmp_path, received_from=tmp_path / "received", git_identity=("Ada", "ada@example.org"))
    (made.source / "file").write_text("hello\n")
    make_directory(made.paths)
    return made


def test_a_childs_workspace_holds_a_copy_a_home_and_what_the_event_brings(
    spec: RunSpec, tmp_path: Path
) -> None:
    (tmp_path / "received" / "wheel").mkdir(parents=True)
    (tmp_path / "received" / "wheel" / "w").write_text("w")
    workspace.prepare(spec, RunState())
    assert (spec.paths.repo / "file").read_text() == "hello\n"
    assert (spec.paths.received_artifacts / "wheel" / "w").read_text() == "w"
    assert spec.paths.git_config.read_text() == '[user]\n\tname = "Ada"\n\temail = "ada@example.org"\n'
    assert {path.name for path in spec.paths.work.iterdir()} == {
        "artifacts",
        "children",
        "home",
        "repo",
        "tmp",
    }
    assert spec.paths.work.stat().st_mode & 0o777 == 0o700
    assert not spec.paths.draft.work.exists()


OBJECTS = "cache/git/acme/dep.git/objects"
ALTERNATES = ".git/objects/info/alternates"


@pytest.fixture
def borrowing(tmp_path: Path) -> RunSpec:
    """Give a child whose source is the snapshot of a commit of acme/dep."""
    snapshot = tmp_path / "home" / "cache" / "snapshots" / "acme" / "dep" / "0123"
    write_files(snapshot, {ALTERNATES: "/else\n../../../../../../git/acme/dep.git/objects\n"})
    (tmp_path / "home" / OBJECTS).mkdir(parents=True)
    made = evolve(run_spec(tmp_path), source=snapshot)
    make_directory(made.paths)
    return made


def test_git_in_a_workspace_finds_its_objects_at_the_path_that_the_home_has_now(
    borrowing: RunSpec, tmp_path: Path
) -> None:
    workspace.prepare(borrowing, RunState())
    lent = borrowing.paths.repo / ALTERNATES
    assert lent.read_text() == f"/else\n{tmp_path}/home/{OBJECTS}\n"
    (tmp_path / "link").symlink_to("home")
    parts = borrowing.source.relative_to(tmp_path / "home")
    workspace.prepare(evolve(borrowing, source=tmp_path / "link" / parts), RunState())
    assert lent.read_text() == f"/else\n{tmp_path}/link/{OBJECTS}\n"
    assert (borrowing.source / ALTERNATES).read_text().startswith("/else\n../")


@pytest.mark.parametrize("place", [".git", ".git/objects", ".git/objects/info", ALTERNATES])
def test_no_link_of_a_step_is_followed_to_lend_objects(
    borrowing: RunSpec, tmp_path: Path, place: str
) -> None:
    workspace.prepare(borrowing, RunState())
    real, linked = tmp_path / "of-the-user", borrowing.paths.repo / place
    linked.rename(real)
    linked.symlink_to(real)
    before = (borrowing.paths.repo / ALTERNATES).read_text()
    (tmp_path / "link").symlink_to("home")
    parts = borrowing.source.relative_to(tmp_path / "home")
    workspace.prepare(evolve(borrowing, source=tmp_path / "link" / parts), RunState())
    assert (borrowing.paths.repo / ALTERNATES).read_text() == before
    assert linked.is_symlink()


def test_a_workspace_that_borrows_no_longer_stays_so(borrowing: RunSpec) -> None:
    workspace.prepare(borrowing, RunState())
    (borrowing.paths.repo / ALTERNATES).unlink()
    workspace.prepare(borrowing, RunState())
    assert not (borrowing.paths.repo / ALTERNATES).exists()


def test_who_has_no_name_gets_no_git_config(tmp_path: Path) -> None:
    spec = run_spec(tmp_path)
    make_directory(spec.paths)
    workspace.prepare(spec, RunState())
    assert not spec.paths.git_config.exists()


@pytest.mark.parametrize(
    ("identity", "lines"),
    [
        (("", "a@b.c"), ['email = "a@b.c"']),
        (("A\n[core]\n\tpager = evil", ""), ['name = "A [core] \tpager = evil"']),
        (('A"; \\', ""), ['name = "A\\"; \\\\"']),
    ],
)
def test_a_name_cannot_become_more_than_a_name(
    tmp_path: Path, identity: tuple[str, str], lines: list[str]
) -> None:
    spec = run_spec(tmp_path, git_identity=identity)
    make_directory(spec.paths)
    workspace.prepare(spec, RunState())
    assert [line.strip() for line in spec.paths.git_config.read_text().splitlines()] == ["[user]", *lines]


def test_a_root_run_in_place_gets_no_copy_and_no_home(tmp_path: Path) -> None:
    spec = run_spec(tmp_path, in_place=True)
    make_directory(spec.paths)
    workspace.prepare(spec, RunState())
    assert {path.name for path in spec.paths.work.iterdir()} == {"children", "tmp"}


def test_a_workspace_that_is_in_place_stays_as_it_is(spec: RunSpec) -> None:
    workspace.prepare(spec, RunState())
    (spec.paths.repo / "file").write_text("changed\n")
    before = listing(spec.paths.work)
    workspace.prepare(spec, RunState())
    assert listing(spec.paths.work) == before


def test_a_half_made_one_of_a_dead_attempt_is_replaced(spec: RunSpec) -> None:
    spec.paths.draft.repo.mkdir(parents=True)
    (spec.paths.draft.repo / "half").touch()
    workspace.prepare(spec, RunState())
    assert [path.name for path in spec.paths.repo.iterdir()] == ["file"]


def _state(*ended: tuple[int, str, str]) -> RunState:
    records: list[Record] = [run_started(), EventEmitted(T0, "fan", event())]
    planned = [ChildPlanned(T0, "fan", run_id(n), name, "main", "c", "check", {}) for n, name, _ in ended]
    finished = [ChildFinished(T0, "fan", run_id(n), status) for n, _, status in ended]
    return fold([*records, *planned, *finished])


def _produced(spec: RunSpec, number: int, name: str, text: str) -> None:
    directory = spec.paths.child(run_id(number)).artifacts / name
    directory.mkdir(parents=True)
    (directory / "f").write_text(text)


def test_what_succeeded_children_produced_is_there_for_the_next_segment(spec: RunSpec) -> None:
    workspace.prepare(spec, RunState())
    for number in (3, 4, 6):
        _produced(spec, number, "wheel", f"of {number}")
    _produced(spec, 3, "docs", "of 3")
    state = _state(
        (3, "acme/a", "succeeded"),
        (4, "acme/b", "failed"),
        (5, "acme/c", "succeeded"),
        (6, "x.org/g/s/d", "succeeded"),
    )
    workspace.prepare(spec, state)
    found = {
        str(path.relative_to(spec.paths.received_children)): path.read_text()
        for path in spec.paths.received_children.rglob("f")
    }
    assert not spec.paths.draft.work.exists()
    assert found == {"acme/a/docs/f": "of 3", "acme/a/wheel/f": "of 3", "g/s/d/wheel/f": "of 6"}


def test_of_two_children_of_one_repository_the_first_one_counts(spec: RunSpec) -> None:
    workspace.prepare(spec, RunState())
    for number in (3, 4):
        _produced(spec, number, "wheel", f"of {number}")
    workspace.prepare(spec, _state((3, "acme/a", "succeeded"), (4, "acme/a", "succeeded")))
    assert (spec.paths.received_children / "acme" / "a" / "wheel" / "f").read_text() == "of 3"


@pytest.mark.parametrize("order", [(3, 4), (4, 3)])
@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_no_artifact_is_where_another_repository_has_its_own(
    spec: RunSpec, order: tuple[int, int], status: str
) -> None:
    workspace.prepare(spec, RunState())
    _produced(spec, 3, "x", "of a/b")
    (spec.paths.child(run_id(3)).artifacts / "x" / "y").symlink_to("nowhere")
    _produced(spec, 4, "y", "of a/b/x")
    ended = {3: (3, "a/b", "succeeded"), 4: (4, "a/b/x/c", status)}
    workspace.prepare(spec, _state(*(ended[number] for number in order)))
    children = spec.paths.received_children / "a" / "b"
    assert (children / f"x.{run_id(3)}" / "f").read_text() == "of a/b"
    assert sorted(path.name for path in children.rglob("f")) == ["f"] * (1 + (status == "succeeded"))
    assert (children / "x" / "c" / "y" / "f").exists() == (status == "succeeded")


def test_a_repository_of_another_host_takes_no_place_of_one_here(spec: RunSpec) -> None:
    workspace.prepare(spec, RunState())
    for number in (3, 4):
        _produced(spec, number, "wheel", f"of {number}")
    workspace.prepare(spec, _state((3, "x.org/acme/a", "succeeded"), (4, "acme/a", "succeeded")))
    places = spec.paths.received_children / "acme" / "a"
    assert (places / "wheel" / "f").read_text() == "of 4"
    assert (places / f"wheel.{run_id(3)}" / "f").read_text() == "of 3"


def test_nothing_is_written_through_what_a_step_made_of_the_directory(spec: RunSpec, tmp_path: Path) -> None:
    workspace.prepare(spec, RunState())
    _produced(spec, 3, "wheel", "of 3")
    outside = tmp_path / "outside"
    outside.mkdir()
    spec.paths.received_children.rmdir()
    spec.paths.received_children.symlink_to(outside)
    workspace.prepare(spec, _state((3, "acme/a", "succeeded")))
    assert (spec.paths.received_children / "acme" / "a" / "wheel" / "f").read_text() == "of 3"
    assert list(outside.iterdir()) == []
    assert not spec.paths.received_children.is_symlink()


def test_a_snapshot_that_is_gone_is_the_machines_fault(tmp_path: Path) -> None:
    spec = run_spec(tmp_path, source=tmp_path / "gone")
    make_directory(spec.paths)
    with pytest.raises(MachineError, match="gone"):
        workspace.prepare(spec, RunState())
    assert not spec.paths.work.exists()


def test_a_run_directory_that_is_gone_is_the_machines_fault(tmp_path: Path) -> None:
    spec = run_spec(tmp_path)
    with pytest.raises(MachineError, match="the workspace of acme/app cannot be made"):
        workspace.prepare(spec, RunState())


def test_a_full_disk_is_told_as_such(spec: RunSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tako.engine.steps.workspace.move", full)
    with pytest.raises(DiskFullError, match=r"no space left while writing .*work"):
        workspace.prepare(spec, RunState())


def test_removing_it_twice_is_removing_it_once(spec: RunSpec) -> None:
    workspace.prepare(spec, RunState())
    os.mkfifo(spec.paths.repo / "fifo")
    workspace.dispose(spec)
    workspace.dispose(spec)
    assert not spec.paths.work.exists()
    assert (spec.source / "file").exists()


def test_a_failed_run_keeps_the_beginnings_of_its_logs_when_the_disk_is_too_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = run_spec(tmp_path, "true", limits=Limits(min_free=400_000))
    make_directory(spec.paths)
    spec.paths.artifacts.mkdir()
    long, short = spec.paths.log("long"), spec.paths.log("short")
    long.write_bytes(b"x" * 1_000_000)
    short.write_bytes(b"x" * 1_000)
    # What is missing of the reserve and a quarter more comes back when something is cut.
    monkeypatch.setattr(
        workspace, "free_on_disk", lambda _: 100_000 + 1_000_000 - min(1_000_000, long.stat().st_size)
    )
    workspace.make_room(spec)
    assert not spec.paths.artifacts.exists()
    assert long.read_bytes() == b"x" * 600_000 + b"\ntako: cut here, because the disk was too full\n"
    assert short.read_bytes() == b"x" * 1_000
