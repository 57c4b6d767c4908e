"""Runs whose tako was killed whole: `tako reap` ends what is left, completes the journals, and no more."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from attrs import frozen

from tests.support.dead_runs import bytes_below
from tests.support.run_processes import carrying, kill_whole, root_of, survivors, whole_tree
from tests.support.runner import GENEROUS_S, Tako, command
from tests.support.scenes import FAN_OUT, Mailbox, Scene, children, kinds, records
from tests.support.users import UNSHARE_MOUNTS, can_mount

pytestmark = pytest.mark.forked

_REAPERS = 8
_LIVE = 20
_UNSHARE_PID = [*UNSHARE_MOUNTS, "--pid", "--fork", "--mount-proc"]


@frozen
class Killed:
    """A run all of whose tako processes were killed at once, and what lived on."""

    scene: Scene
    directory: Path
    left: frozenset[psutil.Process]

    @property
    def run_id(self) -> str:
        return self.directory.name

    def reap(self, *more: str) -> Any:  # noqa: ANN401 - JSON
        """Run `tako reap`, which must succeed; gives what it told."""
        done = self.scene.tako("reap", "--output", "json", *more)
        assert done.code == 0, done.stderr
        return done.json


#: A daemon that is not killed with its worker, as the step's own shell is.
_STAYS = "setsid sleep 600 &\necho up >{box}\nexec sleep 600\n"


def _tree(scene: Scene, box: Mailbox) -> Path:
    """Build one child that ends well, one that stays, one that waits for a child of its own, which stays."""
    stays = _STAYS.format(box=box.path)
    scene.subscriber("acme/a-well", "echo well")
    scene.subscriber("acme/b-stays", stays)
    emits = {"run": "true", "id": "built", "produces": {"events": [{"type": "more"}]}}
    more = {"id": "more", "uses": "tako/fan-out@v1", "with": {"event_type": "more"}}
    scene.subscriber("acme/c-waits", emits, more)
    scene.subscriber("acme/leaf", stays, subscribed={"source": "acme/c-waits", "events": ["more"]})
    return scene.library("true", FAN_OUT, "echo after")


@contextlib.contextmanager
def _killed(scene: Scene) -> Iterator[Killed]:
    box = scene.mailbox()
    checkout = _tree(scene, box)
    with scene.tako.started("exec", "release", "--jobs", "3", cwd=checkout) as process:
        box.lines(2)
        [directory] = scene.runs()
        _await(directory, "a-well")
        left = kill_whole(process.pid, directory.name)
        process.wait(GENEROUS_S)
    try:
        yield Killed(scene, directory, left | frozenset(carrying(directory.name)))
    finally:
        for stray in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                stray.kill()


def _await(directory: Path, name: str) -> None:
    """Wait for the end of a child by its journal's lock, which its worker gives back at the end."""
    [child] = [
        path for path in (directory / "children").iterdir() if name in (path / "journal.jsonl").read_text()
    ]

    with open(child / "journal.jsonl") as journal:
        fcntl.flock(journal, fcntl.LOCK_SH)


def _ends(directory: Path) -> Counter[str]:
    """How many final records each thing in a tree has, by run and name."""
    counted: Counter[str] = Counter()
    for journal in directory.rglob("journal.jsonl"):
        for record in records(journal.parent):
            match record["kind"]:
                case "StepFinished":
                    counted[f"{journal.parent.name} step {record['step']}"] += 1
                case "RunFinished":
                    counted[f"{journal.parent.name} run"] += 1
                case "ChildFinished":
                    counted[f"{journal.parent.name} child {record['run_id']}"] += 1
                case "RunSettled":
                    counted[f"{journal.parent.name} settled"] += 1
    return counted


def _started(directory: Path) -> set[str]:
    """Everything in a tree that began, as `_ends` names it."""
    found = {f"{directory.name} settled"}
    for journal in directory.rglob("journal.jsonl"):
        run = journal.parent.name
        found.add(f"{run} run")
        for record in records(journal.parent):
            if record["kind"] in {"StepStarted", "EventEmitted"}:
                found.add(f"{run} step {record['step']}")
        for child in (journal.parent / "children").glob("*"):
            found.add(f"{run} child {child.name}")
    return found


def test_a_run_killed_whole_is_ended_completed_and_told(scene: Scene) -> None:
    with _killed(scene) as killed:
        assert len(killed.left) >= 2
        private = Path(records(killed.directory)[0]["temporary"]).parent
        assert private.exists()
        [told] = killed.reap()["runs"]
        assert survivors(killed.left, 0.0) == []
        assert carrying(killed.run_id) == set()
        assert {entry.split()[0] for entry in told["ended"]} == {str(process.pid) for process in killed.left}
        assert (told["outcome"], told["removed"][0]) == ("reaped", str(private))
        assert any("sem." in path for path in told["removed"])
        assert not any(Path(path).exists() for path in told["removed"])
        ends = _ends(killed.directory)
        assert set(ends.values()) == {1}
        assert set(ends) == _started(killed.directory)
        _status_tells_it(scene, killed)


