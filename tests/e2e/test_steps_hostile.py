"""Steps, repositories and directories made to hurt: tako stays small, whole and in charge."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.git import git, write_files
from tests.support.run_processes import parent_of
from tests.support.runner import GENEROUS_S, command
from tests.support.scenes import FAN_OUT, Scene, children, subscription, tako_yml, workflow

pytestmark = pytest.mark.forked

EXEC = ("exec", "release", "--output", "json")
_GIGABYTE = 10**9
_MIB = 1024 * 1024


def _log(scene: Scene, run: str, step: str) -> Path:
    [path] = scene.tako.home.rglob(f"{run}/logs/{step}.log")
    return path


def _peak(pid: int) -> int:
    """The most memory a process ever had, in bytes: proc_pid_status(5), VmHWM."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


# --- output ---


@pytest.mark.parametrize("newlines", [True, False])
def test_a_gigabyte_of_output_needs_no_memory_and_loses_nothing(scene: Scene, newlines: bool) -> None:
    source = "yes 'all work and no play'" if newlines else "cat /dev/zero"
    box, go = scene.mailbox(), scene.mailbox("go")
    hold = f"echo $$ >{box.path}\nread line <{go.path}\n"
    scene.subscriber("acme/loud", f"{hold}{source} | head -c {_GIGABYTE}\n{hold}")
    checkout = scene.library(FAN_OUT)
    with scene.tako.started("exec", "release", cwd=checkout) as process:
        worker = parent_of(box.line())
        before = _peak(worker.pid)
        go.path.write_text("go\n")
        box.line()
        assert _peak(worker.pid) < before + 4 * _MIB
        [root] = psutil.Process(process.pid).children()
        assert _peak(root.pid) < 120 * _MIB
        go.path.write_text("go\n")
        process.communicate(timeout=GENEROUS_S)
    assert process.returncode == 0
    log = _log(scene, children(scene.status())["acme/loud"]["run_id"], "step-1")
    assert log.stat().st_size in {_GIGABYTE, _GIGABYTE + 1}
    log.unlink()


@pytest.mark.parametrize(
    ("script", "logged"),
    [
        (r"printf '\377\376bad\n'", b"\xff\xfebad\n"),
        ("printf 'no newline'", b"no newline\n"),
        ("exec >&- 2>&-; true", b""),
        (r"printf '\033]0;evil\007\033[2Jcleared\n'", b"\x1b]0;evil\x07\x1b[2Jcleared\n"),
        (r"printf 'a\0b\n'", b"a\0b\n"),
    ],
    ids=["invalid-utf-8", "no-newline", "closed", "terminal-codes", "nul"],
)
def test_odd_output_is_kept_as_it_was_and_shown_harmlessly(scene: Scene, script: str, logged: bytes) -> None:
    scene.subscriber("acme/odd", script)
    done = scene.tako("exec", "release", cwd=scene.library(FAN_OUT))
    assert done.code == 0, done.stderr
    run = children(scene.status())["acme/odd"]["run_id"]
    assert _log(scene, run, "step-1").read_bytes() == logged
    assert not {"\x1b", "\x07", "\0"} & set(done.stderr + done.stdout)


# --- processes ---


def test_daemons_end_with_the_step_that_started_them(scene: Scene) -> None:
    box, go = scene.mailbox(), scene.mailbox("go")
    daemons = "i=0; while [ $i -lt 200 ]; do (setsid sleep 600 &) ; i=$((i+1)); done\n"
    scene.subscriber(
        "acme/forks",
        f"{daemons}echo $$ >{box.path}\nread line <{go.path}",
        f"echo $$ >{box.path}\nread line <{go.path}",
    )
    checkout = scene.library(FAN_OUT)
    with scene.tako.started(*EXEC, cwd=checkout) as process:
        worker = parent_of(box.line())
        sleeping = [child for child in worker.children(recursive=True) if child.name() == "sleep"]
        assert len(sleeping) == 200
        go.path.write_text("go\n")
        box.line()
        # The next step has begun: the daemons of the one before are gone and collected.
        assert [child.pid for child in sleeping if child.is_running()] == []
        go.path.write_text("go\n")
        assert process.wait(GENEROUS_S) == 0


def test_a_daemon_that_keeps_the_output_open_does_not_hold_the_step(scene: Scene) -> None:
    scene.subscriber("acme/holds", "(setsid sleep 600 &)\necho done")
    done = scene.tako(*EXEC, cwd=scene.library(FAN_OUT), timeout_s=60)
    assert done.code == 0, done.stderr


