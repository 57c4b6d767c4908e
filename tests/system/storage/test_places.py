"""Places of mounts in directories that hostile programs could write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tako.system.storage.places import make_place, opened_place


def test_missing_directories_are_made_and_existing_ones_are_left(tmp_path: Path) -> None:
    make_place(tmp_path, "a/b/c", directory=True)
    (tmp_path / "a" / "b" / "c" / "kept").write_text("kept")
    make_place(tmp_path, "a/b/c", directory=True)
    make_place(tmp_path, "a/b/file", directory=False)
    make_place(tmp_path, "a/b/c/kept", directory=False)
    assert (tmp_path / "a/b/c/kept").read_text() == "kept"
    assert (tmp_path / "a/b/file").read_bytes() == b""


@pytest.mark.parametrize("link", ["a", "a/b", "a/b/c"])
@pytest.mark.parametrize("directory", [True, False])
def test_no_link_is_followed(tmp_path: Path, link: str, directory: bool) -> None:
    outside, top = tmp_path / "outside", tmp_path / "top"
    outside.mkdir()
    (top / link).parent.mkdir(parents=True)
    (top / link).symlink_to(outside if link != "a/b/c" else outside / "new")
    with pytest.raises(OSError, match=r"Not a directory|it is not a file"):
        make_place(top, "a/b/c", directory=directory)
    assert os.listdir(outside) == []


def test_another_kind_of_file_in_the_way_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        make_place(tmp_path, "file", directory=True)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError):
        make_place(tmp_path, "pipe", directory=False)


def test_an_opened_place_stays_the_directory_that_it_was(tmp_path: Path) -> None:
    with opened_place(tmp_path, "a/b") as place:
        (tmp_path / "a").rename(tmp_path / "moved")
        (tmp_path / "a").symlink_to("/")
        (place / "file").write_text("")
    assert (tmp_path / "moved" / "b" / "file").exists()
