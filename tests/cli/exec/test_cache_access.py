from __future__ import annotations

from pathlib import Path

import pytest

from tako.cli.exec.cache_access import LazyCache
from tako.cli.stderr_notes import Notes
from tako.config.schema import Settings
from tako.layout.home import Home
from tako.repositories.caveats import Caveats


def test_an_identity_that_git_cannot_read_is_reported_once_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config").write_text("[user\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    notes = Notes(quiet=False)
    cache = LazyCache(Home(tmp_path), Settings(), notes, local=True, lock_timeout_s=1.0, caveats=Caveats())
    assert [cache.git_identity(), cache.git_identity()] == [("", "")] * 2
    said = capsys.readouterr().err
    assert said.count("children get no name and email for commits: git config failed") == 1
    assert "bad config line 1" in said
