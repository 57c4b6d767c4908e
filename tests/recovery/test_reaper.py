from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tako.journal.log import Writer, read_records
from tako.journal.records import (
    ChildFinished,
    FanOutPlanned,
    RunFinished,
    RunSettled,
    SegmentStarted,
    StepFinished,
    StepStarted,
)
from tako.layout.home import Home
from tako.layout.run import RunDirectory
from tako.recovery import dead_tree as tree
from tako.recovery.dead_tree import OpenRun
from tako.recovery.ownership import claim
from tako.recovery.reaper import Reaped, reap, reap_run, try_reap
from tako.system.accounting.cgroups import make_groups
from tako.system.process.identity import Identity, identity_of, own_identity
from tako.system.process.orphans import end_process
from tako.values import evolve
from tests.support.dead_runs import (
    HERE,
    began,
    bytes_below,
    run_id,
    state_of,
    write,
    write_killed_tree,
    write_one,
)
from tests.support.records import IDENTITY, T0
from tests.support.runner import GENEROUS_S
from tests.support.told_runs import held
from tests.support.users import in_process


def _final(paths: RunDirectory) -> list[str]:
    """What each thing that a journal tells of came to, in order."""
    told = []
    for record in read_records(paths.journal):
        match record:
            case StepFinished(step=step, status=status) | ChildFinished(run_id=step, status=status):
                told.append(f"{step} {status}")
            case RunFinished(status=status):
                told.append(f"run {status}")
            case RunSettled(status=status, exit_code=code):
                told.append(f"settled {status} {code}")
    return told


def test_a_run_that_was_killed_in_a_step_is_told_as_interrupted(home: Home) -> None:
    paths = write_one(home)
    done = try_reap(home, paths)
    assert done == Reaped(paths.run_id, "reaped", interrupted_at=T0 + 1, completed=1, records=3)
    assert _final(paths) == ["one succeeded", "two interrupted", "run interrupted", "settled interrupted 4"]
    state = state_of(paths)
    assert state.steps["two"].finished is not None
    assert state.steps["two"].finished.attempt == 2
    assert state.finished is not None
    assert (state.finished.at, state.finished.duration_s) == (T0 + 1, 1.0)


def test_a_tree_is_completed_from_its_leaves_up_and_each_thing_ends_once(home: Home) -> None:
    root = write_killed_tree(home)
    done = try_reap(home, root)
    assert (done.outcome, done.completed, done.errors) == ("reaped", 6, ())
    assert _final(root) == [
        "build succeeded",
        f"{run_id(1)} succeeded",
        f"{run_id(2)} failed",
        f"{run_id(3)} interrupted",
        f"{run_id(4)} interrupted",
        "fan interrupted",
        "run interrupted",
        "settled interrupted 4",
    ]
    assert _final(root.child(run_id(1))) == ["t succeeded", "run succeeded"]
    assert _final(root.child(run_id(3))) == ["t interrupted", "run interrupted"]
    waits = root.child(run_id(4))
    assert _final(waits) == [f"{run_id(6)} interrupted", "more interrupted", "run interrupted"]
    assert _final(waits.child(run_id(6))) == ["t interrupted", "run interrupted"]
    assert not root.child(run_id(5)).path.exists()


def test_what_a_parent_is_told_of_a_child_is_what_the_childs_journal_says(home: Home) -> None:
    root = write_killed_tree(home)
    try_reap(home, root)
    children = state_of(root).fan_outs["fan"].children
    well, broken, busy, waits = (children[run_id(number)].finished for number in (1, 2, 3, 4))
    assert well is not None
    assert well.outputs == {"v": "1"}
    assert broken is not None
    assert broken.error is not None
    assert (broken.error.kind, broken.error.exit_code) == ("step_failed", 3)
    for child in (busy, waits):
        assert child is not None
        assert child.error is not None
        assert child.error.kind == "interrupted"


def test_a_tree_whose_root_had_ended_is_settled_with_its_own_status(home: Home) -> None:
    paths = home.run(run_id(0))
    write(paths, began(), RunFinished(T0 + 3, "failed", 3.0))
    try_reap(home, paths)
    assert _final(paths) == ["run failed", "settled failed 1"]


def test_reaping_twice_changes_no_byte(home: Home) -> None:
    root = write_killed_tree(home)
    try_reap(home, root)
    before = bytes_below(home.path)
    assert try_reap(home, root) == Reaped(root.run_id, "settled")
    assert bytes_below(home.path) == before


