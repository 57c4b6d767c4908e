"""Checking and cleaning the cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tako.config.schema import Settings
from tako.layout.home import Home
from tako.repositories.cache import Cache
from tako.repositories.locks import LockManager
from tako.repositories.pins import Resolved
from tako.repositories.reference import parse_reference
from tako.repositories.upkeep import prune, verify
from tests.repositories.conftest import CONFIG, OpenCache, OpenedCache
from tests.support.git import Repositories, commit, git, write_files

DEP = parse_reference("acme/dep")
HAND = parse_reference("hand/made")


@pytest.fixture
def filled(open_cache: OpenCache, git_repo: Repositories) -> OpenedCache:
    """Give a cache with a mirror and a checkout put there by hand, both with a snapshot."""
    opened = open_cache()
    source = git_repo("acme/dep", {"tako.yml": CONFIG, ".gitignore": "ignored\n", "d/f": "x"})
    opened.cache.add(DEP, str(source))
    write_files(opened.layout.repos / "hand" / "made" / "main", {"tako.yml": CONFIG})
    for reference in (DEP, HAND):
        opened.cache.snapshot(opened.cache.resolve(reference))
    return opened


def _messages(opened: OpenedCache) -> list[str]:
    return [
        f"{found.repository.text}: {found.message}"
        for found in verify(opened.layout, opened.locks, opened.cache)
    ]


def _tree(opened: OpenedCache, which: str) -> Path:
    return opened.cache.snapshot(opened.cache.resolve(parse_reference(which)))


def test_a_whole_cache_has_no_findings(filled: OpenedCache) -> None:
    assert _messages(filled) == []


@pytest.mark.parametrize("name", ["d/f", "new", "ignored", "tako.yml"])
def test_a_damaged_snapshot_of_a_commit_is_removed_and_made_again(filled: OpenedCache, name: str) -> None:
    (_tree(filled, "acme/dep") / name).write_text("damaged")
    [message] = _messages(filled)
    assert message.startswith("acme/dep: snapshot ")
    assert message.endswith(f"was damaged and is removed: it differs from its commit in {name}")
    assert _messages(filled) == []
    assert (_tree(filled, "acme/dep") / "d" / "f").read_text() == "x"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("objects/info/alternates", "/somewhere/git/acme/dep.git/objects\n", "it does not find the objects"),
        ("objects/info/alternates", None, "its .git is not whole: "),
        ("HEAD", "ref: refs/heads/other\n", "its .git is not whole: "),
        ("HEAD", None, "its .git is not whole: "),
        ("refs/heads/main", "0" * 40 + "\n", "its HEAD is not its commit"),
        ("index", "no index", "its index is not that of its commit"),
    ],
)
def test_a_snapshot_in_which_git_would_not_work_is_removed_and_made_again(
    filled: OpenedCache, name: str, content: str | None, said: str
) -> None:
    damaged = _tree(filled, "acme/dep") / ".git" / name
    damaged.unlink()
    if content is not None:
        damaged.write_text(content)
    [message] = _messages(filled)
    assert f"was damaged and is removed: {said}" in message
    assert _messages(filled) == []
    assert git(_tree(filled, "acme/dep"), "status", "--porcelain") == ""


def test_a_cache_that_was_moved_or_has_another_path_is_whole(filled: OpenedCache, tmp_path: Path) -> None:
    _tree(filled, "acme/dep")
    home = filled.layout.path.parent
    home.rename(tmp_path / "deeper")
    (tmp_path / "link").symlink_to("deeper")
    for path in (tmp_path / "deeper", tmp_path / "link"):
        notes: list[str] = []
        moved = Home(path)
        locks = LockManager(moved.cache, 30.0, notes.append)
        cache = Cache(moved, Settings(), locks, local=True, on_note=notes.append)
        assert verify(moved.cache, locks, cache) == []
        snapshot = cache.snapshot(cache.resolve(DEP))
        assert git(snapshot, "status", "--porcelain") == ""
        assert git(snapshot, "log", "--format=%s") == "first"


def test_a_damaged_snapshot_of_content_is_removed_and_made_again(filled: OpenedCache) -> None:
    (_tree(filled, "hand/made") / "tako.yml").write_text("damaged")
    [message] = _messages(filled)
    assert message.endswith("its content does not match its key")
    assert (_tree(filled, "hand/made") / "tako.yml").read_text() == CONFIG


def test_a_mirror_that_lost_an_object_is_reported(filled: OpenedCache) -> None:
    for pack in filled.layout.mirror("acme", "dep").rglob("*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(pack.read_bytes()[:40])
    messages = _messages(filled)
    assert messages[0].startswith("acme/dep: its mirror is damaged: ")
    assert "cannot" in messages[1] or "failed" in messages[1] or "differs" in messages[1]


def _used_long_ago(opened: OpenedCache, resolved: Resolved) -> None:
    repository = resolved.repository
    file = opened.layout.snapshot_used(repository.owner_part, repository.name_part, resolved.key)
    os.utime(file, (1, 1))


def test_only_snapshots_that_are_neither_current_nor_used_lately_are_pruned(
    filled: OpenedCache, git_repo: Repositories
) -> None:
    old = filled.cache.resolve(DEP)
    commit(git_repo.directory / "acme/dep", {"n": "2"})
    filled.cache.sync()
    new = filled.cache.resolve(DEP)
    filled.cache.snapshot(new)
    assert prune(filled.layout, filled.locks, filled.cache) == []
    for resolved in (old, new, filled.cache.resolve(HAND)):
        _used_long_ago(filled, resolved)
    would = prune(filled.layout, filled.locks, filled.cache, dry_run=True)
    assert [found.message for found in would] == [f"snapshot {old.key}"]
    assert filled.cache.snapshot(old).is_dir()
    _used_long_ago(filled, old)
    assert prune(filled.layout, filled.locks, filled.cache) == would
    assert prune(filled.layout, filled.locks, filled.cache, keep_s=0) == []
    assert [path.name for path in (filled.layout.snapshots_of("acme", "dep")).iterdir() if path.is_dir()] == [
        new.key
    ]


def test_snapshots_of_what_is_no_longer_known_are_pruned(filled: OpenedCache) -> None:
    (filled.layout.repos / "hand" / "made" / "main" / "tako.yml").unlink()
    (filled.layout.repos / "hand" / "made" / "main").rmdir()
    [found] = prune(filled.layout, filled.locks, filled.cache, keep_s=0)
    assert found.repository.text == "hand/made"


def test_leftovers_of_killed_makers_are_removed(filled: OpenedCache) -> None:
    directory = filled.layout.snapshots_of("acme", "dep")
    (directory / ".tmp-1-dead" / "half").mkdir(parents=True)
    write_files(filled.layout.snapshots, {"-no-repository/x/y": ""})
    assert prune(filled.layout, filled.locks, filled.cache, dry_run=True) == []
    assert (directory / ".tmp-1-dead").exists()
    prune(filled.layout, filled.locks, filled.cache)
    assert not (directory / ".tmp-1-dead").exists()


def test_an_empty_cache_is_whole_and_has_nothing_to_prune(open_cache: OpenCache) -> None:
    opened = open_cache()
    assert verify(opened.layout, opened.locks, opened.cache) == []
    assert prune(opened.layout, opened.locks, opened.cache) == []
