"""Copies and fingerprints of trees that anybody may have filled."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tako.errors import DiskFullError, MachineError
from tako.system.storage.copying import Copier
from tako.system.storage.directory_trees import (
    TreeChangedError,
    copy_tree,
    copy_tree_hashed,
    remove_tree,
    tree_signature,
)
from tests.support.trees import listing, make_deep
from tests.support.users import as_ordinary_user


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Give a tree with something of everything that is copied."""
    top = tmp_path / "source"
    (top / "dir" / "empty").mkdir(parents=True)
    (top / "file").write_bytes(b"content")
    (top / "large").write_bytes(os.urandom(2_500_000))
    (top / "tool").write_text("#!/bin/sh\n")
    (top / "tool").chmod(0o6755)
    os.link(top / "file", top / "hard")
    (top / "dir" / "to-file").symlink_to("../file")
    (top / "to-dir").symlink_to("dir")
    (top / "dangling").symlink_to("nowhere")
    (top / "out").symlink_to(tmp_path)
    (top / "dir" / "closed").mkdir()
    (top / "dir" / "closed" / "in").write_text("x")
    (top / "dir" / "closed").chmod(0o555)
    (top / "name\udcff\n").write_text("odd")
    for path in (top / "file", top / "dir", top):
        os.utime(path, ns=(1, 1_500_000_000_123_456_789))
    return top


