from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tako.system.process import orphans as remains
from tako.system.process.identity import identity_of, own_identity
from tako.system.process.orphans import Remnant, belongs, carrying, end_all, end_process, grouped, lives
from tako.values import evolve
from tests.support.dead_runs import run_id


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Give the directory of a run that no other test knows."""
    directory = tmp_path / "workspaces" / run_id(0)
    (directory / "work").mkdir(parents=True)
    return directory


@contextlib.contextmanager
def _step(run: Path, **changes: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run what a step has left, killed at the end in any case."""
    words = {"TAKO_ROOT_RUN_ID": run.name, "TAKO_WORKSPACE": str(run / "work"), **changes}
    # Once it has answered, it is the program and not the fork that became it.
    with subprocess.Popen(
        ["cat"], env={"PATH": os.defpath, **words}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"here\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"here\n"
        try:
            yield process
        finally:
            process.kill()


def _find(run: Path) -> list[Remnant]:
    return carrying({run.name: run})


def test_leftovers_of_a_step_are_found_and_ended(run: Path) -> None:
    with _step(run) as process, _step(run / "children" / run_id(1), TAKO_ROOT_RUN_ID=run.name) as below:
        found = _find(run)
        assert {(remnant.pid, remnant.name) for remnant in found} == {
            (process.pid, "cat"),
            (below.pid, "cat"),
        }
        ended, left = end_all(lambda: _find(run))
        assert (set(ended), left) == (set(found), [])
        assert (process.wait(30), below.wait(30)) == (-9, -9)


@pytest.mark.parametrize(
    "words",
    [
        {"TAKO_ROOT_RUN_ID": run_id(7)},
        # The same run in a copy of TAKO_HOME, or a test that uses the same id.
        {"TAKO_WORKSPACE": f"/elsewhere/workspaces/{run_id(0)}/work"},
        {"TAKO_WORKSPACE": "/workspace"},
        {"TAKO_WORKSPACE": ""},
    ],
)
def test_a_process_of_another_run_or_another_home_survives(run: Path, words: dict[str, str]) -> None:
    with _step(run, **words) as process:
        assert _find(run) == []
        assert end_all(lambda: _find(run)) == ([], [])
        assert process.poll() is None


def test_another_spelling_of_the_home_is_the_same_home(run: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "workspaces")
    with _step(run, TAKO_WORKSPACE=str(tmp_path / "link" / run.name / "work")) as process:
        assert [remnant.pid for remnant in _find(run)] == [process.pid]


def test_a_process_whose_pid_was_another_ones_is_not_signalled(run: Path) -> None:
    with _step(run) as process:
        [found] = _find(run)
        successor = evolve(found, start_time=found.start_time - 1)
        answers = iter([[successor], []])
        assert end_all(lambda: next(answers)) == ([], [])
        assert process.poll() is None


def test_a_process_that_turns_out_to_be_of_another_run_is_not_signalled(run: Path, tmp_path: Path) -> None:
    with _step(run) as process:
        [found] = _find(run)
        other = evolve(found, directory=tmp_path / run.name)
        answers = iter([[other], []])
        assert end_all(lambda: next(answers)) == ([], [])
        assert process.poll() is None


def test_a_process_that_has_gone_meanwhile_is_success(run: Path) -> None:
    with _step(run) as process:
        [found] = _find(run)
        process.kill()
        process.wait()
        answers = iter([[found], []])
        assert end_all(lambda: next(answers)) == ([], [])


def test_a_process_that_does_not_end_is_reported(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process in uninterruptible sleep: the signal is sent and nothing happens."""
    with _step(run) as process:
        monkeypatch.setattr(remains, "send", lambda _pidfd, _number: None)
        ended, left = end_all(lambda: _find(run), timeout_s=0.05)
        assert (ended, [remnant.pid for remnant in left]) == ([], [process.pid])


def test_this_process_itself_is_never_found(run: Path) -> None:
    assert belongs("self", os.environ.get("TAKO_ROOT_RUN_ID", ""), run) is False
    assert all(remnant.pid != os.getpid() for remnant in _find(run))


def test_a_process_lives_until_it_has_ended(run: Path) -> None:
    with _step(run) as process:
        identity = identity_of(process.pid)
        assert identity is not None
        assert lives(identity)
        assert not lives(evolve(identity, start_time=identity.start_time - 1))
        assert end_process(identity, patience_s=0)
        # Nobody has collected it yet.
        assert not lives(identity)
        process.wait()
        assert end_process(identity, patience_s=0)


def test_nothing_is_looked_for_in_the_group_of_a_worker_that_lives_or_of_another_boot(run: Path) -> None:
    assert grouped(own_identity(), run) == []
    assert grouped(evolve(own_identity(), boot="another", start_time=1), run) == []
    assert grouped(evolve(own_identity(), start_time=1), run) == []
