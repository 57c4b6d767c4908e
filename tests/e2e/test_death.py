"""Whatever is killed with SIGKILL: nothing of the run lives on, and what can go on ends right."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from attrs import frozen

from tests.support.run_processes import (
    carrying,
    forkserver_of,
    kill,
    outside,
    parent_of,
    root_of,
    stop,
    survivors,
    whole_tree,
)
from tests.support.runner import GENEROUS_S
from tests.support.scenes import FAN_OUT, Mailbox, Scene, children, errors, kinds, records

_DEATHS_MAX = 3
#: Two daemons, one with nothing of tako's in its environment, one orphaned at once; then the long step.
_LONG = "setsid sleep 600 &\n(env -i setsid sleep 600 &)\necho $$ >{mail}\nexec sleep 600\n"
#: The same, but the second attempt finds that there was a first one.
_ONCE = "if [ -e marker ]; then echo second; exit 0; fi\ntouch marker\n" + _LONG


@frozen
class Running:
    """A run whose step has said that it runs."""

    process: subprocess.Popen[str]
    directory: Path
    step: int
    tree: set[psutil.Process]
    outside: list[Path]

    @property
    def warden(self) -> int:
        return self.process.pid

    @property
    def worker(self) -> psutil.Process:
        return parent_of(self.step)

    def left_after(self, since: float) -> list[str]:
        """What still lives two seconds after `since`, whoever it is a child of by now."""
        self.process.wait(GENEROUS_S)
        return survivors(self.tree | carrying(self.directory.name), since)

    def end(self) -> tuple[int, str]:
        """Wait for the run's own end; gives exit code and stderr."""
        _, stderr = self.process.communicate(timeout=GENEROUS_S)
        return self.process.returncode, stderr


def _child_sleeps(scene: Scene, mail: Mailbox, script: str) -> Path:
    scene.subscriber("acme/sleeper", script.format(mail=mail.path))
    return scene.library("true", FAN_OUT)


def _root_sleeps(scene: Scene, mail: Mailbox, script: str) -> Path:
    scene.subscriber("acme/sleeper", "true")
    return scene.library(script.format(mail=mail.path), FAN_OUT)


Place = Callable[[Scene, Mailbox, str], Path]
both = pytest.mark.parametrize("place", [_child_sleeps, _root_sleeps])


@contextmanager
def _running(scene: Scene, place: Place, script: str) -> Iterator[Running]:
    mail = scene.mailbox()
    checkout = place(scene, mail, script)
    with scene.tako.started("exec", "release", "--jobs", "2", cwd=checkout) as process:
        yield _seen(scene, process, int(mail.line()))


def _seen(scene: Scene, process: subprocess.Popen[str], step: int) -> Running:
    [directory] = scene.runs()
    tree = whole_tree(process.pid)
    forkserver_of(process.pid)
    return Running(process, directory, step, tree, outside(directory))


def _nothing_is_left(running: Running, since: float) -> None:
    assert len(running.tree) >= 6
    assert running.left_after(since) == []
    assert [path for path in running.outside if path.exists()] == []


@both
def test_nothing_lives_after_the_warden_was_killed(scene: Scene, place: Place) -> None:
    with _running(scene, place, _LONG) as running:
        _nothing_is_left(running, kill(running.warden))
        assert running.process.returncode == -signal.SIGKILL


@both
def test_nothing_lives_after_the_root_was_killed(scene: Scene, place: Place) -> None:
    with _running(scene, place, _LONG) as running:
        _nothing_is_left(running, kill(root_of(running.warden)))
        code, stderr = running.end()
    assert code == 4
    assert "root process was killed by signal 9" in stderr
    assert scene.status()["status"] == "interrupted"


@both
def test_a_stopped_worker_dies_with_the_root(scene: Scene, place: Place) -> None:
    with _running(scene, place, _LONG) as running:
        stop(running.worker)
        _nothing_is_left(running, kill(root_of(running.warden)))


def test_a_stopped_worker_and_a_stopped_step_die_with_the_warden(scene: Scene) -> None:
    with _running(scene, _child_sleeps, _LONG) as running:
        stop(running.worker)
        stop(psutil.Process(running.step))
        _nothing_is_left(running, kill(running.warden))


def test_an_idle_forkserver_and_a_stopped_root_die_with_the_warden(scene: Scene) -> None:
    with _running(scene, _child_sleeps, _LONG) as running:
        stop(root_of(running.warden))
        stop(forkserver_of(running.warden))
        # The kernel continues the root: its process group is orphaned now (setpgid(2)).
        _nothing_is_left(running, kill(running.warden))


def _child_of(scene: Scene, name: str = "acme/doomed") -> Path:
    """The directory of the only child in that repository."""
    [run] = scene.runs()
    [child] = [path for path in (run / "children").iterdir() if records(path)[0]["repository"] == name]
    return child


def _died(result: Any) -> int:  # noqa: ANN401 - JSON
    """How many workers of the run were lost."""
    return int(result["attempts"]) - 1


@both
def test_a_step_goes_on_after_its_worker_was_killed(scene: Scene, place: Place) -> None:
    with _running(scene, place, _ONCE) as running:
        kill(running.worker)
        code, stderr = running.end()
    assert code == 0, stderr
    assert survivors(running.tree, 0.0) == []
    result = scene.status()
    retried = result if place is _root_sleeps else children(result)["acme/sleeper"]
    assert (_died(retried), retried["steps"][0]["attempts"]) == (1, 2)