def test_a_dry_run_tells_the_same_and_changes_no_byte(home: Home) -> None:
    root = write_killed_tree(home)
    write(home.run(run_id(9)))
    home.run(run_id(9)).lock.unlink()
    before = bytes_below(home.path)
    told = [try_reap(home, home.run(run_id(number)), dry_run=True) for number in (0, 9)]
    assert bytes_below(home.path) == before
    done = [try_reap(home, home.run(run_id(number))) for number in (0, 9)]
    assert evolve(told[0], ended=done[0].ended) == done[0]
    assert told[1] == done[1]
    assert _final(root)[-1] == "settled interrupted 4"


def test_a_run_that_wrote_nothing_is_settled_and_nothing_else_is_made_up(home: Home) -> None:
    paths = home.run(run_id(0))
    paths.path.mkdir()
    assert try_reap(home, paths).outcome == "reaped"
    assert _final(paths) == ["settled interrupted 4"]
    assert try_reap(home, paths).outcome == "settled"


def test_a_child_that_wrote_nothing_never_began(home: Home) -> None:
    root = write_killed_tree(home)
    late = root.child(run_id(5))
    write(late)
    try_reap(home, root)
    assert late.journal.read_bytes() == b""
    assert state_of(root).fan_outs["fan"].children[run_id(5)].finished is None


def test_a_torn_line_is_cut_and_the_record_never_counted(home: Home) -> None:
    paths = write_one(home)
    with open(paths.journal, "ab") as file:
        file.write(b'{"kind":"StepFinished","at":17')
    try_reap(home, paths)
    assert _final(paths)[1:] == ["two interrupted", "run interrupted", "settled interrupted 4"]


def test_what_an_interrupted_reaper_has_written_is_not_written_again(home: Home) -> None:
    """Each journal cut after each record that a reaper adds: the next reaper comes to the same end."""
    root = write_killed_tree(home)
    start = bytes_below(home.path)
    try_reap(home, root)
    whole = bytes_below(home.workspaces)
    for name in (path for path in whole if path.endswith("journal.jsonl")):
        lines = whole[name].splitlines(keepends=True)
        known = len(start[f"workspaces/{name}"].splitlines())
        for count in range(known, len(lines)):
            _restore(home.workspaces, whole, name, b"".join(lines[:count]))
            try_reap(home, root)
            assert bytes_below(home.workspaces) == whole, (name, count)


def _restore(directory: Path, whole: dict[str, bytes], name: str, data: bytes) -> None:
    """Put all journals below that of `name` as they were complete, and those above it as after it."""
    above = Path(name).parents
    for path, content in whole.items():
        (directory / path).write_bytes(content)
    (directory / name).write_bytes(data)
    # Whoever is above has been told nothing yet.
    for parent in above:
        journal = directory / parent.parent.parent / "journal.jsonl"
        if parent.parent.name == "children" and journal.exists():
            journal.write_bytes(_before_the_end(journal.read_bytes(), parent.name))


def _before_the_end(data: bytes, child: str) -> bytes:
    lines = data.splitlines(keepends=True)
    told = next(
        number
        for number, line in enumerate(lines)
        if b'"ChildFinished"' in line and f'"run_id":"{child}"'.encode() in line
    )
    return b"".join(lines[:told])


# --- who may be reaped ---


def test_a_run_whose_lock_is_held_is_not_touched(home: Home) -> None:
    paths = write_one(home)
    before = bytes_below(home.path)
    with held(paths):
        for dry_run in (False, True):
            assert try_reap(home, paths, dry_run=dry_run).outcome == "alive"
    assert bytes_below(home.path) == before


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(
    ("owner", "place"),
    [
        (IDENTITY, "another machine"),
        (evolve(HERE, pid_namespace="pid:[1]"), "another pid namespace"),
    ],
)
def test_a_run_of_another_place_is_reported_and_not_touched(
    home: Home, owner: object, place: str, *, declared: bool
) -> None:
    assert isinstance(owner, type(HERE))
    paths = home.run(run_id(0))
    records = (began(identity=owner, steps=("one",)), StepStarted(T0, "one", 1, "k"))
    write(paths, *records, owner=owner if declared else None)
    before = bytes_below(home.path)
    done = try_reap(home, paths)
    assert (done.outcome, done.reason, done.errors) == ("elsewhere", f"it belongs to {place}", ())
    assert bytes_below(home.path) == before


