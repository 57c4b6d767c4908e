"""Two versions of tako on one home: what a newer one wrote is passed over or told, never changed or lost."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from tako.layout.home import Home
from tests.support.dead_runs import write_one
from tests.support.runner import Tako

pytestmark = pytest.mark.forked


def _line(**fields: Any) -> bytes:  # noqa: ANN401 - whatever a newer version writes
    body = json.dumps(fields, separators=(",", ":")).encode()
    return body[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(body)


def _append(journal: Path, line: bytes) -> bytes:
    with journal.open("ab") as file:
        file.write(line)
    return journal.read_bytes()


@pytest.fixture
def home(tako_home: Path) -> Home:
    """Give the test's home."""
    (tako_home / "workspaces").mkdir(parents=True, mode=0o700)
    tako_home.chmod(0o700)
    # The runs began in 2023.
    (tako_home / "config.yml").write_text("keep_runs: 900000h\n")
    return Home(tako_home)


def test_records_that_change_no_state_and_fields_are_passed_over(tako: Tako, home: Home) -> None:
    run = write_one(home, 1)
    _append(run.journal, _line(kind="Praised", inert=True, at=1.0, loud=[1]))
    _append(run.journal, _line(kind="Noted", inert=True, at=1.0, message="m", colour="red"))
    assert tako("status", run.run_id).code == 0
    assert tako("reap").code == 0
    assert tako("runs", "--output", "json").json[0]["problem"] == ""


def test_a_record_that_changes_state_is_told_and_its_run_left_as_it_is(tako: Tako, home: Home) -> None:
    newer, older = write_one(home, 1), write_one(home, 2)
    before = _append(newer.journal, _line(kind="RunPaused", at=1.0))
    listed = {row["run_id"]: row["problem"] for row in tako("runs", "--output", "json").json}
    assert "unknown kind of record 'RunPaused'" in listed[newer.run_id]
    assert listed[older.run_id] == ""
    for words in (("status", newer.run_id), ("logs", newer.run_id), ("exec", "--resume", newer.run_id)):
        done = tako(*words)
        assert done.code == 4, (words, done.stderr)
        assert "RunPaused" in done.stderr
        assert "newer" in done.stderr
    reaped = tako("reap")
    assert reaped.code == 1
    assert f"{newer.run_id}: " in reaped.stderr
    assert f"{older.run_id}  reaped" in reaped.stdout
    assert newer.journal.read_bytes() == before


@pytest.mark.parametrize("text", ["", "2", '{"format": 2}', "1e999 1\n", "nan x\n", "\x00" * 50])
def test_an_index_of_another_version_is_made_again(tako: Tako, home: Home, text: str) -> None:
    run = write_one(home, 1)
    (run.work / "repo").mkdir(parents=True)
    home.kept.mkdir(parents=True)
    home.unsettled.mkdir()
    (home.kept / run.run_id).write_text(text)
    (home.unsettled / run.run_id).write_text(text)
    home.isolation_probed.write_text(text)
    clean = ("workspace", "clean")
    for words in (("reap",), ("runs",), (*clean, "--dry-run"), (*clean, "--all", "-y")):
        done = tako(*words)
        assert done.code == 0, (words, done.stderr)
    assert not run.work.exists()
    assert tako("status", run.run_id).code == 0
