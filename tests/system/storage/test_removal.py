"""Removing trees, whatever is in them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tako.errors import MachineError
from tako.system.storage import removal
from tako.system.storage.removal import remove_tree
from tests.support.users import as_ordinary_user

_ROUNDS = 10


def test_a_missing_tree_counts_as_removed(tmp_path: Path) -> None:
    remove_tree(tmp_path / "gone")
    remove_tree(tmp_path / "gone" / "below")
    assert list(tmp_path.iterdir()) == []


def test_a_file_or_link_is_removed_and_its_target_kept(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "link").symlink_to("kept")
    remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "kept" / "file")
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]


def test_no_link_inside_is_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "tree" / "d").mkdir(parents=True)
    (tmp_path / "tree" / "d" / "out").symlink_to("../../kept")
    os.mkfifo(tmp_path / "tree" / "fifo")
    remove_tree(tmp_path / "tree")
    assert (tmp_path / "kept" / "file").read_text() == "x"
    assert not (tmp_path / "tree").exists()


def _make_closed_and_remove() -> str:
    top = Path("tree")
    for name in ("a/b", "c"):
        (top / name).mkdir(parents=True)
        (top / name / "file").write_text("x")
    for path, mode in (("a/b", 0o000), ("a", 0o500), ("c", 0o000), ("", 0o000)):
        (top / path).chmod(mode)
    remove_tree(top)
    return str(os.listdir())


def test_directories_without_permissions_are_removed_by_an_ordinary_user(tmp_path: Path) -> None:
    assert as_ordinary_user(tmp_path, _make_closed_and_remove) == "[]"


def test_several_may_remove_the_same_tree_at_once(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / "tree" / f"d{number}" / "e").mkdir(parents=True)
        (tmp_path / "tree" / f"d{number}" / "e" / "f").write_text("x")
    start, errors = threading.Barrier(4), []

    def remove() -> None:
        start.wait(30)
        try:
            remove_tree(tmp_path / "tree")
        except MachineError as error:
            errors.append(error)

    threads = [threading.Thread(target=remove) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert not (tmp_path / "tree").exists()


def test_a_path_that_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "stuck").write_text("x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        with pytest.raises(MachineError, match="stuck: Operation not permitted"):
            remove_tree(tmp_path / "tree")


def test_a_tree_that_grows_all_the_time_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tree").mkdir()
    real = os.rmdir

    def grow(path: Path, *, dir_fd: int | None = None) -> None:
        (tmp_path / "tree" / "new").write_text("x")
        real(path, dir_fd=dir_fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", grow)
        with pytest.raises(MachineError, match="still being written"):
            remove_tree(tmp_path / "tree")


def test_a_directory_swapped_for_a_link_is_not_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "tree" / "d").mkdir(parents=True)
    real = removal.open_up

    def swap(name: str | Path, directory: int | None) -> None:
        if name == "d" and not (tmp_path / "tree" / "d").is_symlink():
            (tmp_path / "tree" / "d").rmdir()
            (tmp_path / "tree" / "d").symlink_to("../kept")
        real(name, directory)

    monkeypatch.setattr(removal, "open_up", swap)
    remove_tree(tmp_path / "tree")
    assert (tmp_path / "kept" / "file").read_text() == "x"
    assert not (tmp_path / "tree").exists()


_SWAPS = """
import os, sys
os.chdir("tree")
print("up", flush=True)
while True:
    for name in map(str, range(20)):
        try:
            os.rename(f"{name}/below", "aside")
            os.symlink(sys.argv[1], f"{name}/below")
            os.unlink(f"{name}/below")
            os.rename("aside", f"{name}/below")
        except FileNotFoundError:
            pass
"""


def test_directories_that_are_swapped_for_links_all_the_time_lead_nowhere(tmp_path: Path) -> None:
    """What is being removed may change under the hands that remove it; what lies outside stays."""
    kept = tmp_path / "kept"
    (kept / "below").mkdir(parents=True)
    (kept / "file").write_text("x")
    (kept / "below" / "file").write_text("x")
    for _ in range(_ROUNDS):
        for name in range(20):
            (tmp_path / "tree" / str(name) / "below" / "deeper").mkdir(parents=True)
            (tmp_path / "tree" / str(name) / "below" / "deeper" / "file").write_text("x")
        command = [sys.executable, "-c", _SWAPS, str(kept)]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as swapping:
            assert swapping.stdout is not None
            assert swapping.stdout.readline() == b"up\n"
            # Somebody who never stops may win; then it is told, and nothing outside is touched either.
            with suppress(MachineError):
                remove_tree(tmp_path / "tree")
            swapping.kill()
        remove_tree(tmp_path / "tree")
        assert sorted(path.name for path in kept.rglob("*")) == ["below", "file", "file"]
        assert not (tmp_path / "tree").exists()
