"""A slot forks one worker after the other: none inherits from another, and none takes the slot along."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import SOURCE
from tests.support.runner import clean_environment, run_program

#: Runs segments of `argv[2]`, a list of scripts, one after the other in one slot; prints what came of each.
_PROGRAM = """
import json, os, select, signal, sys
from pathlib import Path
from tako.engine.run.run_directory import make_directory
from tako.engine.run.spec import Segment, Secrets
from tako.engine.workers import child_workflow_executor as workers
from tako.system.libc import become_subreaper
from tests.support.segments import run_spec

become_subreaper()
workers._PRELOAD.append("tests.support.leaky_worker")
directory = Path(sys.argv[1])
executor = workers.ChildWorkflowExecutor(1, temporary=str(directory / "private"))

def segment(number, script):
    spec = run_spec(directory, script, number=number)
    make_directory(spec.paths)
    temporary = directory / f"tmp{number}"
    temporary.mkdir()
    return Segment(spec, 0, 1, str(temporary), 10.0, Secrets())

def slot():
    (found,) = executor._slots
    return found.process.identity.pid

def run(number, script):
    before = executor.submit(segment(number, script))
    try:
        return before.result(100).status
    except Exception as error:
        return f"{type(error).__name__}: {error}"

EXTRA
executor.close()
"""


def _fifo(directory: Path) -> Path:
    """What a step writes its pid to; whoever reads it waits for that."""
    path = directory / "ready"
    os.mkfifo(path)
    return path


def _run(directory: Path, extra: str) -> list[Any]:
    (directory / "private").mkdir()
    (directory / "said").mkdir()
    environment = {
        **clean_environment(directory),
        "PYTHONPATH": str(SOURCE.parents[1]),
        "LEAKY": str(directory / "said"),
    }
    program = _PROGRAM.replace("EXTRA", extra)
    ended = run_program([sys.executable, "-c", program, str(directory)], environment)
    assert (ended.code, ended.stderr) == (0, ""), ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_nothing_of_a_worker_reaches_the_next_one_of_its_slot(tmp_path: Path) -> None:
    (ended,) = _run(tmp_path, "print(json.dumps([run(n, 'true') for n in (1, 2, 3)]))")
    assert ended == ["succeeded"] * 3
    first, *later = [json.loads(path.read_text()) for path in sorted((tmp_path / "said").iterdir())]
    assert (first["environment"], first["memory"], first["threads"]) == ("", 0, 1)
    assert (first["handler"], first["leads a session"]) == (True, True)
    # The two files of its hand-over, and the two pipes at whose end it dies.
    kinds = sorted(target.partition(":")[0].lstrip("/") for target in first["descriptors"])
    assert kinds == ["memfd", "memfd", "pipe", "pipe"]
    # All were forked by the same process, and found the same.
    assert [{**found, "descriptors": 0} for found in later] == [{**first, "descriptors": 0}] * 2
    assert [len(found["descriptors"]) for found in later] == [4, 4]


@pytest.mark.parametrize("how", ["killed", "stopped and killed", "cancelled"])
def test_a_worker_that_dies_leaves_its_slot_as_it_was(tmp_path: Path, how: str) -> None:
    doing = {
        "killed": "executor.kill(id_of(2))",
        "stopped and killed": "executor._signal(id_of(2), signal.SIGSTOP); executor.kill(id_of(2))",
        "cancelled": "executor.cancel(id_of(2), timed_out=False)",
    }[how]
    ready = _fifo(tmp_path)
    said = _run(
        tmp_path,
        f"""
def id_of(number):
    return run_spec(directory, "true", number=number).run_id

print(json.dumps([run(1, "true"), slot()]))
future = executor.submit(segment(2, "echo $$ > {ready}; exec sleep 100"))
step = Path({str(ready)!r}).read_text().strip()
{doing}
try:
    print(json.dumps(future.result(100).status))
except Exception as error:
    print(json.dumps(type(error).__name__ + ": " + str(error)))
print(json.dumps([run(3, "true"), slot()]))
print(json.dumps(os.path.exists("/proc/" + step)))
""",
    )
    before, middle, after, left = said
    assert middle == ("cancelled" if how == "cancelled" else "WorkerLostError: it was ended by SIGKILL")
    assert before == after
    assert before[0] == "succeeded"
    assert left is False


def test_an_order_that_comes_before_the_worker_hears_is_not_lost(tmp_path: Path) -> None:
    (said,) = _run(
        tmp_path,
        """
found = []
for number in range(1, 9):
    future = executor.submit(segment(number, "exec sleep 100"))
    executor.cancel(run_spec(directory, "true", number=number).run_id, timed_out=bool(number % 2))
    found.append(future.result(100).status)
print(json.dumps(found))
""",
    )
    assert said == ["timed_out", "cancelled"] * 4


def test_a_worker_removes_its_temporary_files_and_one_stopped_before_it_hears_goes_on(tmp_path: Path) -> None:
    (said,) = _run(
        tmp_path,
        """
found = []
for number in range(1, 5):
    future = executor.submit(segment(number, "mkdir $TMPDIR/d; touch $TMPDIR/d/f; chmod 0 $TMPDIR/d"))
    executor.pause()
    executor.go_on()
    found.append([future.result(100).status, (directory / f"tmp{number}").exists()])
print(json.dumps(found))
""",
    )
    assert said == [["succeeded", False]] * 4


def test_a_slot_that_dies_idle_costs_the_next_segment_no_attempt(tmp_path: Path) -> None:
    said = _run(
        tmp_path,
        """
first = run(1, "true")
old = slot()
death = os.pidfd_open(old)
os.kill(old, signal.SIGKILL)
select.select([death], [], [])
print(json.dumps([first, run(2, "true"), slot() != old]))
""",
    )
    assert said == [["succeeded", "succeeded", True]]


def test_a_slot_that_stands_still_is_killed_with_its_segment_and_when_all_ends(tmp_path: Path) -> None:
    ready = _fifo(tmp_path)
    said = _run(
        tmp_path,
        f"""
def id_of(number):
    return run_spec(directory, "true", number=number).run_id

print(json.dumps(run(1, "true")))
future = executor.submit(segment(2, "echo $$ > {ready}; exec sleep 100"))
step = Path({str(ready)!r}).read_text().strip()
os.kill(slot(), signal.SIGSTOP)
worker = os.pidfd_open(executor.worker_of(id_of(2)))
executor.kill(id_of(2))
select.select([worker], [], [])
executor.kill(id_of(2))
try:
    print(json.dumps(future.result(100).status))
except Exception as error:
    print(json.dumps(type(error).__name__))
print(json.dumps(run(3, "true")))
os.kill(slot(), signal.SIGSTOP)
""",
    )
    assert said == ["succeeded", "WorkerLostError", "succeeded"]


def test_a_slot_that_dies_takes_its_worker_and_step_along(tmp_path: Path) -> None:
    ready = _fifo(tmp_path)
    said = _run(
        tmp_path,
        f"""
future = executor.submit(segment(1, "echo $$ > {ready}; exec sleep 100"))
step = Path({str(ready)!r}).read_text().strip()
os.kill(slot(), signal.SIGKILL)
print(json.dumps(type(future.exception(100)).__name__))
print(json.dumps(os.path.exists("/proc/" + step)))
print(json.dumps(run(2, "true")))
""",
    )
    assert said == ["WorkerLostError", False, "succeeded"]
