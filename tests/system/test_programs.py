"""Helper programs run to their end, and nothing of them stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tako.system.programs import run_program

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


def test_it_has_a_session_of_its_own_and_nothing_to_read() -> None:
    code = "import os; print(os.getsid(0) == os.getpid(), repr(os.read(0, 9)))"
    ended = run_program(["python3", "-c", code], environment=ENVIRONMENT)
    assert ended.stdout == b"True b''\n"


def test_after_its_time_it_is_killed_with_all_it_started(tmp_path: Path) -> None:
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
    import subprocess

    real = subprocess.Popen.communicate
    pids: list[int] = []

    def interrupted(
        self: subprocess.Popen[bytes], data: bytes | None = None, timeout: float | None = None
    ) -> tuple[bytes, bytes]:
        if not pids:
            pids.append(self.pid)
            raise KeyboardInterrupt
        return real(self, data, timeout)

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_program(["sleep", "600"], environment=ENVIRONMENT)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_program_that_is_missing_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        run_program(["there-is-no-such-program"], environment=ENVIRONMENT)
