from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tako.system.storage.stamps import stamp_of


@pytest.mark.parametrize(
    "change",
    [
        lambda top: (top / "new").touch(),
        lambda top: (top / "below" / "file").write_text("more"),
        lambda top: (top / "below" / "file").unlink(),
        lambda top: (top / "below" / "file").chmod(0o700),
        lambda top: (top / "below").rename(top / "other"),
        lambda top: (top / "below" / "link").symlink_to("file"),
    ],
    ids=["made", "written", "removed", "mode", "renamed", "link"],
)
def test_every_change_in_a_directory_changes_its_stamp(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_text("text")
    before = stamp_of((tmp_path, tmp_path / "gone"))
    (tmp_path / "below" / "file").read_text()
    os.listdir(tmp_path)
    assert stamp_of((tmp_path, tmp_path / "gone")) == before
    change(tmp_path)
    assert stamp_of((tmp_path, tmp_path / "gone")) != before
