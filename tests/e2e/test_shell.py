"""`tako shell`: as a person at a terminal uses it, and as a program does."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tako.errors import HeldError
from tako.journal.log import Writer
from tako.system.storage.writing import is_locked, try_lock
from tests.support import isolations, run_processes, runner
from tests.support.handed_over import HANDING, listening, taken
from tests.support.scenes import FAN_OUT, Scene, children
from tests.support.terminals import Person, at_a_terminal

pytestmark = pytest.mark.forked

FAILING = {
    "id": "build",
    "env": {"COLOUR": "blue {{ .event.payload.version }}"},
    "run": "echo changed >tracked; echo new >made; rm gone; echo mine >~/kept; exit 3",
}
AFTERWARDS = {"id": "publish", "run": "true", "env": {"COLOUR": "red"}}
FILES = {"tracked": "old\n", "gone": "soon\n"}


def _failed(scene: Scene, level: str, *steps: Any, **keys: Any) -> Path:  # noqa: ANN401 - as `Scene.subscriber`
    """Release the library to one child that fails; gives the child's run directory."""
    isolations.need(level)
    checkout = scene.library(FAN_OUT)
    scene.subscriber("acme/app", *(steps or (FAILING, AFTERWARDS)), files=FILES, **keys)
    result = scene.tako("exec", "release", "--isolation", level, "--output", "json", cwd=checkout)
    child = children(result.json)["acme/app"]
    assert (result.code, child["status"]) == (1, "failed")
    [root] = scene.runs()
    return root / "children" / str(child["run_id"])


@contextlib.contextmanager
def _person(scene: Scene, run: Path, *words: str) -> Iterator[Person]:
    command = [*runner.command(), "shell", run.name, *words]
    environment = {**scene.tako.environment, "TERM": "dumb"}
    with at_a_terminal(command, environment, scene.directory) as person:
        yield person


@contextlib.contextmanager
def _at_the_prompt(scene: Scene, run: Path) -> Iterator[Person]:
    with _person(scene, run) as person:
        person.sees(r"acme/app build \$ ")
        yield person


def _everything_of(warden: int) -> set[psutil.Process]:
    return run_processes.whole_tree(warden)


# --- at a terminal ---------------------------------------------------------------------------


@pytest.mark.parametrize("level", isolations.LEVELS)
def test_a_shell_shows_the_workspace_as_the_failed_step_left_it(scene: Scene, level: str) -> None:
    run = _failed(scene, level, env={"GLOBAL": "everywhere"})
    with _at_the_prompt(scene, run) as person:
        person.type("cat tracked made ~/kept; ls gone; echo $COLOUR, $GLOBAL, $TAKO_STEP, $TAKO_RUN_ID.\n")
        person.sees(r"changed\s+new\s+mine\s")
        person.sees("No such file")
        person.sees(rf"blue 1.2.3, everywhere, build, {run.name}\.")
        person.type('cd; [ "$PWD" = "$HOME" ] && [ "$HOME" != "$REAL" ] && echo from home > x && cat x\n')
        person.sees(r"\sfrom home\s")
        person.type("touch $TMPDIR/x && echo temporary\\ works; exit 7\n")
        person.sees(r"\stemporary works\s")
        assert person.waits() == 7


@pytest.mark.parametrize("level", isolations.LEVELS)
def test_it_is_a_whole_terminal(scene: Scene, level: str) -> None:
    run = _failed(scene, level)
    with _at_the_prompt(scene, run) as person:
        # Nothing that is typed is echoed twice, and Ctrl-C ends what runs, not the shell.
        person.type("sh -c 'echo go; exec cat'\n")
        person.sees(r"\sgo\s")
        person.type("line\n")
        person.sees(r"line\s+line\s")
        person.type("\x03")
        person.sees(r"build \$ ")
        person.type("echo code $?\n")
        person.sees(r"code 130\s")
        person.type("sh -c 'echo go; exec cat'\n")
        person.sees(r"\sgo\s")
        person.type("\x1a")
        person.sees(r"Stopped.*\s+acme/app build \$ ")
        person.type("fg\n")
        person.sees(r"fg\s+sh -c .*\s")
        person.type("once more\n")
        person.sees(r"once more\s+once more\s")
        person.type("\x04")
        person.sees(r"build \$ ")
        person.type("echo typed >/dev/tty; stty size; exit\n")
        person.sees(r"\styped\s")
        person.sees(r"24 80\s")
        assert person.waits() == 0


