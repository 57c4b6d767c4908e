"""Reading below a directory that somebody hostile has written."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.system import libc
from tako.system.storage import beneath
from tako.system.storage.beneath import (
    BeneathError,
    copy_beneath,
    open_beneath,
    read_beneath,
    replace_beneath,
)
from tako.system.storage.openat2_fallback import open_by_hand

LIMIT = 1000


@pytest.fixture(params=["kernel", "by hand"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a directory to read below, once with openat2(2) and once without."""
    if request.param == "by hand":

        def missing(*_: object, **__: object) -> int:
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(libc, "open_beneath_by_kernel", missing)
    directory = tmp_path / "root"
    (directory / "sub").mkdir(parents=True)
    (directory / "sub" / "file").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    return directory


def _reason(root: Path | int, relative: str, *, links: bool = True) -> str:
    with pytest.raises(BeneathError) as caught:
        read_beneath(root, relative, LIMIT, links=links)
    assert caught.value.relative == relative
    return caught.value.reason


def test_a_file_is_read_by_its_relative_name(root: Path) -> None:
    assert read_beneath(root, "sub/file", LIMIT) == b"inside"
    assert read_beneath(root, "./sub/./file", LIMIT) == b"inside"


def test_a_directory_may_be_given_open(root: Path) -> None:
    descriptor = os.open(root, os.O_RDONLY)
    try:
        assert read_beneath(descriptor, "sub/file", LIMIT) == b"inside"
        assert os.fstat(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("sub/file", b"inside"),
        ("sub/../sub/file", b"inside"),
        ("again", b"inside"),
    ],
)
def test_links_that_stay_inside_are_followed(root: Path, target: str, expected: bytes) -> None:
    (root / "again").symlink_to("sub/file")
    (root / "link").symlink_to(target)
    assert read_beneath(root, "link", LIMIT) == expected


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "sub/../../secret", "sub/up/../secret"])
def test_links_that_lead_outside_are_refused(root: Path, target: str) -> None:
    (root / "sub" / "up").symlink_to("..")
    (root / "link").symlink_to(target)
    assert _reason(root, "link") == "leads outside"


def test_a_directory_link_out_is_refused(root: Path) -> None:
    (root / "dir").symlink_to("..")
    assert _reason(root, "dir/secret") == "leads outside"


def test_no_link_is_followed_when_none_may_be(root: Path) -> None:
    (root / "link").symlink_to("sub/file")
    (root / "dir").symlink_to("sub")
    assert "link" in _reason(root, "link", links=False)
    assert "link" in _reason(root, "dir/file", links=False)


