from __future__ import annotations

from pathlib import Path

import pytest

from tako.cli.options import check_cache_dir
from tako.errors import UsageError
from tako.layout.home import Home


def test_a_cache_of_ones_own_has_to_be_a_directory(tmp_path: Path) -> None:
    check_cache_dir(Home(tmp_path))
    check_cache_dir(Home(tmp_path, tmp_path))
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name, what in (
        ("nowhere", "does not exist"),
        ("file", "is not a directory"),
        ("dangling", "is not a directory"),
    ):
        with pytest.raises(UsageError, match=f"--cache-dir {tmp_path / name} {what}"):
            check_cache_dir(Home(tmp_path, tmp_path / name))