def test_the_last_owner_decides_not_the_first(home: Home) -> None:
    paths = home.run(run_id(0))
    write(paths, began(identity=IDENTITY), SegmentStarted(T0, 1, 1, HERE, "/nowhere/1"), owner=None)
    assert try_reap(home, paths).outcome == "reaped"


@pytest.mark.parametrize("namespace", [HERE.pid_namespace, "pid:[1]"])
def test_after_another_boot_the_lock_alone_decides(home: Home, namespace: str) -> None:
    owner = evolve(HERE, boot="another", pid_namespace=namespace)
    paths = write_one(home, identity=owner)
    write(paths, *read_records(paths.journal), owner=owner)
    assert try_reap(home, paths).outcome == "reaped"


def test_a_process_that_has_the_recorded_pid_but_began_at_another_time_survives(home: Home) -> None:
    """As after pid_max processes: the pid is alive, and is somebody else."""
    with subprocess.Popen(["sleep", "600"]) as stranger:
        owner = identity_of(stranger.pid)
        assert owner is not None
        other = evolve(owner, start_time=owner.start_time - 1)
        paths = write_one(home, identity=other)
        assert try_reap(home, paths).outcome == "reaped"
        assert stranger.poll() is None
        stranger.kill()


def test_records_from_the_future_are_completed_and_never_dated_before(home: Home) -> None:
    later = 4_000_000_000.0
    paths = write_one(home, at=later)
    assert try_reap(home, paths).outcome == "reaped"
    times = [record.at for record in read_records(paths.journal)]
    assert times == sorted(times)
    assert times[-1] == later + 1


