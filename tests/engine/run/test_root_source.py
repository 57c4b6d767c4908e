from __future__ import annotations

import os
from pathlib import Path

import pytest

from tako.engine.run.root_source import find_checkout
from tako.errors import NotFoundError


def test_the_nearest_tako_yml_upwards_is_the_one(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    (tmp_path / "tako.yml").touch()
    assert find_checkout(inner) == tmp_path
    (tmp_path / "a" / "tako.yml").touch()
    assert find_checkout(inner) == tmp_path / "a"
    assert find_checkout(tmp_path / "a") == tmp_path / "a"


def test_a_tako_yml_of_whatever_kind_counts_so_that_its_error_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tako.yml")
    assert find_checkout(tmp_path) == tmp_path


@pytest.mark.parametrize("git", ["directory", "file"])
def test_the_search_ends_at_the_top_of_the_repository(tmp_path: Path, git: str) -> None:
    inner = tmp_path / "checkout" / "deep"
    inner.mkdir(parents=True)
    (tmp_path / "tako.yml").touch()
    marker = tmp_path / "checkout" / ".git"
    if git == "directory":
        marker.mkdir()
    else:
        marker.write_text("gitdir: elsewhere\n")
    with pytest.raises(NotFoundError) as refusal:
        find_checkout(inner)
    assert (
        refusal.value.message
        == f"there is no tako.yml in {inner}, nor above it up to {tmp_path / 'checkout'}"
    )
    assert "--root DIR" in refusal.value.hint


def test_in_the_top_itself_only_that_is_named(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with pytest.raises(NotFoundError) as refusal:
        find_checkout(tmp_path)
    assert refusal.value.message == f"there is no tako.yml in {tmp_path}"


def test_outside_of_any_repository_the_search_ends_at_the_root(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nor above it up to /$"):
        find_checkout(tmp_path)