def _status_tells_it(scene: Scene, killed: Killed) -> None:
    result = scene.status()
    assert (result["status"], result["exit_code"], result["failures"]) == ("interrupted", 4, [])
    found = children(result)
    assert {name: child["status"] for name, child in found.items()} == {
        "acme/a-well": "succeeded",
        "acme/b-stays": "interrupted",
        "acme/c-waits": "interrupted",
    }
    running = {place["repository"] for place in result["was_running"]}
    assert running == {"acme/b-stays", "acme/leaf"}
    assert result["interrupted_at"] is not None
    text = scene.tako("status").stdout
    assert f"to continue: tako exec --resume {killed.run_id}" in text
    assert "was running: acme/leaf check, step" in text
    assert "done: 2 steps, 1 child" in text
    assert scene.tako("runs", "--output", "json").json[0]["status"] == "interrupted"


def test_reaping_again_finds_nothing_and_changes_no_byte(scene: Scene) -> None:
    with _killed(scene) as killed:
        killed.reap()
        before = bytes_below(scene.tako.home)
        assert killed.reap()["runs"] == []
        assert bytes_below(scene.tako.home) == before


def test_a_dry_run_tells_what_would_be_done_and_does_nothing(scene: Scene) -> None:
    with _killed(scene) as killed:
        before = bytes_below(scene.tako.home)
        [told] = killed.reap("--dry-run")["runs"]
        assert bytes_below(scene.tako.home) == before
        assert all(process.is_running() for process in killed.left)
        [done] = killed.reap()["runs"]
        assert sorted(told.pop("ended")) == sorted(done.pop("ended"))
        assert told == done
        text = scene.tako("reap", "--dry-run")
        assert (text.code, text.stdout) == (0, "")
        assert "nothing to reap" in text.stderr


def test_many_reapers_at_once_write_each_end_once(scene: Scene) -> None:
    with _killed(scene) as killed, contextlib.ExitStack() as stack:
        reapers = [
            stack.enter_context(scene.tako.started("reap", "--output", "json")) for _ in range(_REAPERS)
        ]
        for reaper in reapers:
            _, stderr = reaper.communicate(timeout=GENEROUS_S)
            assert reaper.returncode == 0, stderr
        assert survivors(killed.left, 0.0) == []
        assert set(_ends(killed.directory).values()) == {1}
        assert set(_ends(killed.directory)) == _started(killed.directory)


def test_the_next_exec_reaps_and_says_so(scene: Scene) -> None:
    with _killed(scene) as killed:
        other = scene.git_repo("acme/other", {"tako.yml": _ONE_STEP})
        done = scene.tako("exec", "one", cwd=other)
        assert done.code == 0, done.stderr
        [line] = [line for line in done.stderr.splitlines() if "reaped" in line]
        assert killed.run_id in line
        assert survivors(killed.left, 0.0) == []
        assert scene.status(killed.run_id)["status"] == "interrupted"
        assert os.listdir(scene.tako.home / "index" / "unsettled") == []


_ONE_STEP = "version: 0.1.0\nworkflows:\n  one:\n    steps:\n      - {id: step, run: 'true'}\n"


def test_a_reaper_beside_live_runs_touches_none(scene: Scene) -> None:
    go, box = scene.mailbox("go"), scene.mailbox()
    checkout = scene.library(f"echo up >{box.path}\nread line <{go.path}\n")
    with contextlib.ExitStack() as stack:
        runs = [
            stack.enter_context(scene.tako.started("exec", "release", "--quiet", cwd=checkout))
            for _ in range(_LIVE)
        ]
        box.lines(_LIVE)
        trees = [whole_tree(run.pid) for run in runs]
        done = scene.tako("reap", "--output", "json")
        assert done.code == 0, done.stderr
        assert [told["outcome"] for told in done.json["runs"]] == ["alive"] * _LIVE
        assert all(process.is_running() for tree in trees for process in tree)
        for _ in runs:
            go.path.write_text("go\n")
        for run in runs:
            _, stderr = run.communicate(timeout=GENEROUS_S)
            assert run.returncode == 0, stderr
    assert all(kinds(directory)[-1] == "RunSettled" for directory in scene.runs())
    assert os.listdir(scene.tako.home / "index" / "unsettled") == []