@pytest.mark.parametrize("level", isolations.MEASURED_ONCE)
def test_a_change_of_size_reaches_the_program(scene: Scene, level: str) -> None:
    run = _failed(scene, level)
    waiting = "trap 'stty size; exit 5' WINCH; echo ready; while :; do cat & wait; done"
    with _person(scene, run, "--", "sh", "-c", waiting) as person:
        person.sees(r"ready\s")
        person.resize(33, 99)
        person.sees(r"33 99\s")
        assert person.waits() == 5


def test_the_users_terminal_is_given_back_as_it_was(scene: Scene) -> None:
    run = _failed(scene, "process")
    with _at_the_prompt(scene, run) as person:
        assert not person.echoes()
        person.type("exit\n")
        assert person.waits() == 0
        assert person.echoes()
    with _at_the_prompt(scene, run) as person:
        run_processes.kill(run_processes.root_of(person.process.pid))
        assert person.waits() == 4
        assert person.echoes()


def test_closing_the_window_ends_the_shell_and_what_runs_in_it(scene: Scene) -> None:
    run = _failed(scene, "process")
    with _at_the_prompt(scene, run) as person:
        person.type("(trap '' HUP; echo deaf; cat) 2>&1\n")
        person.sees(r"\sdeaf\s")
        all_of_it = _everything_of(person.process.pid)
        person.leaves()
        assert person.waits() in (128 + signal.SIGHUP, -signal.SIGHUP)
        assert run_processes.survivors(all_of_it, time.monotonic()) == []


# --- without one -----------------------------------------------------------------------------