def test_a_step_that_kills_its_whole_session_only_fails_itself(scene: Scene) -> None:
    scene.settings("isolation: process\n")
    scene.subscriber("acme/angry", "kill -KILL 0")
    scene.subscriber("acme/good", "true")
    done = scene.tako(*EXEC, "--jobs", "2", cwd=scene.library(FAN_OUT))
    assert done.code == 1
    assert {name: child["status"] for name, child in children(done.json).items()} == {
        "acme/angry": "failed",
        "acme/good": "succeeded",
    }


def test_a_step_that_kills_its_own_worker_fails_only_itself(scene: Scene) -> None:
    scene.settings("isolation: process\n")
    scene.subscriber("acme/angry", "kill -KILL $PPID; sleep 600")
    scene.subscriber("acme/good", "true")
    done = scene.tako(*EXEC, "--jobs", "2", cwd=scene.library(FAN_OUT))
    assert done.code == 1, done.stderr
    found = children(done.json)
    assert (found["acme/angry"]["status"], found["acme/good"]["status"]) == ("failed", "succeeded")
    [error] = done.json["failures"]
    assert error["kind"] == "worker_died"


def test_a_step_sees_neither_the_users_environment_nor_input_nor_descriptors(scene: Scene) -> None:
    script = "env; cat; ls -l /proc/$$/fd | wc -l"
    scene.subscriber("acme/looks", script)
    secrets = {"API_TOKEN": "hunter2", "PYTHONPATH_EXTRA": "x"}
    done = scene.tako("exec", "release", cwd=scene.library(FAN_OUT), env=secrets)
    assert done.code == 0, done.stderr
    run = children(scene.status())["acme/looks"]["run_id"]
    seen = _log(scene, run, "step-1").read_text()
    assert "hunter2" not in seen
    assert f"HOME={scene.tako.environment['HOME']}\n" not in seen
    # 0, 1, 2, the script, and the line "total".
    assert int(seen.splitlines()[-1]) <= 6


@pytest.mark.parametrize(
    "script",
    [
        "ln -s /etc/passwd out",
        "mkfifo out",
        "mkdir out",
        "ln -s nowhere out",
        "head -c 100000 /dev/zero >out",
        "true",
    ],
    ids=["link", "fifo", "directory", "dangling", "large", "missing"],
)
def test_an_output_file_that_is_none_fails_the_step_without_hanging(scene: Scene, script: str) -> None:
    step = {"id": "a", "run": script, "produces": {"outputs": {"x": "from_file:out"}}}
    scene.subscriber("acme/odd", step)
    done = scene.tako(*EXEC, cwd=scene.library(FAN_OUT))
    assert done.code == 1, done.stderr
    [error] = done.json["failures"]
    assert error["step"] == "a"
    assert "'x'" in error["message"]


# --- repositories ---


def _odd_files(path: Path) -> None:
    """Fill a checkout with everything that is not a regular file."""
    os.mkfifo(path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path)
        server.bind("socket")
        os.chdir(here)
    if os.geteuid() == 0:
        os.mknod(path / "device", 0o600 | 0o020000, os.makedev(1, 3))
    (path / "dangling").symlink_to("nowhere")
    (path / "outside").symlink_to("/etc")
    (path / "loop").symlink_to(".")
    (path / "unwritable").mkdir()
    (path / "unwritable" / "file").write_text("inside\n")
    (path / "unwritable").chmod(0o555)


def test_odd_files_in_a_repository_are_left_out_or_copied_as_they_are(scene: Scene) -> None:
    links = 'for each in *; do test -L "$each" && echo "link $each $(readlink "$each")"; done; true'
    script = f"cat unwritable/file; {links}"
    path = scene.subscriber("acme/odd", script)
    _odd_files(path)
    done = scene.tako("exec", "release", cwd=scene.library(FAN_OUT))
    (path / "unwritable").chmod(0o755)
    assert done.code == 0, done.stderr
    run = children(scene.status())["acme/odd"]["run_id"]
    assert _log(scene, run, "step-1").read_text().splitlines() == [
        "inside",
        "link dangling nowhere",
        "link loop .",
        "link outside /etc",
    ]
    assert "fifo" in done.stderr
    assert "socket" in done.stderr