def test_a_copy_has_the_same_files_modes_times_and_links(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    copy_tree(source, target)
    assert listing(target) == listing(source)
    assert target.stat().st_mtime_ns == source.stat().st_mtime_ns
    assert (target / "tool").stat().st_mode & 0o7777 == 0o755
    assert (target / "hard").stat().st_ino != (target / "file").stat().st_ino
    remove_tree(target)


def test_a_copy_keeps_hard_links_where_they_are_asked_for(source: Path, tmp_path: Path) -> None:
    os.link(source / "file", source / "dir" / "third")
    copy_tree(source, tmp_path / "target", hard_links=True)
    copies = [tmp_path / "target" / name for name in ("file", "hard", "dir/third")]
    assert len({copy.stat().st_ino for copy in copies}) == 1
    assert copies[0].read_bytes() == b"content"
    assert (tmp_path / "target" / "large").stat().st_nlink == 1
    remove_tree(tmp_path / "target")


@pytest.mark.parametrize("error", [36, 31])
def test_a_hard_link_that_cannot_be_made_is_a_copy(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(error, "too long, or too many")

    monkeypatch.setattr(os, "link", refuse)
    copy_tree(source, tmp_path / "target", hard_links=True)
    assert (tmp_path / "target" / "hard").read_bytes() == b"content"
    remove_tree(tmp_path / "target")


@pytest.mark.parametrize("range_works", [True, False])
def test_holes_stay_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, range_works: bool) -> None:
    if not range_works:

        def unable(*_: object) -> int:
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(os, "copy_file_range", unable)
    top = tmp_path / "source"
    top.mkdir()
    with (top / "sparse").open("wb") as file:
        file.seek(5 << 20)
        file.write(b"data" * 1_000_000)
        file.seek(40 << 20)
        file.write(b"end")
        file.truncate(64 << 20)
    (top / "hole").touch()
    os.truncate(top / "hole", 1 << 30)
    copy_tree(top, tmp_path / "plain")
    with (top / "sparse").open("rb") as source, (tmp_path / "hashed").open("w+b") as target:
        hashed = Copier().copy_and_hash(source.fileno(), target.fileno())
    content = (top / "sparse").read_bytes()
    assert hashed == (hashlib.sha256(content).hexdigest(), len(content))
    for copy in (tmp_path / "plain" / "sparse", tmp_path / "hashed"):
        assert copy.read_bytes() == content
        assert copy.stat().st_blocks * 512 < 5 << 20
    hole = (tmp_path / "plain" / "hole").stat()
    assert (hole.st_size, hole.st_blocks) == (1 << 30, 0)


def test_a_hashed_copy_is_the_same_copy(source: Path, tmp_path: Path) -> None:
    digest = copy_tree_hashed(source, tmp_path / "target", on_skipped=lambda *_: None)
    assert listing(tmp_path / "target") == listing(source)
    assert copy_tree_hashed(tmp_path / "target", tmp_path / "again", on_skipped=lambda *_: None) == digest


def _write(top: Path) -> None:
    (top / "file").write_text("other")


def _chmod(top: Path) -> None:
    (top / "file").chmod(0o700)


def _rename(top: Path) -> None:
    (top / "file").rename(top / "renamed")


def _relink(top: Path) -> None:
    (top / "dangling").unlink()
    (top / "dangling").symlink_to("elsewhere")


def _add_directory(top: Path) -> None:
    (top / "dir" / "new").mkdir()


def _move_up(top: Path) -> None:
    (top / "dir" / "empty").rename(top / "empty")


CHANGES = [_write, _chmod, _rename, _relink, _add_directory, _move_up]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_shows_in_signature_and_hash(
    source: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    before = tree_signature(source)
    digest = copy_tree_hashed(source, tmp_path / "1", on_skipped=lambda *_: None)
    assert tree_signature(source) == before
    change(source)
    assert tree_signature(source).hex != before.hex
    assert copy_tree_hashed(source, tmp_path / "2", on_skipped=lambda *_: None) != digest


def test_times_show_in_the_signature_but_not_in_the_hash(source: Path, tmp_path: Path) -> None:
    before = tree_signature(source)
    digest = copy_tree_hashed(source, tmp_path / "1", on_skipped=lambda *_: None)
    os.utime(source / "file")
    assert tree_signature(source).hex != before.hex
    assert copy_tree_hashed(source, tmp_path / "2", on_skipped=lambda *_: None) == digest


def test_a_signature_knows_the_newest_change_and_the_number_of_entries(tmp_path: Path) -> None:
    (tmp_path / "t" / "d").mkdir(parents=True)
    (tmp_path / "t" / "d" / "f").write_text("x")
    signature = tree_signature(tmp_path / "t")
    assert signature.entries == 2
    assert signature.newest_ns == (tmp_path / "t" / "d" / "f").stat().st_ctime_ns


def test_special_files_are_left_out_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    os.mkfifo(source / "d" / "fifo")
    monkeypatch.chdir(source)
    told = set()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        copy_tree(source, tmp_path / "target", on_skipped=lambda *what: told.add(what))
        copy_tree(source, tmp_path / "silent")
        assert tree_signature(source).entries == 3
    assert told == {("d/fifo", "FIFO"), ("socket", "socket")}
    assert listing(tmp_path / "target").keys() == {"d"}


def test_a_very_deep_tree_is_signed_copied_and_removed(tmp_path: Path) -> None:
    make_deep(tmp_path / "deep", 3000)
    before = tree_signature(tmp_path / "deep")
    assert before.entries == 3001
    copy_tree(tmp_path / "deep", tmp_path / "copy")
    assert tree_signature(tmp_path / "copy").entries == 3001
    remove_tree(tmp_path / "deep")
    remove_tree(tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def _refusal(act: Callable[[], object]) -> str:
    with pytest.raises(MachineError) as caught:
        act()
    return caught.value.message


def _read_a_closed_directory() -> str:
    Path("source/closed").mkdir(parents=True)
    Path("source/closed").chmod(0)
    copied = _refusal(lambda: copy_tree(Path("source"), Path("target")))
    return f"{copied}; {_refusal(lambda: tree_signature(Path('source')))}"


def _read_a_closed_file() -> str:
    Path("source").mkdir()
    Path("source/key").write_text("x")
    Path("source/key").chmod(0)
    assert tree_signature(Path("source")).entries == 1
    return _refusal(lambda: copy_tree(Path("source"), Path("target")))


def test_an_unreadable_directory_is_named(tmp_path: Path) -> None:
    assert as_ordinary_user(tmp_path, _read_a_closed_directory) == (
        "source/closed cannot be copied: Permission denied; source/closed cannot be read: Permission denied"
    )


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    assert as_ordinary_user(tmp_path, _read_a_closed_file) == (
        "source/key cannot be copied: Permission denied"
    )


def test_a_tree_that_is_not_there_has_changed(tmp_path: Path) -> None:
    with pytest.raises(TreeChangedError):
        copy_tree(tmp_path / "gone", tmp_path / "target")
    with pytest.raises(TreeChangedError):
        tree_signature(tmp_path / "gone")


def test_a_file_swapped_for_a_fifo_meanwhile_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("x")
    real_open = os.open

    def swap(path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "file" and not flags & os.O_CREAT:
            (source / "file").unlink()
            os.mkfifo(source / "file")
        return real_open(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(TreeChangedError, match="file changed while it was copied"):
        copy_tree(source, tmp_path / "target")


def test_a_directory_moved_away_meanwhile_leads_nowhere(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "a" / "b").mkdir(parents=True)
    os.mkfifo(source / "a" / "b" / "fifo")
    (tmp_path / "outside").mkdir()

    def move(_relative: str, _kind: str) -> None:
        (source / "a" / "b").rename(tmp_path / "outside" / "b")

    with pytest.raises(TreeChangedError):
        copy_tree(source, tmp_path / "target", on_skipped=move)


def test_a_full_disk_is_called_that(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DiskFullError, match="no space left"):
        copy_tree(source, tmp_path / "target")


def _copied(tmp_path: Path, content: bytes) -> tuple[bytes, tuple[str, int]]:
    (tmp_path / "from").write_bytes(content)
    with (tmp_path / "from").open("rb") as source, (tmp_path / "plain").open("w+b") as plain:
        copier = Copier()
        copier.copy(source.fileno(), plain.fileno(), len(content))
    with (tmp_path / "from").open("rb") as source, (tmp_path / "hashed").open("w+b") as hashed:
        result = Copier().copy_and_hash(source.fileno(), hashed.fileno())
    assert (tmp_path / "plain").read_bytes() == (tmp_path / "hashed").read_bytes()
    return (tmp_path / "plain").read_bytes(), result


def test_bytes_are_copied_where_the_kernel_cannot_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", unable)
    assert _copied(tmp_path, b"x" * 3_000_000)[0] == b"x" * 3_000_000


def test_a_file_that_shrank_is_copied_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "from").write_bytes(b"short")
    with (tmp_path / "from").open("rb") as source, (tmp_path / "to").open("w+b") as target:
        Copier().copy(source.fileno(), target.fileno(), 5_000_000)
    assert (tmp_path / "to").read_bytes() == b"short"


def test_cloned_bytes_are_hashed_from_the_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def clone(target: int, _request: int, source: int) -> int:
        os.write(target, os.pread(source, 1 << 20, 0))
        return 0

    plain = _copied(tmp_path, b"abc")
    monkeypatch.setattr(fcntl, "ioctl", clone)
    assert _copied(tmp_path, b"abc") == plain


def test_an_error_other_than_not_supported_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "copy_file_range", broken)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "f").write_bytes(b"x" * 2_000_000)
    with pytest.raises(MachineError, match="f cannot be copied: Input/output error"):
        copy_tree(tmp_path / "s", tmp_path / "t")


def test_a_copy_can_be_ended_between_two_files(tmp_path: Path) -> None:
    source, asked = tmp_path / "source", list[str]()
    (source / "d").mkdir(parents=True)
    for name in ("1", "2", "d/3"):
        (source / name).write_text(name)

    def check() -> None:
        asked.append("?")
        if len(asked) == 3:
            raise LookupError

    with pytest.raises(LookupError):
        copy_tree_hashed(source, tmp_path / "target", on_skipped=lambda *_: None, check=check)
    assert sorted(path.name for path in (tmp_path / "target").iterdir()) == ["1", "2"]