@pytest.mark.parametrize("level", isolations.LEVELS)
def test_a_command_gets_the_users_streams_and_gives_its_exit_code(scene: Scene, level: str) -> None:
    run = _failed(scene, level)
    data = os.urandom(1 << 20)
    done = subprocess.run(
        [*runner.command(), "shell", run.name, "--", "sh", "-c", "cat; echo said >&2; exit 9"],
        env=scene.tako.environment,
        input=data,
        capture_output=True,
        timeout=runner.GENEROUS_S,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (9, data, b"said\n")


def test_a_stranger_who_has_the_commands_pipe_is_not_waited_for(scene: Scene) -> None:
    run = _failed(scene, "process")
    with tempfile.TemporaryDirectory() as short, listening(Path(short) / "s") as listener:
        words = ("shell", run.name, "--", "python3", "-c", HANDING, f"{short}/s")
        with scene.tako.started(*words) as process, taken(listener) as (_, connection):
            connection.send(b"x")
            said, _ = process.communicate(timeout=runner.GENEROUS_S)
    assert (process.returncode, said) == (0, "last words\n")


@pytest.mark.parametrize("level", isolations.LEVELS)
def test_what_a_shell_changes_stays_and_is_all_that_is_recorded(scene: Scene, level: str) -> None:
    run = _failed(scene, level)
    journals = [path.read_bytes() for path in (run / "journal.jsonl", scene.runs()[0] / "journal.jsonl")]
    assert scene.tako("shell", run.name, "--", "cat", "tracked").code == 0
    assert (run / "journal.jsonl").read_bytes() == journals[0]
    before = scene.tako("status", run.name).stdout
    shell = scene.tako("shell", run.name, "--", "sh", "-c", "echo mended >tracked; echo more >>~/kept")
    assert shell.code == 0, shell.stderr
    again = scene.tako("shell", run.name[-8:], "--", "sh", "-c", "cat tracked ~/kept; pwd")
    where = "/workspace/repo" if level == "namespace" else str(run / "work" / "repo")
    assert again.stdout == f"mended\nmine\nmore\n{where}\n"
    own, of_the_root = ((path / "journal.jsonl").read_bytes() for path in (run, scene.runs()[0]))
    assert own.startswith(journals[0])
    assert (own.count(b"workspace_changed"), of_the_root) == (1, journals[1])
    after = scene.tako("status", run.name).stdout
    assert "its workspace was changed by `tako shell`" in after
    assert "its workspace was changed by `tako shell`" not in before
    assert "its workspace was changed by `tako shell`" in scene.tako("status").stdout
    [warning] = scene.tako("status", run.name, "--output", "json").json["warnings"]
    assert (warning["kind"], warning["run_id"]) == ("workspace_changed", run.name)
    assert warning["repository"]


@pytest.mark.parametrize("level", isolations.LEVELS)
def test_a_resume_goes_on_in_what_was_mended(scene: Scene, level: str) -> None:
    run = _failed(scene, level, "test -e mended || exit 3")
    assert scene.tako("shell", run.name, "--", "touch", "mended").code == 0
    resumed = scene.tako("exec", "--resume", scene.runs()[0].name, "--isolation", level)
    assert resumed.code == 0, resumed.stderr
    assert "it goes on in a workspace that `tako shell` has changed" in resumed.stderr


def test_another_step_may_be_chosen(scene: Scene) -> None:
    run = _failed(scene, "process")
    said = scene.tako("shell", "--step", "publish", run.name, "--", "sh", "-c", "echo $COLOUR $TAKO_STEP")
    assert said.stdout == "red publish\n"
    unknown = scene.tako("shell", "--step", "biuld", run.name, "--", "true")
    assert (unknown.code, "it has: build, publish" in unknown.stderr) == (2, True)


@pytest.mark.measured
def test_an_env_that_cannot_be_known_any_more_is_left_out(scene: Scene) -> None:
    later = {"id": "later", "run": "true", "env": {"FROM": "{{ .steps.build.outputs.nothing }}"}}
    run = _failed(scene, "process", FAILING, later)
    said = scene.tako("shell", run.name, "--step", "later", "--", "sh", "-c", "echo ${FROM-none} $TAKO_STEP")
    assert (said.code, said.stdout) == (0, "none later\n")
    assert "without the `env` of step later" in said.stderr


def test_secrets_are_not_given_and_that_is_said(scene: Scene) -> None:
    isolations.need("process")
    failing = {"id": "build", "secrets": ["TOKEN"], "run": 'test -n "$TOKEN" && exit 3'}
    checkout = scene.library(FAN_OUT)
    scene.subscriber("acme/app", failing)
    secret = {"TOKEN": "hush-hush-hush"}
    words = ("--isolation", "process", "--grant", "TOKEN=acme/app", "--output", "json")
    result = scene.tako("exec", "release", *words, cwd=checkout, env=secret)
    run = children(result.json)["acme/app"]["run_id"]
    said = scene.tako("shell", run, "--", "sh", "-c", "echo ${TOKEN-none}; env", env=secret)
    assert said.stdout.splitlines()[0] == "none"
    assert "hush" not in said.stdout
    assert "a shell gets no secrets: TOKEN" in said.stderr


def test_a_root_run_out_of_the_cache_can_be_entered_too(scene: Scene) -> None:
    isolations.need("namespace")
    scene.subscriber("acme/app", FAILING, files=FILES, on=["exec", "event"])
    failed = scene.tako("exec", "check", "--repo", "acme/app", "--isolation", "namespace")
    # Its `env` needs an event, so that the step does not start.
    assert failed.code == 1
    [root] = scene.runs()
    assert scene.tako("shell", root.name, "--", "cat", "tracked").stdout == "old\n"
    assert scene.tako("shell", root.name, "--", "touch", "new").code == 0
    told = scene.tako("status", root.name, "--output", "json").json
    assert (told["status"], [warning["kind"] for warning in told["warnings"]]) == (
        "failed",
        ["workspace_changed"],
    )


@pytest.mark.parametrize("level", isolations.MEASURED_ONCE)
def test_the_limits_of_the_step_hold(scene: Scene, level: str) -> None:
    run = _failed(scene, level, resources={"mem_limit": "64Mi", "process_limit": 40})
    said = scene.tako("shell", run.name, "--", "sh", "-c", "head -c 300M /dev/zero | tail -c 300M | wc -c")
    assert (said.code, "over its limit of memory, 64.0 MiB" in said.stderr) == (1, True), said


@pytest.mark.parametrize("level", ["landlock", "namespace"])
def test_the_sandbox_is_that_of_the_steps(scene: Scene, level: str) -> None:
    run = _failed(scene, level)
    secret = scene.directory / "home" / "key"
    secret.write_text("private\n")
    said = scene.tako("shell", run.name, "--", "sh", "-c", f"cat {secret}; cat {run / 'journal.jsonl'}")
    assert (said.stdout, said.code) == ("", 1)


# --- refused ---------------------------------------------------------------------------------


def test_a_run_that_is_being_executed_is_refused_with_who(scene: Scene) -> None:
    mail, gate = scene.mailbox(), scene.mailbox("gate")
    checkout = scene.library(FAN_OUT)
    scene.subscriber("acme/app", f"echo $TAKO_RUN_ID >{mail.path}; read go <{gate.path}")
    with scene.tako.started("exec", "release", cwd=checkout) as running:
        child = mail.line()
        refused = scene.tako("shell", child, "--", "true")
        root = run_processes.root_of(running.pid).pid
        gate.path.write_text("go\n")
        running.communicate(timeout=runner.GENEROUS_S)
    assert refused.code == 5
    assert f"process {root} (" in refused.stderr
    assert "is held by process" in refused.stderr


def test_while_a_shell_is_open_nobody_else_executes_the_run(scene: Scene) -> None:
    run = _failed(scene, "process")
    [root] = scene.runs()
    before = scene.tako("status", root.name).stdout
    with _at_the_prompt(scene, run) as person:
        refused = scene.tako("shell", run.name, "--", "true")
        assert refused.code == 5
        assert re.search(
            r"process \d+ \(tako: acme/app exec-\S+ shell\) is executing this run", refused.stderr
        )
        for words in (("exec", "--resume", root.name), ("exec", "--resume", root.name, "--explain")):
            resumed = scene.tako(*words)
            assert resumed.code == 5
            assert re.search(r"is held by process \d+ \(tako: acme/app exec-\S+ shell\)", resumed.stderr)
        assert scene.tako("workspace", "clean", "--all", "--yes").code == 1
        assert (run / "work").is_dir()
        with pytest.raises(HeldError):
            Writer(run / "journal.jsonl")
        with open(root / "lock", "rb") as lock:
            assert not try_lock(lock.fileno())
        # A shell is no run.
        assert not is_locked(root / "lock")
        assert scene.tako("status", root.name).stdout == before
        person.type("exit\n")
        assert person.waits() == 0
    with Writer(run / "journal.jsonl"):
        assert not is_locked(root / "lock")


def test_a_workspace_that_is_gone_is_told(scene: Scene) -> None:
    checkout = scene.library(FAN_OUT)
    scene.subscriber("acme/app", "true")
    words = ("exec", "release", "--isolation", "process", "--output", "json")
    child = children(scene.tako(*words, cwd=checkout).json)["acme/app"]["run_id"]
    refused = scene.tako("shell", child, "--", "true")
    assert (refused.code, "--keep" in refused.stderr) == (2, True)
    kept = children(scene.tako(*words, "--keep", cwd=checkout).json)["acme/app"]["run_id"]
    assert scene.tako("shell", kept, "--", "true").code == 0


def test_a_root_run_in_the_users_checkout_is_refused_with_the_directory(scene: Scene) -> None:
    checkout = scene.library("exit 3")
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    refused = scene.tako("shell", scene.runs()[0].name, "--", "true")
    assert (refused.code, str(checkout) in refused.stderr) == (2, True)


def _without_a_terminal(scene: Scene, run: Path) -> str:
    refused = scene.tako("shell", run.name)
    assert refused.code == 2
    return refused.stderr


def _without_a_snapshot(scene: Scene, run: Path) -> str:
    snapshots = scene.tako.home / "cache" / "snapshots"
    snapshots.rename(snapshots.with_name("elsewhere"))
    refused = scene.tako("shell", run.name, "--", "true")
    assert refused.code == 2
    return refused.stderr


def _without_a_journal(scene: Scene, run: Path) -> str:
    (run / "journal.jsonl").unlink()
    refused = scene.tako("shell", run.name, "--", "true")
    assert refused.code == 2
    assert not (run / "journal.jsonl").exists()
    return refused.stderr


@pytest.mark.parametrize(
    ("refuse", "why"),
    [
        (_without_a_terminal, "a shell needs a terminal"),
        (_without_a_snapshot, "the snapshot that run"),
        (_without_a_journal, "never began"),
    ],
)
def test_what_cannot_be_entered_is_told(scene: Scene, refuse: Callable[[Scene, Path], str], why: str) -> None:
    assert why in refuse(scene, _failed(scene, "process"))


# --- its end ---------------------------------------------------------------------------------

_DEAF = "trap '' TERM HUP; (trap '' TERM HUP; echo ready; cat) & wait; wait"


@pytest.mark.parametrize("level", isolations.LEVELS)
@pytest.mark.parametrize("victim", ["warden", "root"])
def test_a_killed_tako_leaves_nothing_of_a_shell(scene: Scene, level: str, victim: str) -> None:
    run = _failed(scene, level)
    with _at_the_prompt(scene, run) as person:
        person.type(f"echo mended >tracked; {_DEAF}\n")
        person.sees(r"\sready\s")
        all_of_it = _everything_of(person.process.pid)
        assert len(all_of_it) > 3
        root = run_processes.root_of(person.process.pid)
        since = run_processes.kill(person.process.pid if victim == "warden" else root)
        assert run_processes.survivors(all_of_it, since) == []
        person.waits()
    # What was mounted is gone, and can be mounted again.
    assert str(run) not in Path("/proc/self/mounts").read_text()
    shown = scene.tako("shell", run.name, "--", "cat", "tracked")
    assert shown.stdout == "mended\n", shown.stderr


@pytest.mark.parametrize("level", isolations.MEASURED_ONCE)
def test_a_polite_signal_is_passed_on_and_the_second_is_final(scene: Scene, level: str) -> None:
    run = _failed(scene, level)
    told = "trap 'echo told; exit 0' TERM; echo ready; while :; do cat <&3 & wait; done 3<&0"
    deaf = "trap 'echo told' TERM; echo ready; while :; do cat <&3 & wait; done 3<&0"
    for script, signals in ((told, 1), (deaf, 2)):
        command = [*runner.command(), "shell", run.name, "--", "sh", "-c", script]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, env=scene.tako.environment, text=True, **pipes) as process:  # type: ignore[call-overload]
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == "told\n"
            if signals > 1:
                process.send_signal(signal.SIGTERM)
            assert process.wait(runner.GENEROUS_S) == 128 + signal.SIGTERM


def test_what_is_written_at_a_polite_end_is_passed_on_to_a_slow_reader(scene: Scene) -> None:
    run = _failed(scene, "process")
    much = "trap 'head -c 300000 /dev/zero | tr \"\\0\" x; exit 0' TERM"
    script = f"{much}; echo $$; while :; do cat <&3 & wait; done 3<&0"
    command = [*runner.command(), "shell", run.name, "--", "sh", "-c", script]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=scene.tako.environment, **pipes) as process:  # type: ignore[call-overload]
        shell = psutil.Process(int(process.stdout.readline()))
        process.send_signal(signal.SIGTERM)
        # What is left fits into the pipes, so that the program ends before the rest is taken.
        first = process.stdout.read(200_000)
        psutil.wait_procs([shell], timeout=runner.GENEROUS_S)
        _, living = psutil.wait_procs([run_processes.root_of(process.pid)], timeout=0.5)
        assert living, "tako has ended before all was taken"
        rest = process.stdout.read()
        assert (first.count(b"x"), rest.count(b"x")) == (200_000, 100_000)
        assert process.wait(runner.GENEROUS_S) == 128 + signal.SIGTERM
