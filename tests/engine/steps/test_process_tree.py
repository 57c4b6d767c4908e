from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from tako.config.schema import Step
from tako.engine.run.run_directory import make_directory
from tako.engine.steps.orders import ORDER_TIMED_OUT
from tako.engine.workers.workflow_runner import WorkerLostError
from tako.errors import HeldError
from tako.journal.log import Writer, read_records
from tako.journal.records import StepStarted
from tests.support.daemons import in_time
from tests.support.handed_over import HANDING, listening, taken
from tests.support.records import run_id
from tests.support.scenes import Mailbox
from tests.support.segments import run, run_spec, started, state_of


@pytest.fixture
def mail(tmp_path: Path) -> Any:  # noqa: ANN401 - a fixture that closes what it gives
    """Give a mailbox that steps write to."""
    box = Mailbox(tmp_path / "mail")
    yield box
    box.close()


def test_a_step_out_of_time_may_end_in_order(tmp_path: Path) -> None:
    script = "trap 'echo ending; exit 7' TERM; sleep 600 & wait"
    ran = run(run_spec(tmp_path, Step(id="a", run=script, timeout_s=0.3)))
    finished = ran.step("a")
    assert (finished.status, finished.exit_code, finished.message) == (
        "timed_out",
        7,
        "ended by its timeout of 300ms",
    )
    assert (finished.last_lines, ran.end.status) == (("ending",), "timed_out")


def test_a_step_that_ignores_the_polite_request_is_killed_after_the_grace(tmp_path: Path) -> None:
    ran = run(
        run_spec(tmp_path, Step(id="a", run="trap '' TERM; while :; do sleep 1; done", timeout_s=0.2)),
        grace_s=0.3,
    )
    assert (ran.step("a").status, ran.step("a").signal) == ("timed_out", "SIGKILL")


@pytest.mark.parametrize("ordered", [False, True])
def test_of_one_that_is_killed_even_the_line_without_newline_is_logged(
    tmp_path: Path, mail: Mailbox, ordered: bool
) -> None:
    """Its own timeout, and one of its workflow or fan-out, which comes as an order."""
    script = (
        f"trap 'printf heard' TERM; echo begun; echo >{mail.path}; while :; do sleep 600 & wait || true; done"
    )
    spec = run_spec(tmp_path, Step(id="a", run=script, timeout_s=None if ordered else 1.0))
    with started(spec, grace_s=0.3) as cell:
        mail.line()
        if ordered:
            cell.worker.send(ORDER_TIMED_OUT)
        cell.wait()
    ended = state_of(spec).step("a").finished
    assert ended is not None
    assert (ended.status, ended.signal, ended.last_lines) == ("timed_out", "SIGKILL", ("begun", "heard"))
    assert spec.paths.log("a").read_bytes() == b"begun\nheard\n"


_FLOOD = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
counted = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
written = 0
while True:
    # No more than PIPE_BUF: written wholly or not at all (pipe(7)).
    written += os.write(1, b"x" * 4095 + b"\\n")
    os.pwrite(counted, b"%d" % written, 0)
    if written == 1 << 20:
        with open(sys.argv[2], "w") as mail:
            mail.write("flooded\\n")