def test_links_in_a_circle_end(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    assert "link" in _reason(root, "a")


@pytest.mark.parametrize("relative", ["../secret", "/etc/passwd", "", "~x", "a\0b", "-x", "a//b", "a\nb"])
def test_names_that_are_no_relative_paths_are_refused(root: Path, relative: str) -> None:
    assert _reason(root, relative).startswith("may not be read")


def test_a_fifo_does_not_hang_and_is_named(root: Path) -> None:
    os.mkfifo(root / "fifo")
    assert _reason(root, "fifo") == "is a FIFO"


def test_sockets_devices_and_directories_are_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A path for AF_UNIX is at most 108 bytes long.
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert "is a socket" in _reason(root, "socket")
    assert _reason(root, "sub") == "is a directory"
    assert _reason(Path("/dev"), "null") == "is a device"


def test_a_missing_file_is_called_missing(root: Path) -> None:
    assert _reason(root, "nothing") == "is missing"
    assert _reason(root, "sub/file/below").startswith("is missing")
    assert _reason(root / "gone", "file") == "is missing"
    assert "too long" in _reason(root, "x" * 300)


def test_a_large_file_is_refused_before_and_while_reading(root: Path) -> None:
    (root / "big").write_bytes(b"x" * (LIMIT + 1))
    assert "is larger than 1000 bytes (1001)" in _reason(root, "big")


def test_a_file_that_lies_about_its_size_is_still_bounded() -> None:
    with pytest.raises(BeneathError, match="is larger than 3 bytes"):
        read_beneath(Path("/proc/self"), "status", 3)


def test_unexpected_errors_keep_the_systems_words(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(libc, "open_beneath_by_kernel", fails)
    assert _reason(root, "sub/file") == "cannot be read (Input/output error)"


def test_a_name_that_is_moved_all_the_time_is_given_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(*_: object, **__: object) -> int:
        raise BlockingIOError(11, "again")

    monkeypatch.setattr(libc, "open_beneath_by_kernel", moved)
    assert "keeps being moved" in _reason(root, "sub/file")


def test_a_copy_has_the_files_hash_and_its_executable_bit(root: Path, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (root / "sub" / "tool").write_bytes(content)
    (root / "sub" / "tool").chmod(0o4775)
    target = tmp_path / "new" / "dir" / "tool"
    assert copy_beneath(root, "sub/tool", target) == (hashlib.sha256(content).hexdigest(), 3_000_000)
    assert target.read_bytes() == content
    assert target.stat().st_mode & 0o7777 == 0o700
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_a_copy_never_overwrites_nor_writes_through_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("secret")
    with pytest.raises(FileExistsError):
        copy_beneath(root, "sub/file", tmp_path / "link")
    assert (tmp_path / "secret").read_text() == "outside"


def test_a_copy_can_be_bounded(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BeneathError, match="larger than 2 bytes"):
        copy_beneath(root, "sub/file", tmp_path / "copy", max_bytes=2)


def test_opening_returns_a_descriptor_for_reading(root: Path) -> None:
    with os.fdopen(open_beneath(root, "sub/file"), "rb") as file:
        assert file.read() == b"inside"


_PART = st.sampled_from(["a", "b", "d", "..", ".", "up", "out", "abs"])


@given(st.lists(_PART, min_size=1, max_size=6).map("/".join))
def test_by_hand_and_the_kernel_open_the_same_files(
    tmp_path_factory: pytest.TempPathFactory, relative: str
) -> None:
    root = tmp_path_factory.getbasetemp() / "same"
    if not root.is_dir():
        (root / "d" / "d").mkdir(parents=True)
        (root / "d" / "a").write_text("x")
        (root / "a").symlink_to("d/a")
        (root / "b").symlink_to("../same/d/a")
        (root / "d" / "up").symlink_to("../d")
        (root / "out").symlink_to("..")
        (root / "abs").symlink_to(root)
    directory = os.open(root, os.O_RDONLY)
    try:
        assert _outcome(directory, relative, by_hand=True) == _outcome(directory, relative, by_hand=False)
    finally:
        os.close(directory)


def _outcome(directory: int, relative: str, *, by_hand: bool) -> int:
    try:
        if by_hand:
            descriptor = open_by_hand(directory, relative, links=True)
        else:
            descriptor = beneath._open_by_kernel(directory, relative, links=True)
    except OSError as error:
        return -(error.errno or 0)
    try:
        return os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)


def test_a_file_is_replaced_in_one_move(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("old")
    other = tmp_path / "other"
    other.hardlink_to(tmp_path / "a" / "b" / "file")
    replace_beneath(tmp_path, "a/b/file", b"new")
    assert (tmp_path / "a" / "b" / "file").read_text() == "new"
    assert other.read_text() == "old"
    assert [entry.name for entry in (tmp_path / "a" / "b").iterdir()] == ["file"]


@pytest.mark.parametrize("linked", ["a", "a/b"])
def test_no_link_is_followed_to_a_file_that_is_replaced(tmp_path: Path, linked: str) -> None:
    (tmp_path / "root" / "a" / "b").mkdir(parents=True)
    (tmp_path / "root" / linked).rename(tmp_path / "outside")
    (tmp_path / "root" / linked).symlink_to(tmp_path / "outside")
    with pytest.raises(BeneathError):
        replace_beneath(tmp_path / "root", "a/b/file", b"new")
    assert not list(tmp_path.rglob("file"))


def test_what_cannot_be_put_into_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "in").mkdir()
    with pytest.raises(BeneathError):
        replace_beneath(tmp_path, "file", b"new")
    with pytest.raises(BeneathError, match="is missing"):
        replace_beneath(tmp_path, "no/file", b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
