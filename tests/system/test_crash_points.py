from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tako.system import crash_points


def test_who_passes_the_nth_place_dies_there_although_others_pass_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def write_beside_another(descriptor: int, line: bytes) -> int:
        written = write(descriptor, line)
        with (tmp_path / "passed").open("ab") as file:
            file.write(b"another after start step #1\n")
        return written

    monkeypatch.setattr(crash_points, "_directory", str(tmp_path))
    (tmp_path / "kill.0").write_text(json.dumps({"count": 3}))
    pid = os.fork()
    if pid == 0:
        try:
            monkeypatch.setattr(os, "write", write_beside_another)
            crash_points.before("start", "step")
            crash_points.before("start", "step")
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert not (tmp_path / "kill.0").exists()


def test_nothing_is_written_where_no_directory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(crash_points, "_directory", "")
    crash_points.before("start", "step")
    crash_points.after("start", "step")
    assert list(tmp_path.iterdir()) == []
