"""`tako status`, `tako runs`, `tako logs` and what `tako exec` prints at its end, over told runs."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from tako.engine.root.tree_result import TreeResult
from tako.journal.records import RunFinished, RunSettled
from tako.layout.home import Home
from tako.layout.run import RunDirectory
from tako.report.summary import report
from tests.support.records import T0, run_id, run_started, write_journal
from tests.support.runner import Tako, command
from tests.support.told_runs import HOSTILE, held


@pytest.fixture
def logged(told: RunDirectory) -> RunDirectory:
    """Give the told run with logs of two of its steps."""
    told.logs.mkdir()
    told.log("build").write_bytes(b"building\xff" + HOSTILE.encode() + b"\n")
    told.log("lint").write_bytes(b"linting\n")
    return told


# --- status ---


def test_status_shows_the_tree_and_the_failures(tako: Tako, told: RunDirectory) -> None:
    done = tako("status")
    assert (done.code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"✗ acme/lib  release  {run_id(0)}  failed  1m06s"
    assert "✗ acme/app check, step test: exit code 3" in lines
    assert f"    all of it: tako logs {run_id(1)} test" in lines
    assert "\x1b" not in done.stdout


def test_status_of_a_child_by_the_end_of_its_id(tako: Tako, told: RunDirectory) -> None:
    done = tako("status", "0002")
    assert done.stdout.splitlines()[0] == f"✓ acme/tool  check  {run_id(2)}  succeeded  2.0s"


def test_status_as_json(tako: Tako, told: RunDirectory) -> None:
    found = tako("status", run_id(0), "--output", "json").json
    assert (found["status"], found["exit_code"], len(found["failures"])) == ("failed", 1, 3)


def test_status_where_the_terminal_has_no_unicode(tako: Tako, told: RunDirectory) -> None:
    told.journal.write_bytes(told.journal.read_bytes())
    done = tako("status", env={"PYTHONIOENCODING": "ascii", "LANG": "C"})
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert done.stdout.startswith("x acme/lib")
    assert tako("status", "--output", "json", env={"PYTHONIOENCODING": "ascii"}).json["status"] == "failed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("status", "deadbeef"), "there is no run 'deadbeef'"),
        (("logs", "deadbeef"), "there is no run 'deadbeef'"),
    ],
)
def test_an_unknown_run_is_an_error_with_a_hint(
    tako: Tako, told: RunDirectory, arguments: tuple[str, ...], said: str
) -> None:
    done = tako(*arguments)
    assert done.code == 2
    assert said in done.stderr
    assert "`tako runs` lists them" in done.stderr


def test_status_without_any_run_is_an_error(tako: Tako, home: Home) -> None:
    done = tako("status")
    assert (done.code, done.stdout) == (2, "")
    assert "there are no runs" in done.stderr


# --- runs ---


def test_runs_are_listed_newest_first(tako: Tako, home: Home, told: RunDirectory) -> None:
    later = home.run("exec-20231114-221321-000000aa")
    with held(later):
        write_journal(later.journal, run_started(7, workflow="deploy"))
        done = tako("runs")
    assert done.stdout.splitlines() == [
        "▶ exec-20231114-221321-000000aa  running      2023-11-14T22:13:20Z  acme/lib  deploy",
        f"✗ {run_id(0)}  failed       2023-11-14T22:13:20Z  acme/lib  release",
    ]
    assert len(tako("runs", "-n", "1").stdout.splitlines()) == 1
    assert [row["status"] for row in tako("runs", "--output", "json").json] == ["interrupted", "failed"]


def test_a_run_that_never_began_and_a_damaged_one_are_listed(
    tako: Tako, home: Home, told: RunDirectory
) -> None:
    home.run("exec-20231114-221321-000000aa").path.mkdir()
    told.journal.write_bytes(told.journal.read_bytes().replace(b"acme", b"evil"))
    done = tako("runs")
    first, second = done.stdout.splitlines()
    assert first.endswith("(ended before it began)")
    assert second.endswith("the checksum is wrong")


def test_a_run_that_never_began_is_the_newest_one_and_says_so(
    tako: Tako, home: Home, told: RunDirectory
) -> None:
    never = home.run("exec-20231114-221321-000000aa")
    with held(never):
        assert tako("runs").stdout.splitlines()[0].endswith("(has not begun yet)")
        assert tako("status").stdout.split() == ["▶", never.run_id, "running"]
    done = tako("status")
    assert (done.code, done.stderr) == (0, "")
    assert "interrupted before it began: nothing of it ran" in done.stdout
    assert "--resume" not in done.stdout
    logs = tako("logs")
    assert (logs.code, logs.stdout, f"nothing of run {never.run_id}" in logs.stderr) == (0, "", True)


def test_a_run_that_was_stopped_before_it_began_is_to_be_started_anew(tako: Tako, home: Home) -> None:
    paths = home.run(run_id(0))
    write_journal(paths.journal, RunFinished(T0, "cancelled"), RunSettled(T0, "cancelled", 130))
    assert "to start it anew: tako exec WORKFLOW" in tako("status").stdout


def test_runs_without_any_run_prints_an_empty_list_and_a_message(tako: Tako, home: Home) -> None:
    done = tako("runs")
    assert (done.code, done.stdout) == (0, "")
    assert "there are no runs" in done.stderr
    assert tako("runs", "--output", "json").json == []


# --- logs ---


def test_logs_are_printed_as_they_were_written(tako: Tako, logged: RunDirectory, tmp_path: Path) -> None:
    done = subprocess.run(
        [*command(), "logs"], env=tako.environment, cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stdout == logged.log("build").read_bytes() + b"linting\n"
    assert tako("logs", "0000", "lint").stdout == "linting\n"


def test_logs_on_a_terminal_leave_it_alone(tako: Tako, logged: RunDirectory, tmp_path: Path) -> None:
    primary, secondary = pty.openpty()
    try:
        subprocess.run(
            [*command(), "logs", run_id(0), "build"],
            env=tako.environment,
            cwd=tmp_path,
            stdout=secondary,
            check=True,
        )
        shown = os.read(primary, 65536).decode()
    finally:
        os.close(primary)
        os.close(secondary)
    assert shown == "building\ufffd\x1b[31mred\x1b[0mover\r\n\x1b[0m"


def test_the_log_of_an_unknown_step_is_an_error_that_names_the_others(
    tako: Tako, logged: RunDirectory
) -> None:
    done = tako("logs", "0000", "deploy")
    assert done.code == 2
    assert (
        f"run {run_id(0)} has no step 'deploy' (it has: build, notes, lint, dependents, after)" in done.stderr
    )


def test_a_step_that_printed_nothing_has_an_empty_log(tako: Tako, logged: RunDirectory) -> None:
    done = tako("logs", "0000", "after")
    assert (done.code, done.stdout) == (0, "")


def test_a_reader_that_has_enough_is_no_bug(tako: Tako, logged: RunDirectory, tmp_path: Path) -> None:
    logged.log("build").write_bytes(b"x\n" * 1_000_000)
    script = f"{' '.join(map(_quoted, command()))} logs | head -1"
    done = subprocess.run(
        ["sh", "-c", script], env=tako.environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("x\n", "")


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


# --- the end of `tako exec` ---


def test_the_summary_as_text_is_the_tree_and_the_failures(
    told: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    report(told, TreeResult("failed", 1), output="text", quiet=False)
    out, err = capsys.readouterr()
    assert out.splitlines()[0].endswith("failed  1m06s")
    assert "acme/app check, step test: exit code 3" in err
    assert "FAILED redover" in err


def test_quiet_prints_only_failures(told: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    report(told, TreeResult("failed", 1), output="text", quiet=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "acme/broken check: tako.yml:1:1: bad" in err
    report(told, TreeResult("succeeded", 0), output="text", quiet=True)
    assert capsys.readouterr() == ("", "")


def test_the_end_as_json_is_the_result_alone(told: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    report(told, TreeResult("failed", 4, "no space left"), output="json", quiet=False)
    out, err = capsys.readouterr()
    assert json.loads(out)["exit_code"] == 4
    assert err == "tako: no space left\n"


def test_only_so_many_failures_are_spelled_out(
    told: RunDirectory, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tako.report.summary._FAILURES_SHOWN", 2)
    report(told, TreeResult("failed", 1), output="text", quiet=True)
    _, err = capsys.readouterr()
    assert "acme/late" not in err
    assert err.endswith(f"... and more: tako status {run_id(0)}\n")