def test_all_that_a_killed_attempt_started_is_gone_before_the_next_begins(scene: Scene) -> None:
    go = scene.mailbox("go")
    again = f"if [ -e marker ]; then echo again >{{mail}}; read line <{go.path}; exit 0; fi\ntouch marker\n"
    mail = scene.mailbox()
    checkout = _child_sleeps(scene, mail, again + _LONG)
    with scene.tako.started("exec", "release", "--jobs", "2", cwd=checkout) as process:
        worker = parent_of(mail.line())
        started = set(worker.children(recursive=True))
        kill(worker)
        assert mail.line() == "again"
        assert len(started) == 3
        assert survivors(started, 0.0) == []
        go.path.write_text("go\n")
        assert process.wait(GENEROUS_S) == 0


def test_a_killed_worker_disturbs_no_sibling(scene: Scene) -> None:
    gate = scene.mailbox("gate")
    scene.subscriber("acme/quiet", f"echo quiet $$ >{gate.path}\nread line <{scene.directory}/go\n")
    go = scene.mailbox("go")
    with _running(scene, _child_sleeps, _ONCE) as running:
        quiet = int(gate.line().split()[1])
        kill(running.worker)
        assert psutil.Process(quiet).is_running()
        go.path.write_text("go\n")
        code, stderr = running.end()
    assert code == 0, stderr
    found = children(scene.status())
    assert _died(found["acme/quiet"]) == 0
    assert _died(found["acme/sleeper"]) == 1


def test_a_worker_killed_too_often_fails_only_its_own_child(scene: Scene) -> None:
    mail = scene.mailbox()
    scene.subscriber("acme/doomed", _LONG.format(mail=mail.path))
    scene.subscriber("acme/well", "true")
    checkout = scene.library(FAN_OUT)
    seen: set[psutil.Process] = set()
    with scene.tako.started("exec", "release", "--jobs", "2", cwd=checkout) as process:
        for _ in range(_DEATHS_MAX):
            step = mail.line()
            seen |= whole_tree(process.pid)
            kill(parent_of(step))
        _, stderr = process.communicate(timeout=GENEROUS_S)
    assert process.returncode == 1, stderr
    assert survivors(seen, 0.0) == []
    result = scene.status()
    assert children(result)["acme/well"]["status"] == "succeeded"
    error = errors(result)["acme/doomed"]
    assert (error["kind"], error["attempts"]) == ("worker_died", _DEATHS_MAX)
    assert f"died {_DEATHS_MAX} times" in error["message"]
    told = [(one["attempt"], one["status"], one["message"]) for one in error["earlier"]]
    causes = [record["message"] for record in records(_child_of(scene)) if record["kind"] == "WorkerDied"]
    assert told == [
        (number, "interrupted", f"its worker died: {cause}") for number, cause in enumerate(causes, 1)
    ]
    text = scene.tako("status").stdout
    assert "    attempt 3 interrupted: its worker died: " in text
    assert f"attempt {_DEATHS_MAX} of {_DEATHS_MAX}" in stderr


@both
@pytest.mark.measured
def test_a_dead_forkserver_costs_no_run(scene: Scene, place: Place) -> None:
    """Cells break while their workers live; the attempt is proven dead before the next one begins."""
    with _running(scene, place, _ONCE) as running:
        kill(forkserver_of(running.warden))
        if place is _root_sleeps:
            # The root's first worker was forked, not made by the forkserver: its step goes on.
            psutil.Process(running.step).terminate()
        code, stderr = running.end()
    assert survivors(running.tree, 0.0) == []
    assert "bug" not in stderr
    if place is _root_sleeps:
        assert code == 1
        return
    assert code == 0, stderr
    assert _died(children(scene.status())["acme/sleeper"]) == 1


def test_a_forkserver_that_dies_before_it_is_needed_costs_nothing(scene: Scene) -> None:
    mail, go = scene.mailbox(), scene.mailbox("go")
    scene.subscriber("acme/web", "true")
    checkout = scene.library(f"echo $$ >{mail.path}\nread line <{go.path}\n", FAN_OUT)
    with scene.tako.started("exec", "release", cwd=checkout) as process:
        mail.line()
        kill(forkserver_of(process.pid))
        go.path.write_text("go\n")
        _, stderr = process.communicate(timeout=GENEROUS_S)
    assert process.returncode == 0, stderr
    assert children(scene.status())["acme/web"]["status"] == "succeeded"


@both
def test_a_killed_shell_is_a_failed_step_and_leaves_no_daemon(scene: Scene, place: Place) -> None:
    with _running(scene, place, _LONG) as running:
        kill(running.step)
        code, stderr = running.end()
    assert code == 1
    assert "killed by SIGKILL" in stderr
    assert survivors(running.tree, 0.0) == []


def test_the_journal_of_a_killed_attempt_tells_of_both(scene: Scene) -> None:
    with _running(scene, _child_sleeps, _ONCE) as running:
        kill(running.worker)
        running.end()
    [child] = (running.directory / "children").iterdir()
    assert kinds(child) == [
        "RunStarted",
        "SandboxEntered",
        "StepStarted",
        "StepFinished",
        "WorkerDied",
        "SegmentStarted",
        "SandboxEntered",
        "StepStarted",
        "StepFinished",
        "RunFinished",
    ]
    ended = [(end["attempt"], end["status"]) for end in records(child) if end["kind"] == "StepFinished"]
    assert [record["attempt"] for record in records(child) if record["kind"] == "StepStarted"] == [1, 2]
    assert ended == [(1, "interrupted"), (2, "succeeded")]


def test_a_worker_that_gets_sigterm_is_a_lost_worker_not_a_cancelled_run(scene: Scene) -> None:
    """A broken pool sends SIGTERM to a worker that may live and be quicker than whoever proves it dead."""
    with _running(scene, _child_sleeps, _ONCE) as running:
        running.worker.terminate()
        code, stderr = running.end()
    assert code == 0, stderr
    assert _died(children(scene.status())["acme/sleeper"]) == 1
