"""Searching by patterns below a directory that somebody hostile has written."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.system.storage.beneath import BeneathError, open_beneath
from tako.system.storage.globbing import find_beneath, link_problem
from tako.system.storage.removal import remove_tree
from tests.support.trees import make_deep

# More than the usual limit of open files, and than PATH_MAX holds.
DEPTH = 3000


@pytest.fixture
def deep_tree(tmp_path: Path) -> Iterator[Path]:
    """Give a tree so deep that only tako itself can remove it."""
    top = tmp_path / "deep"
    make_deep(top, DEPTH)
    yield top
    remove_tree(top)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a tree to search in."""
    top = tmp_path / "tree"
    for name in (
        "a.txt",
        "b.bin",
        ".hidden",
        ".git/config",
        "d/a.txt",
        "d/e/a.txt",
        "d/e/f/b.bin",
        "d/.g/a.txt",
        "d/.h",
        "z[1].txt",
    ):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (top / "link.txt").symlink_to("a.txt")
    (top / "loop").symlink_to(".")
    (top / "d" / "up").symlink_to("../a.txt")
    (top / "d" / "out").symlink_to("../../secret")
    (top / "d" / "abs").symlink_to("/etc/passwd")
    (top / "d" / "empty" / "inner").mkdir(parents=True)
    os.mkfifo(top / "fifo.txt")
    return top


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("a.txt", ["a.txt"]),
        ("*.txt", ["a.txt", "z[1].txt"]),
        ("z[[]1].txt", ["z[1].txt"]),
        ("[ab].*", ["a.txt", "b.bin"]),
        ("?.bin", ["b.bin"]),
        ("*/a.txt", ["d/a.txt"]),
        ("**/a.txt", ["a.txt", "d/a.txt", "d/e/a.txt"]),
        ("**/**/a.txt", ["a.txt", "d/a.txt", "d/e/a.txt"]),
        ("d/**", ["d/a.txt", "d/e/a.txt", "d/e/f/b.bin"]),
        ("d/", ["d/.g/a.txt", "d/.h", "d/a.txt", "d/e/a.txt", "d/e/f/b.bin"]),
        ("d/**/", ["d/.g/a.txt", "d/.h", "d/a.txt", "d/e/a.txt", "d/e/f/b.bin"]),
        ("./d/./*.txt", ["d/a.txt"]),
        ("d/**/*.bin", ["d/e/f/b.bin"]),
        ("d/*/f/*", ["d/e/f/b.bin"]),
        (".*", [".hidden"]),
        (".git/", [".git/config"]),
        ("d/.g/*", ["d/.g/a.txt"]),
        ("d", []),
        ("nothing/*", []),
        ("nothing/", []),
        ("A.txt", []),
    ],
)
def test_a_pattern_finds_files(tree: Path, pattern: str, found: list[str]) -> None:
    assert list(find_beneath(tree, pattern).files) == found


def test_a_directory_with_a_slash_is_all_that_lies_below_it(tree: Path) -> None:
    found = find_beneath(tree, "d/")
    assert found.links == {"d/up": "../a.txt"}
    assert found.empty == ("d/empty/inner",)
    assert found.others == (
        ("d/abs", "is a link with an absolute target"),
        ("d/out", "is a link that leads outside"),
    )


def test_everything_is_everything_but_what_is_gits(tree: Path) -> None:
    found = find_beneath(tree, "./")
    assert ".hidden" in found.files
    assert ".git/config" not in found.files
    assert dict(found.others)[".git"] == "is git's own, kept only if it is named"


def test_links_match_as_files_do_and_what_is_neither_is_reported(tree: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tree / "s.txt"))
        found = find_beneath(tree, "*.txt")
    assert found.links == {"link.txt": "a.txt"}
    assert found.others == (("fifo.txt", "is a FIFO"), ("s.txt", "is a socket"))
    assert find_beneath(tree, "d/*").empty == ()


def test_a_directory_with_nothing_that_can_be_kept_is_kept_empty(tree: Path) -> None:
    os.mkfifo(tree / "d" / "empty" / "inner" / "fifo")
    assert find_beneath(tree, "d/empty/").empty == ("d/empty/inner",)


def test_a_pattern_may_not_lead_out_nor_match_too_much(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BeneathError, match="may not be read"):
        find_beneath(tree, "../*")
    with pytest.raises(BeneathError, match="matches more than 2 files"):
        find_beneath(tree, "**", max_files=2)
    with pytest.raises(BeneathError, match="is missing"):
        find_beneath(tree / "gone", "*")
    monkeypatch.setattr("tako.system.storage.globbing._NAMES_MAX", 10)
    with pytest.raises(BeneathError, match="matches names of more than 10 bytes"):
        find_beneath(tree, "**")


def test_searching_a_very_deep_tree_needs_few_descriptors(deep_tree: Path) -> None:
    assert find_beneath(deep_tree, "**/deep.txt").files == ("d/" * DEPTH + "deep.txt",)


_NAME = st.sampled_from(["a", "b", "d", "..", ".", ""])


@given(st.dictionaries(st.sampled_from(["a", "b", "d/a", "d/b", "d/d/a"]), st.lists(_NAME).map("/".join)))
def test_links_that_may_be_kept_never_lead_out_whatever_they_are_together(
    tmp_path_factory: pytest.TempPathFactory, links: dict[str, str]
) -> None:
    root = tmp_path_factory.mktemp("links").resolve()
    for path, target in links.items():
        place = root / path
        if target and not link_problem(path, target) and not any(map(os.path.islink, place.parents)):
            place.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(place):
                place.symlink_to(target)
    for found in root.rglob("*"):
        with pytest.raises(BeneathError) as refused:
            open_beneath(root, str(found.relative_to(root)))
        assert refused.value.reason != "leads outside"
