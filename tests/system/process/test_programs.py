"""Helper programs run to their end, and nothing of them stays."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tako.system.process import pipes
from tako.system.process.descendants import HELPERS
from tako.system.process.pipes import Pipes
from tako.system.process.programs import run_program
from tests.support.daemons import daemon, in_time

ENVIRONMENT = {"PATH": os.environ["PATH"], "WORD": "given"}


def test_output_exit_code_and_environment_are_what_the_program_had(tmp_path: Path) -> None:
    ended = run_program(
        ["sh", "-c", "cat; echo $WORD; pwd; echo oops >&2; exit 3"],
        environment=ENVIRONMENT,
        cwd=tmp_path,
        stdin=b"in\n",
    )
    assert (ended.returncode, ended.timed_out) == (3, False)
    assert ended.stdout.decode().split() == ["in", "given", str(tmp_path.resolve())]
    assert ended.stderr == b"oops\n"


def test_a_program_has_a_session_of_its_own_and_nothing_to_read() -> None:
    code = "import os; print(os.getsid(0) == os.getpid(), repr(os.read(0, 9)))"
    ended = run_program(["python3", "-c", code], environment=ENVIRONMENT)
    assert ended.stdout == b"True b''\n"


def test_a_program_is_killed_after_its_time_with_all_it_started(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")
    reader = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    try:
        script = f"sleep 600 > {tmp_path}/alive & wait"
        ended = run_program(["sh", "-c", script], environment=ENVIRONMENT, timeout_s=0.3)
        assert ended.timed_out
        # End of file on the FIFO: nobody who could write is left.
        os.set_blocking(reader, True)
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


def test_an_interrupt_kills_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pids: list[int] = []

    def noted(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        process = start()
        pids.append(process.pid)
        return process

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(HELPERS, "start", noted)
    monkeypatch.setattr(Pipes, "attend", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_program(["sleep", "600"], environment=ENVIRONMENT)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_much_goes_in_and_out_at_once() -> None:
    data = bytes(range(256)) * 8192
    ended = run_program(["sh", "-c", "tee /dev/stderr"], environment=ENVIRONMENT, stdin=data)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, data, data)


def test_of_an_endless_stderr_only_the_end_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "_ERRORS_MAX", 1 << 16)
    script = "head -c 3000000 /dev/zero >&2; echo end >&2"
    ended = run_program(["sh", "-c", script], environment=ENVIRONMENT)
    assert ended.stderr.endswith(b"\0end\n")
    assert len(ended.stderr) <= 2 << 16


def test_it_can_be_ended_while_it_runs() -> None:
    calls = iter(range(3))

    def enough() -> None:
        if next(calls) == 2:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run_program(["sleep", "600"], environment=ENVIRONMENT, meanwhile=enough)


def test_a_program_need_not_read_what_it_is_given() -> None:
    ended = run_program(["sh", "-c", "echo done"], environment=ENVIRONMENT, stdin=b"x" * (1 << 20))
    assert (ended.returncode, ended.stdout) == (0, b"done\n")


def test_what_it_leaves_with_its_pipes_is_not_waited_for(tmp_path: Path) -> None:
    with daemon(tmp_path) as left:
        script = f"echo out; echo err >&2; {left.script}; exit 3"
        ended = in_time(lambda: run_program(["sh", "-c", script], environment=ENVIRONMENT))
        assert (ended.returncode, ended.stdout, ended.stderr) == (3, b"out\n", b"err\n")
        assert left.is_there


def test_nor_is_it_after_its_time(tmp_path: Path) -> None:
    with daemon(tmp_path) as left:
        script = f"echo out; {left.script}; sleep 600"
        ended = in_time(lambda: run_program(["sh", "-c", script], environment=ENVIRONMENT, timeout_s=0.5))
        assert (ended.timed_out, ended.stdout) == (True, b"out\n")
        assert left.is_there


def test_nor_is_one_that_never_stops_writing(tmp_path: Path) -> None:
    with daemon(tmp_path, 'yes >&2 & trap "kill $!" EXIT') as left:
        ended = in_time(lambda: run_program(["sh", "-c", left.script], environment=ENVIRONMENT))
        assert ended.returncode == 0


def test_output_before_the_end_is_read_to_the_last_byte(tmp_path: Path) -> None:
    with daemon(tmp_path) as left:
        script = f"{left.script}; head -c 300000 /dev/zero; head -c 65536 /dev/zero >&2"
        ended = in_time(lambda: run_program(["sh", "-c", script], environment=ENVIRONMENT))
        assert (len(ended.stdout), len(ended.stderr)) == (300000, 65536)


def test_a_program_that_is_missing_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        run_program(["there-is-no-such-program"], environment=ENVIRONMENT)