def test_a_copy_of_the_home_of_a_live_run_ends_nothing_of_it(scene: Scene) -> None:
    """Locks are not copied: what is recorded of the run's root proves that it lives."""
    go, box = scene.mailbox("go"), scene.mailbox()
    checkout = scene.library(f"echo up >{box.path}\nread line <{go.path}\n")
    copy = scene.directory / "copy"
    with scene.tako.started("exec", "release", cwd=checkout) as process:
        box.line()
        subprocess.run(["cp", "-r", str(scene.tako.home), str(copy)], check=True)
        tree = whole_tree(process.pid)
        done = scene.tako("reap", "--output", "json", env={"TAKO_HOME": str(copy)})
        [told] = done.json["runs"]
        assert (told["outcome"], told["ended"]) == ("alive", [])
        assert str(root_of(process.pid).pid) in told["reason"]
        assert all(one.is_running() for one in tree)
        go.path.write_text("go\n")
        assert process.wait(GENEROUS_S) == 0


def test_the_steps_of_a_live_run_survive_a_reaped_copy_whose_owner_is_unknown(scene: Scene) -> None:
    go, box = scene.mailbox("go"), scene.mailbox()
    checkout = scene.library(f"echo up >{box.path}\nread line <{go.path}\n")
    copy = scene.directory / "copy"
    with scene.tako.started("exec", "release", cwd=checkout) as process:
        box.line()
        subprocess.run(["cp", "-r", str(scene.tako.home), str(copy)], check=True)
        [run] = (copy / "workspaces").iterdir()
        (run / "lock").write_text("")
        (run / "journal.jsonl").write_text("")
        tree = whole_tree(process.pid)
        [told] = scene.tako("reap", "--output", "json", env={"TAKO_HOME": str(copy)}).json["runs"]
        assert (told["outcome"], told["ended"]) == ("reaped", [])
        assert all(one.is_running() for one in tree)
        go.path.write_text("go\n")
        assert process.wait(GENEROUS_S) == 0


# --- places that are not the usual ones ---


@pytest.mark.skipif(not can_mount(_UNSHARE_PID), reason="no pid namespaces for this user here")
def test_a_run_of_another_pid_namespace_is_reported_and_not_touched(scene: Scene) -> None:
    with _killed(scene) as killed:
        before = bytes_below(scene.tako.home)
        done = scene.unshared(_UNSHARE_PID, f"{shlex.join(command())} reap")
        assert done.code == 0, done.stderr
        assert done.stdout == f"{killed.run_id}  not touched: it belongs to another pid namespace\n"
        assert bytes_below(scene.tako.home) == before
        other = scene.git_repo("acme/other", {"tako.yml": _ONE_STEP})
        done = scene.unshared(_UNSHARE_PID, f"cd {other}", f"{shlex.join(command())} exec one")
        assert done.code == 0, done.stderr
        assert killed.run_id not in done.stderr
        assert all(process.is_running() for process in killed.left)
        # Where it belongs the next one finds it.
        assert f"reaped {killed.run_id}" in scene.tako("exec", "one", cwd=other).stderr
        assert survivors(killed.left, 0.0) == []


@pytest.mark.skipif(not can_mount(), reason="no mount namespaces for this user here")
def test_a_run_directory_that_is_read_only_is_told_and_reaped_when_it_is_no_longer(scene: Scene) -> None:
    with _killed(scene) as killed:
        before = bytes_below(killed.directory)
        done = scene.unshared(
            UNSHARE_MOUNTS,
            f"mount --bind {killed.directory} {killed.directory}",
            f"mount -o remount,bind,ro {killed.directory}",
            f"{shlex.join(command())} reap",
        )
        assert done.code == 1
        assert "not reaped" in done.stdout
        assert "Read-only file system" in done.stderr
        assert bytes_below(killed.directory) == before
        [told] = killed.reap()["runs"]
        assert told["outcome"] == "reaped"


@pytest.mark.skipif(not can_mount(), reason="no mount namespaces for this user here")
def test_an_exec_says_what_it_cannot_write_and_goes_on(scene: Scene) -> None:
    """The directory of a dead run, the trash and what is noted of kept workspaces are read-only."""
    home = scene.tako.home
    with _killed(scene) as killed:
        other = scene.git_repo("acme/other", {"tako.yml": _ONE_STEP})
        parts = [killed.directory, home / "trash", home / "index" / "kept"]
        for part in parts:
            part.mkdir(exist_ok=True)
        (home / "index" / "kept" / killed.run_id).write_text("nonsense")
        (home / "trash" / "rest").touch()
        mounts = [f"mount --bind {part} {part}; mount -o remount,bind,ro {part}" for part in parts]
        done = scene.unshared(UNSHARE_MOUNTS, *mounts, f"cd {other}; {shlex.join(command())} exec one")
        assert done.code == 0, done.stderr
        assert f"{killed.run_id} cannot be reaped" in done.stderr
        assert "Read-only file system" in done.stderr
        assert killed.run_id in os.listdir(home / "index" / "unsettled")
        [told] = killed.reap()["runs"]
        assert told["outcome"] == "reaped"
        assert os.listdir(home / "trash") == []