def test_a_command_started_by_a_step_of_a_dead_run_does_not_reap_itself(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_one(home)
    monkeypatch.setattr("tako.recovery.reaper.belongs", lambda *_: True)
    done = try_reap(home, paths)
    assert done.outcome == "stuck"
    assert "started by one of its steps" in done.reason


def test_who_holds_the_lock_already_reaps_with_it(home: Home) -> None:
    paths = write_one(home)
    lock = claim(paths)
    assert lock is not None
    try:
        assert reap_run(home, paths).outcome == "reaped"
        assert try_reap(home, paths).outcome == "settled"
    finally:
        os.close(lock)


# --- journals that somebody still holds ---

_HOLDER = """
import fcntl, os, sys
file = open(sys.argv[1], "ab")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
os.read(0, 1)
"""


def _holder(journal: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(journal)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_a_worker_that_does_not_end_is_killed_before_its_journal_is_written(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "_PATIENCE_S", 0.05)
    paths = write_one(home)
    with _holder(paths.journal) as worker:
        identity = identity_of(worker.pid)
        assert identity is not None
        write(paths, began(identity=identity, steps=("one",)), StepStarted(T0, "one", 1, "k"))
        assert try_reap(home, paths).outcome == "reaped"
        assert worker.wait(30) == -9


def test_a_worker_that_is_dying_is_waited_for(home: Home) -> None:
    paths = write_one(home)
    with _holder(paths.journal) as worker:
        identity = identity_of(worker.pid)
        assert identity is not None
        write(paths, began(identity=identity), StepStarted(T0, "one", 1, "k"))
        assert worker.stdin is not None
        ending = threading.Thread(target=worker.communicate, args=(b"x",))
        ending.start()
        assert try_reap(home, paths).outcome == "reaped"
        ending.join()
        assert worker.returncode == 0


def test_a_journal_held_by_nobody_that_it_names_is_left_alone(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "_PATIENCE_S", 0.05)
    paths = write_one(home)
    before = bytes_below(home.workspaces)
    with _holder(paths.journal) as stranger:
        done = try_reap(home, paths)
        assert done.outcome == "stuck"
        assert "held by a process" in done.reason
        assert stranger.poll() is None
        stranger.communicate(b"x")
    assert bytes_below(home.workspaces) == before
    assert try_reap(home, paths).outcome == "reaped"


# --- damage ---


def _damage(paths: RunDirectory) -> bytes:
    data = bytearray(paths.journal.read_bytes())
    data[20] ^= 1
    paths.journal.write_bytes(bytes(data))
    return bytes(data)


def test_a_damaged_child_is_told_and_keeps_nothing_else_from_being_completed(home: Home) -> None:
    root = write_killed_tree(home)
    waits = root.child(run_id(4))
    data = _damage(waits)
    done = try_reap(home, root)
    assert done.outcome == "reaped"
    [error] = done.errors
    assert "line 1" in error
    assert waits.journal.read_bytes() == data
    assert _final(waits.child(run_id(6))) == ["t interrupted", "run interrupted"]
    told = state_of(root).fan_outs["fan"].children[run_id(4)].finished
    assert told is not None
    assert told.error is not None
    assert (told.status, told.error.message) == ("failed", error)
    assert _final(root)[-1] == "settled interrupted 4"


def test_a_damaged_root_is_told_each_time_and_its_children_are_completed(home: Home) -> None:
    root = write_killed_tree(home)
    data = _damage(root)
    for _ in range(2):
        done = try_reap(home, root)
        assert done.outcome == "stuck"
        assert "line 1" in done.reason
    assert root.journal.read_bytes() == data
    assert _final(root.child(run_id(3))) == ["t interrupted", "run interrupted"]


def test_a_held_journal_whose_records_are_damaged_names_nobody(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "_PATIENCE_S", 0.05)
    paths = write_one(home)
    _damage(paths)
    with _holder(paths.journal) as stranger:
        assert try_reap(home, paths).outcome == "stuck"
        stranger.communicate(b"x")


# --- control groups ---


def test_the_control_groups_of_a_dead_worker_are_removed(home: Home) -> None:
    paths = write_one(home)

    def made_and_left() -> str:
        return "\n".join(make_groups(30, 1 << 30).directories)

    left = in_process(made_and_left).splitlines()
    if not left:
        pytest.skip("control groups cannot be made here")
    assert all(map(os.path.exists, left))
    assert [reaped.outcome for reaped in reap(home, [paths])] == ["reaped"]
    assert not any(map(os.path.exists, left))


# --- private directories ---


def test_the_private_directory_of_a_dead_exec_is_removed_with_all_in_it(home: Home, tmp_path: Path) -> None:
    private = tmp_path / "tako-0123456789ab"
    (private / "0" / "closed").mkdir(parents=True)
    (private / "0" / "closed").chmod(0)
    listener = socket.socket(socket.AF_UNIX)
    previous = Path.cwd()
    os.chdir(private)
    listener.bind("listener-x")
    os.chdir(previous)
    listener.close()
    paths = write_one(home, temporary=str(private / "0"))
    assert try_reap(home, paths, dry_run=True).removed == (str(private),)
    assert private.exists()
    assert try_reap(home, paths).removed == (str(private),)
    assert not private.exists()


def test_it_is_found_by_the_lock_of_a_run_that_wrote_nothing(home: Home, tmp_path: Path) -> None:
    private = tmp_path / "tako-0123456789ab"
    private.mkdir()
    paths = home.run(run_id(0))
    write(paths, temporary=str(private))
    assert try_reap(home, paths).removed == (str(private),)
    assert not private.exists()


@pytest.mark.parametrize(
    "told",
    [
        "{tmp}/precious/0",
        "{tmp}/tako-0123456789ab/../precious/0",
        "{tmp}/tako-0123456789AB/0",
        "tako-0123456789ab/0",
        "{tmp}/link/tako-0123456789ab/../../precious",
        "{tmp}/tako-ffffffffffff/0",
        "",
        "/",
    ],
)
def test_nothing_is_removed_that_is_no_private_directory(home: Home, tmp_path: Path, told: str) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    (tmp_path / "tako-0123456789AB").mkdir()
    (tmp_path / "tako-ffffffffffff").symlink_to(precious)
    paths = write_one(home, temporary=told.format(tmp=tmp_path))
    done = try_reap(home, paths)
    assert (done.outcome, done.removed) == ("reaped", ())
    assert (precious / "file").read_text() == "mine"
    assert (tmp_path / "tako-0123456789AB").exists()


# --- many ---


def test_more_runs_than_fit_into_one_look_are_all_reaped(home: Home) -> None:
    runs = [write_one(home, number) for number in range(120)]
    done = list(reap(home, runs))
    assert {result.outcome for result in done} == {"reaped"}
    assert all(_final(paths)[-1] == "settled interrupted 4" for paths in runs)


def test_a_reaper_whose_time_is_over_begins_with_no_other_run(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves the others as they are, and their locks to whoever comes next."""
    runs = [write_one(home, number) for number in range(30)]
    over = time.monotonic() + GENEROUS_S
    begun: list[RunDirectory] = []

    def fourteen(paths: RunDirectory, *, until: float | None) -> OpenRun | None:
        begun.append(paths)
        if len(begun) == 14:
            monkeypatch.setattr(time, "monotonic", lambda: over)
        return tree.open_part(paths, until=until)

    monkeypatch.setattr("tako.recovery.reaper.open_part", fourteen)
    done = list(reap(home, runs, until=over))
    assert [result.run_id for result in done] == [paths.run_id for paths in runs[:14]]
    assert {result.outcome for result in done} == {"reaped"}
    assert all(state_of(paths).settled is None for paths in runs[14:])
    monkeypatch.undo()
    assert {result.outcome for result in reap(home, runs[14:])} == {"reaped"}


def test_the_patience_with_workers_that_do_not_end_is_for_all_of_a_look_together(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "_PATIENCE_S", 0.5)
    runs = [write_one(home, number) for number in range(4)]
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(_holder(paths.journal)) for paths in runs]
        for number, (paths, holder) in enumerate(zip(runs, holders, strict=True)):
            write(paths, began(number, root_run_id=paths.run_id, identity=identity_of(holder.pid)))
        waited: list[float] = []

        def noted(identity: Identity, *, patience_s: float) -> bool:
            waited.append(patience_s)
            return end_process(identity, patience_s=patience_s)

        monkeypatch.setattr("tako.recovery.dead_tree.end_process", noted)
        assert {done.outcome for done in reap(home, runs)} == {"reaped"}
        assert 0.4 < waited[0] <= 0.5
        assert waited[1:] == [0.0] * 3


def test_a_run_that_cannot_be_opened_keeps_no_other_from_being_reaped(home: Home) -> None:
    bad, good = write_one(home, 1), write_one(home, 2)
    bad.lock.unlink()
    bad.lock.mkdir()
    first, second = reap(home, [bad, good])
    assert (first.outcome, second.outcome) == ("stuck", "reaped")
    assert first.errors


def test_a_child_that_cannot_be_written_keeps_its_parents_waiting(home: Home) -> None:
    """Its root is not settled over its head: the next reaper finds it again."""
    root = write_killed_tree(home)
    leaf = root.child(run_id(4)).child(run_id(6))
    elsewhere = leaf.path / "elsewhere"
    leaf.journal.rename(elsewhere)
    leaf.journal.symlink_to(elsewhere)
    done = try_reap(home, root)
    assert done.outcome == "stuck"
    assert _final(root.child(run_id(3)))[-1] == "run interrupted"
    assert _final(root) == ["build succeeded"]
    leaf.journal.unlink()
    elsewhere.rename(leaf.journal)
    assert try_reap(home, root).outcome == "reaped"
    assert _final(leaf) == ["t interrupted", "run interrupted"]


@pytest.mark.parametrize("declared", [True, False])
def test_a_run_whose_process_lives_is_not_touched_though_nobody_holds_its_lock(
    home: Home, *, declared: bool
) -> None:
    """As in a copy of TAKO_HOME: its original goes on."""
    paths = home.run(run_id(0))
    me = own_identity()
    write(paths, began(identity=me, steps=("one",)), owner=me if declared else None)
    before = bytes_below(home.path)
    done = try_reap(home, paths)
    assert (done.outcome, done.reason) == ("alive", f"process {os.getpid()}, which executes it, lives")
    assert bytes_below(home.path) == before


def test_a_run_whose_records_do_not_fit_together_keeps_no_other_from_being_reaped(home: Home) -> None:
    odd, whole = write_one(home, 1), write_one(home, 2)
    with Writer(odd.journal) as journal:
        journal.append(FanOutPlanned(T0 + 9, "never-reached", 1, 1))
    first, second = reap(home, [odd, whole])
    assert (first.outcome, second.outcome) == ("stuck", "reaped")
    assert "FanOutPlanned cannot stand here" in first.reason


def test_what_a_dead_worker_left_of_a_stored_value_is_removed(home: Home) -> None:
    paths = write_one(home)
    paths.values.mkdir()
    whole, unfinished = paths.value("a" * 64), paths.values / f".{'b' * 64}.json.42.0123abcd"
    whole.touch()
    unfinished.touch()
    assert try_reap(home, paths, dry_run=True).removed == (str(unfinished),)
    assert unfinished.exists()
    assert try_reap(home, paths).removed == (str(unfinished),)
    assert list(paths.values.iterdir()) == [whole]