#: Root reads what is closed to it by these capabilities alone: capabilities(7).
_ORDINARY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def test_an_unreadable_file_is_that_childs_failure(scene: Scene) -> None:
    path = scene.subscriber("acme/closed", "true", files={"closed.txt": "no"})
    (path / "closed.txt").chmod(0)
    scene.subscriber("acme/good", "true")
    done = subprocess.run(
        [*_ORDINARY, *command(), *EXEC],
        cwd=scene.library(FAN_OUT),
        env=dict(scene.tako.environment),
        capture_output=True,
        text=True,
        timeout=GENEROUS_S,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert children(result)["acme/good"]["status"] == "succeeded"
    [error] = result["failures"]
    assert error["repository"] == "acme/closed"
    assert "closed.txt" in error["message"]


@pytest.fixture
def canary(scene: Scene) -> Path:
    """A file that only code of somebody else's makes."""
    return scene.directory / "canary"


_GIT_PROGRAMS = (
    *("core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "core.askPass", "core.gitProxy"),
    *("filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "uploadpack.packObjectsHook"),
    *("gpg.program", "diff.external", "credential.helper"),
)


def _git_hostile(path: Path, canary: Path) -> None:
    """Let every way in which git runs configured programs make the canary."""
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "-m", "first")
    touch = path / "touch.sh"
    touch.write_text(f"#!/bin/sh\ntouch {canary}\ncat\n")
    touch.chmod(0o755)
    for key in _GIT_PROGRAMS:
        git(path, "config", key, str(touch))
    # One that leads out of the checkout is refused already.
    git(path, "config", "core.hooksPath", "hooks")
    for name in (
        "post-checkout",
        "pre-commit",
        "reference-transaction",
        "post-index-change",
        "fsmonitor-watchman",
    ):
        hook = path / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        shutil.copy(touch, hook)
    (path / ".git" / "info").mkdir(exist_ok=True)
    (path / ".git" / "info" / "attributes").write_text("* filter=evil diff=evil\n")
    (path / ".gitattributes").write_text("* filter=evil diff=evil\n")
    (path / "tako.yml").touch()
    canary.unlink(missing_ok=True)


def test_hostile_git_configuration_in_a_hand_made_checkout_runs_nothing(scene: Scene, canary: Path) -> None:
    path = scene.subscriber("acme/hostile", "cat tako.yml >/dev/null", files={"file.txt": "text\n"})
    _git_hostile(path, canary)
    done = scene.tako(*EXEC, cwd=scene.library(FAN_OUT))
    assert done.code == 0, done.stderr
    assert children(done.json)["acme/hostile"]["status"] == "succeeded"
    assert not canary.exists()
    for words in (["cache", "list"], ["exec", "check", "--repo", "acme/hostile"], ["cache", "verify"]):
        scene.tako(*words)
        assert not canary.exists(), words


def test_hostile_git_configuration_in_a_repository_that_is_fetched_runs_nothing(
    scene: Scene, canary: Path
) -> None:
    path = scene.directory / "elsewhere"
    path.mkdir()
    write_files(path, {"tako.yml": tako_yml({"check": workflow("true")}, [subscription()])})
    _git_hostile(path, canary)
    assert scene.tako("cache", "add", "acme/hostile", "--from", path).code == 0
    done = scene.tako(*EXEC, cwd=scene.library(FAN_OUT))
    assert done.code == 0, done.stderr
    assert children(done.json)["acme/hostile"]["status"] == "succeeded"
    assert not canary.exists()


# --- modules of the same name ---


_SHADOWED = ("selectors.py", "yaml.py", "json.py", "attrs.py", "click.py", "tako.py", "sitecustomize.py")
_MODULE = [sys.executable, "-m", "tako"]


@pytest.mark.parametrize("how", ["module", "script", "empty-path"])
def test_modules_in_the_users_directory_are_not_imported(scene: Scene, canary: Path, how: str) -> None:
    """With `python -m tako` Python itself would take a `tako.py` from here, before tako can do anything."""
    evil = f"import pathlib; pathlib.Path({str(canary)!r}).write_text(__file__)\n"
    names = [name for name in _SHADOWED if how != "module" or name != "tako.py"]
    scene.subscriber("acme/web", "true")
    checkout = scene.library(FAN_OUT, files=dict.fromkeys(names, evil))
    words = _MODULE if how == "module" else command()
    # An empty PYTHONPATH must not mean the current directory; where tako is not installed, it is needed.
    known = scene.tako.environment.get("PYTHONPATH", "")
    extra = {"PYTHONPATH": known} if how == "empty-path" else {}
    done = subprocess.run(
        [*words, *EXEC],
        cwd=checkout,
        env={**scene.tako.environment, **extra},
        capture_output=True,
        text=True,
        timeout=GENEROUS_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not canary.exists(), canary.read_text()