"""


def test_of_one_that_is_killed_at_a_full_pipe_every_byte_is_logged(tmp_path: Path, mail: Mailbox) -> None:
    (tmp_path / "flood.py").write_text(_FLOOD)
    spec = run_spec(
        tmp_path, f"exec '{sys.executable}' '{tmp_path}/flood.py' '{tmp_path}/counted' {mail.path}"
    )
    with started(spec, grace_s=0.1) as cell:
        mail.line()
        cell.worker.send(ORDER_TIMED_OUT)
        cell.wait()
    ended = state_of(spec).step("step-1").finished
    assert ended is not None
    assert (ended.status, ended.signal) == ("timed_out", "SIGKILL")
    written = int((tmp_path / "counted").read_text())
    logged = spec.paths.log("step-1").read_bytes()
    # It may have been killed between writing and counting.
    assert len(logged) - written in (0, 4096)
    assert logged == (b"x" * 4095 + b"\n") * (len(logged) // 4096)


def test_a_timeout_may_be_tolerated_and_its_clean_up_runs(tmp_path: Path) -> None:
    tolerated = Step(id="a", run="sleep 600", timeout_s=0.1, continue_on_error=True)
    failing = Step(id="b", run="sleep 600", timeout_s=0.1, on_failure=(Step(id="c", run="true"),))
    ran = run(run_spec(tmp_path, tolerated, failing))
    assert ran.step("a").tolerated
    assert (ran.step("b").status, ran.step("c").status) == ("timed_out", "succeeded")


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        (signal.SIGUSR2, "cancelled", "ended because the run was stopped"),
        (signal.SIGUSR1, "timed_out", "ended by a timeout of its workflow or fan-out"),
    ],
)
def test_the_root_can_end_a_run_and_no_clean_up_step_is_started_then(
    tmp_path: Path, mail: Mailbox, number: int, status: str, said: str
) -> None:
    step = Step(id="a", run=f"echo up > '{mail.path}'; sleep 600", on_failure=(Step(id="c", run="true"),))
    spec = run_spec(tmp_path, step, "true")
    with started(spec) as cell:
        assert mail.line() == "up"
        cell.worker.send(number)
        end = cell.wait()
    state = state_of(spec)
    finished = state.step("a").finished
    assert finished is not None
    assert (end.status, finished.status, finished.message, finished.signal) == (
        status,
        status,
        said,
        "SIGTERM",
    )
    assert "c" not in state.steps
    assert state.step("step-2").status == "pending"


def test_an_order_between_two_steps_is_obeyed(tmp_path: Path, mail: Mailbox) -> None:
    # The step is over before its worker has read the order.
    spec = run_spec(tmp_path, f"kill -USR2 $PPID; echo > '{mail.path}'", "sleep 600")
    ran = run(spec)
    assert ran.end.status == "cancelled"
    assert ran.state.step("step-2").status in ("pending", "cancelled")


def test_steps_can_be_paused_and_a_paused_step_can_be_ended(tmp_path: Path, mail: Mailbox) -> None:
    spec = run_spec(tmp_path, f"echo $$ > '{mail.path}'; exec sleep 600")
    with started(spec) as cell:
        step = psutil.Process(int(mail.line()))
        for number, wanted in ((signal.SIGTSTP, True), (signal.SIGCONT, False), (signal.SIGTSTP, True)):
            cell.worker.send(number)
            while (step.status() == psutil.STATUS_STOPPED) != wanted:
                os.sched_yield()
        cell.worker.send(signal.SIGUSR2)
        assert cell.wait().status == "cancelled"


def test_what_a_step_leaves_behind_ends_with_it(tmp_path: Path, mail: Mailbox) -> None:
    script = f"""
        setsid sh -c 'echo $$ > {mail.path}; exec sleep 600' &
        (setsid sh -c 'trap "" TERM; echo $$ > {mail.path}; while :; do sleep 600; done' > /dev/null 2>&1 &)
        (sleep 600 & echo $! > {mail.path})
        while [ ! -e {tmp_path}/go ]; do sleep 0.01; done
    """
    spec = run_spec(tmp_path, script, "echo next")
    with started(spec) as cell:
        left = [psutil.Process(int(line)) for line in mail.lines(3)]
        (tmp_path / "go").touch()
        assert cell.wait().status == "succeeded"
        assert [process for process in left if process.is_running()] == []


def test_a_dead_worker_leaves_an_open_step_and_another_goes_on(tmp_path: Path, mail: Mailbox) -> None:
    second = f"cat ../count; [ -e {tmp_path}/ok ] || {{ echo $$ > '{mail.path}'; exec sleep 600; }}"
    spec = run_spec(tmp_path, "echo once >> ../count", second)
    with started(spec) as cell:
        step = psutil.Process(int(mail.line()))
        cell.worker.end()
        with pytest.raises(WorkerLostError, match="the worker of the root run died"):
            cell.wait()
    # What the dead worker left is the root's to end, which there is none of here.
    step.kill()
    assert state_of(spec).step("step-2").status == "running"
    (tmp_path / "ok").touch()
    ran = run(spec, attempt=2)
    assert ran.end.status == "succeeded"
    assert (ran.state.attempt, ran.step("step-2").attempt, ran.step("step-1").attempt) == (2, 2, 1)
    assert ran.log("step-2").endswith("once\n")
    begun = [record for record in read_records(spec.paths.journal) if isinstance(record, StepStarted)]
    assert [record.step for record in begun] == ["step-1", "step-2", "step-2"]
    assert begun[0].idempotency_key != begun[1].idempotency_key == begun[2].idempotency_key


def test_a_run_whose_journal_somebody_holds_is_refused(tmp_path: Path) -> None:
    spec = run_spec(tmp_path, "true")
    make_directory(spec.paths)
    with (
        Writer(spec.paths.journal),
        pytest.raises(HeldError, match=r"process \d+ \(.+\) is executing this run"),
    ):
        run(spec)


def test_the_titles_of_the_processes_name_the_run(tmp_path: Path, mail: Mailbox) -> None:
    spec = run_spec(
        tmp_path, f"tr '\\0' '\\n' < /proc/$PPID/cmdline > /dev/null; echo $PPID > '{mail.path}'; sleep 600"
    )
    with started(spec) as cell:
        worker = int(mail.line())
        title = b""
        while b"tako:" not in title:
            title = Path(f"/proc/{worker}/cmdline").read_bytes()
        cell.worker.send(signal.SIGUSR2)
        cell.wait()
    assert title.rstrip(b"\0 ").decode() == f"tako: acme/app {run_id(1)} step-1"


def test_a_stranger_who_writes_to_a_steps_pipe_without_end_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "hand.py").write_text(HANDING)
    # A socket's path is short.
    with tempfile.TemporaryDirectory() as short, listening(Path(short) / "s") as listener:
        spec = run_spec(tmp_path, f"exec python3 hand.py {short}/s")
        with started(spec) as cell, taken(listener) as (stream, connection):
            flood = subprocess.Popen(["yes", "from outside"], stdout=stream)
            try:
                connection.send(b"x")
                assert in_time(cell.wait).status == "succeeded"
            finally:
                flood.kill()
                flood.wait()
    assert "last words" in spec.paths.log("step-1").read_text()