@pytest.mark.skipif(not can_mount(), reason="no mount namespaces for this user here")
def test_a_full_disk_does_not_keep_a_run_from_being_completed(scene: Scene) -> None:
    """The dead run's journals have kept room for their final records."""
    box = scene.mailbox()
    checkout = scene.library(f"echo up >{box.path}\nexec sleep 600")
    home = scene.tako.home
    tako = shlex.join(command())
    kill = "import psutil, sys; [p.kill() for p in psutil.Process(int(sys.argv[1])).children(recursive=True)]"
    done = scene.unshared(
        UNSHARE_MOUNTS,
        f"cp {home}/config.yml /dev/shm/config.$$",
        f"mount -t tmpfs -o size=8m,mode=700 tmpfs {home}",
        f"mv /dev/shm/config.$$ {home}/config.yml",
        f"cd {checkout}; {tako} exec release >/dev/null 2>&1 & tako=$!",
        f"read line <{box.path}",
        "kill -STOP $tako",
        f"{shlex.quote(os.fspath(Path(command()[0]).parent / 'python'))} -c {shlex.quote(kill)} $tako",
        "kill -KILL $tako; wait $tako || true",
        f"head -c 64M /dev/zero >{home}/ballast 2>/dev/null || true",
        f"{tako} reap --output json; tail -n 1 {home}/workspaces/*/journal.jsonl",
    )
    assert '"outcome": "reaped"' in done.stdout, (done.stdout, done.stderr)
    assert '"kind":"RunSettled"' in done.stdout


# --- tako workspace clean ---


def _failed(scene: Scene) -> Path:
    scene.settings("isolation: process\n")
    scene.subscriber("acme/app", "head -c 100000 /dev/zero >large; exit 3")
    assert scene.tako("exec", "release", cwd=scene.library("true", FAN_OUT)).code == 1
    [run] = scene.runs()
    return run


def test_a_failed_run_keeps_its_workspaces_until_they_are_cleaned(scene: Scene) -> None:
    run = _failed(scene)
    [child] = (run / "children").iterdir()
    assert (child / "work").is_dir()
    assert os.listdir(scene.tako.home / "index" / "kept") == [run.name]
    assert scene.tako("workspace", "clean").code == 0
    assert (child / "work").is_dir()
    refused = scene.tako("workspace", "clean", "--all")
    assert refused.code == 2
    assert "--yes" in refused.stderr
    told = scene.tako("workspace", "clean", "--all", "--dry-run")
    assert run.name in told.stdout
    assert (child / "work").is_dir()
    [removed] = scene.tako("workspace", "clean", "--all", "--yes", "--output", "json").json["workspaces"]
    assert removed["run_id"] == run.name
    assert removed["size"] > 100_000
    assert not (child / "work").exists()
    assert (child / "logs").is_dir()
    assert scene.status()["status"] == "failed"
    assert os.listdir(scene.tako.home / "trash") == []


def test_on_a_terminal_the_user_is_asked(scene: Scene) -> None:
    run = _failed(scene)
    for answer, gone in (("n", False), ("y", True)):
        assert _answered(scene.tako, answer) == (0 if gone else 130)
        assert (run / "work").exists() is not gone


def _answered(tako: Tako, answer: str) -> int:
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [*command(), "workspace", "clean", "--all"],
            env=dict(tako.environment),
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            os.write(ours, f"{answer}\n".encode())
            process.communicate(timeout=GENEROUS_S)
            return process.returncode
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_run_that_succeeds_keeps_no_workspace_unless_it_is_told_to(scene: Scene) -> None:
    checkout = scene.library("true")
    for more, kept in ((), 0), (("--keep",), 1):
        assert scene.tako("exec", "release", *more, cwd=checkout).code == 0
        assert len(os.listdir(scene.tako.home / "index" / "unsettled")) == 0
        directory = scene.tako.home / "index" / "kept"
        assert len(os.listdir(directory) if directory.exists() else []) == kept


def test_the_next_exec_removes_what_config_yml_does_not_keep(scene: Scene) -> None:
    run = _failed(scene)
    scene.settings("isolation: process\nkeep_workspaces: {runs: 0}\n")
    other = scene.git_repo("acme/other", {"tako.yml": _ONE_STEP})
    done = scene.tako("exec", "one", cwd=other)
    assert f"removed the workspaces of {run.name}" in done.stderr
    assert not (run / "work").exists()
