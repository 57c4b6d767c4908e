"""Ending, stopping and continuing tako by signals, from a program and from a terminal."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.run_processes import await_status, root_of, survivors, whole_tree
from tests.support.runner import GENEROUS_S, command
from tests.support.scenes import FAN_OUT, Mailbox, Scene, children, kinds, records

_GRACE_S = 10.0
#: Writes to `{cleaned}` when it is asked to end.
_POLITE = "trap 'echo cleaned >>{cleaned}; exit 0' TERM\necho $$ >{mail}\nsleep 600 & wait\n"
_STUBBORN = "trap '' TERM\necho $$ >{mail}\nwhile :; do sleep 600 & wait; done\n"


@contextmanager
def _started(scene: Scene, checkout: Path, mail: Mailbox, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Give the running command after its step has said that it runs."""
    with scene.tako.started("exec", "release", *more, cwd=checkout) as process:
        mail.line()
        yield process


def _end(process: subprocess.Popen[str], number: int) -> str:
    """Send one signal, wait for the end, and prove that nothing lives; gives stderr."""
    tree = whole_tree(process.pid)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=GENEROUS_S)
    assert survivors(tree, time.monotonic()) == []
    return stderr


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGQUIT, 131), (signal.SIGTERM, 143)],
)
def test_a_signal_lets_the_steps_clean_up_and_is_the_exit_code(
    scene: Scene, number: signal.Signals, code: int
) -> None:
    mail, cleaned = scene.mailbox(), scene.directory / "cleaned"
    scene.subscriber("acme/polite", _POLITE.format(mail=mail.path, cleaned=cleaned))
    checkout = scene.library(FAN_OUT, "echo never")
    with _started(scene, checkout, mail) as process:
        stderr = _end(process, number)
    assert process.returncode == code
    assert cleaned.read_text() == "cleaned\n"
    assert f"{number.name}: ending all steps" in stderr
    result = scene.status()
    assert (result["status"], result["exit_code"]) == ("cancelled", code)
    assert children(result)["acme/polite"]["status"] == "cancelled"
    [run] = scene.runs()
    [asked] = [record for record in records(run) if record["kind"] == "StopRequested"]
    assert asked["signal"] == number.name
    assert kinds(run)[-1] == "RunSettled"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_what_it_was_started_with_ignored_does_not_end_it(scene: Scene, number: signal.Signals) -> None:
    mail, gate = scene.mailbox(), scene.mailbox("gate")
    scene.subscriber("acme/calm", f"kill -{number} $$; echo here >{mail.path}; read -r _ <{gate.path}")
    checkout = scene.library(FAN_OUT)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        # As `nohup` and a shell without job control start what they start.
        process = subprocess.Popen(
            [*command(), "exec", "release"],
            cwd=checkout,
            env=dict(scene.tako.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(number, before)
    with process:
        mail.line()
        for one in (process.pid, root_of(process.pid).pid):
            os.kill(one, number)
        gate.path.write_text("go on\n")
        told, _ = process.communicate(timeout=GENEROUS_S)
    assert (process.returncode, "ending all steps" in told) == (0, False), told


def test_the_roots_own_step_is_asked_to_end(scene: Scene) -> None:
    mail, cleaned = scene.mailbox(), scene.directory / "cleaned"
    checkout = scene.library(_POLITE.format(mail=mail.path, cleaned=cleaned), "echo never")
    with _started(scene, checkout, mail) as process:
        _end(process, signal.SIGTERM)
    assert process.returncode == 143
    assert cleaned.read_text() == "cleaned\n"
    steps = scene.status()["steps"]
    assert [step["status"] for step in steps] == ["cancelled", "pending"]


@pytest.mark.measured
def test_children_that_have_not_started_are_cancelled(scene: Scene) -> None:
    mail, cleaned = scene.mailbox(), scene.directory / "cleaned"
    for name in ("acme/a", "acme/b", "acme/c"):
        scene.subscriber(name, _POLITE.format(mail=mail.path, cleaned=cleaned))
    checkout = scene.library(FAN_OUT)
    with _started(scene, checkout, mail, "--jobs", "1") as process:
        _end(process, signal.SIGTERM)
    result = scene.status()
    assert [child["status"] for child in children(result).values()] == ["cancelled"] * 3
    fan_out = result["steps"][0]["fan_out"]
    assert (fan_out["cancelled"], fan_out["failed"]) == (3, 0)
    assert cleaned.read_text() == "cleaned\n"
    assert mail.is_empty()


def test_a_step_that_ignores_sigterm_is_killed_after_the_grace(scene: Scene) -> None:
    mail = scene.mailbox()
    scene.subscriber("acme/stubborn", _STUBBORN.format(mail=mail.path))
    scene.subscriber("acme/polite", _POLITE.format(mail=mail.path, cleaned=scene.directory / "cleaned"))
    checkout = scene.library(FAN_OUT)
    with _started(scene, checkout, mail, "--jobs", "2") as process:
        mail.line()
        since = time.monotonic()
        _end(process, signal.SIGTERM)
        took = time.monotonic() - since
    assert process.returncode == 143
    assert _GRACE_S <= took < 2 * _GRACE_S
    assert (scene.directory / "cleaned").exists()
    stubborn = children(scene.status())["acme/stubborn"]["steps"][0]
    assert (stubborn["status"], stubborn["signal"]) == ("cancelled", "SIGKILL")


@pytest.mark.measured
def test_a_second_signal_ends_everything_at_once(scene: Scene) -> None:
    mail, heard = scene.mailbox(), scene.mailbox("heard")
    loop = "while :; do sleep 600 & wait $! || :; done\n"
    stubborn = f"trap 'echo heard >{heard.path}' TERM\necho $$ >{mail.path}\n{loop}"
    scene.subscriber("acme/stubborn", stubborn)
    checkout = scene.library(FAN_OUT)
    with _started(scene, checkout, mail) as process:
        tree = whole_tree(process.pid)
        process.send_signal(signal.SIGINT)
        assert heard.line() == "heard"
        since = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(GENEROUS_S) == 130
    assert time.monotonic() - since < _GRACE_S / 2
    assert survivors(tree, since) == []
    assert scene.status()["status"] == "interrupted"


def test_a_stopped_step_is_ended_too(scene: Scene) -> None:
    mail, cleaned = scene.mailbox(), scene.directory / "cleaned"
    scene.subscriber("acme/polite", _POLITE.format(mail=mail.path, cleaned=cleaned))
    checkout = scene.library(FAN_OUT)
    with scene.tako.started("exec", "release", cwd=checkout) as process:
        os.kill(int(mail.line()), signal.SIGSTOP)
        _end(process, signal.SIGTERM)
    assert process.returncode == 143
    assert cleaned.read_text() == "cleaned\n"


@pytest.mark.measured
def test_sigtstp_stops_the_steps_and_sigcont_continues_them(scene: Scene) -> None:
    mail, go = scene.mailbox(), scene.mailbox("go")
    scene.subscriber("acme/waits", f"echo $$ >{mail.path}\nread line <{go.path}\n")
    checkout = scene.library(FAN_OUT)
    with scene.tako.started("exec", "release", cwd=checkout) as process:
        step = psutil.Process(int(mail.line()))
        process.send_signal(signal.SIGTSTP)
        await_status(psutil.Process(process.pid), psutil.STATUS_STOPPED)
        await_status(step, psutil.STATUS_STOPPED)
        process.send_signal(signal.SIGCONT)
        await_status(step, psutil.STATUS_SLEEPING)
        go.path.write_text("go\n")
        assert process.wait(GENEROUS_S) == 0


class _Terminal:
    """A shell with job control on a terminal of its own."""

    def __init__(self, scene: Scene, directory: Path) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(directory)
            environment = {**scene.tako.environment, "PS1": "ready$ ", "TERM": "dumb"}
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"], environment)
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def await_text(self, text: str) -> None:
        """Read until `text` was shown; what stands before it is forgotten."""
        deadline = time.monotonic() + GENEROUS_S
        while text not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, self.seen
            self.seen += os.read(self.fd, 65536).decode("utf-8", "replace")
        self.seen = self.seen.partition(text)[2]

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@contextmanager
def _terminal(scene: Scene, directory: Path) -> Iterator[_Terminal]:
    terminal = _Terminal(scene, directory)
    try:
        terminal.await_text("ready$ ")
        yield terminal
    finally:
        terminal.end()


def _line() -> str:
    """The command as typed: quotes are needed where tako is not installed."""
    words = " ".join("'" + word + "'" for word in command())
    return f'{words} exec release; echo "code=$?"\n'


def test_control_c_at_a_terminal_ends_the_run_politely(scene: Scene) -> None:
    mail, cleaned = scene.mailbox(), scene.directory / "cleaned"
    scene.subscriber("acme/polite", _POLITE.format(mail=mail.path, cleaned=cleaned))
    checkout = scene.library(FAN_OUT)
    with _terminal(scene, checkout) as terminal:
        terminal.type(_line())
        mail.line()
        terminal.type("\x03")
        terminal.await_text("SIGINT: ending all steps")
        terminal.await_text("ready$ ")
        # An interactive bash drops the rest of a line whose command ended by ^C, not after an exit code.
        terminal.type("echo last=$?\n")
        terminal.await_text("last=")
    assert cleaned.read_text() == "cleaned\n"
    assert scene.status()["exit_code"] == 130


def test_control_z_stops_and_fg_continues(scene: Scene) -> None:
    mail, go = scene.mailbox(), scene.mailbox("go")
    scene.subscriber("acme/waits", f"echo $$ >{mail.path}\nread line <{go.path}\n")
    checkout = scene.library(FAN_OUT)
    with _terminal(scene, checkout) as terminal:
        terminal.type(_line())
        step = psutil.Process(int(mail.line()))
        terminal.type("\x1a")
        terminal.await_text("Stopped")
        terminal.await_text("ready$ ")
        await_status(step, psutil.STATUS_STOPPED)
        terminal.type("fg\n")
        await_status(step, psutil.STATUS_SLEEPING)
        go.path.write_text("go\n")
        terminal.await_text("succeeded")
        terminal.await_text("ready$ ")
    assert scene.status()["exit_code"] == 0


def test_signals_to_the_root_process_itself_end_the_run_too(scene: Scene) -> None:
    mail, cleaned = scene.mailbox(), scene.directory / "cleaned"
    scene.subscriber("acme/polite", _POLITE.format(mail=mail.path, cleaned=cleaned))
    checkout = scene.library(FAN_OUT)
    with _started(scene, checkout, mail) as process:
        root_of(process.pid).send_signal(signal.SIGTERM)
        assert process.wait(GENEROUS_S) == 143
    assert cleaned.read_text() == "cleaned\n"
