"""The cache on real git repositories: registering, pinning, snapshots."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from tako.errors import ConfigError, MachineError, NotFoundError, ReferenceInvalidError, UsageError
from tako.layout.names import encoded
from tako.repositories import snapshots
from tako.repositories.reference import parse_reference, parse_repository
from tako.repositories.upstream import mirror
from tako.repositories.upstream.git import run_git
from tako.system.process import pipes
from tako.system.process.programs import Ended
from tako.system.storage.directory_trees import copy_tree, copy_tree_hashed, tree_signature
from tests.repositories.conftest import CONFIG, OpenCache
from tests.support.git import Repositories, commit, git, write_files
from tests.support.users import as_ordinary_user

DEP = parse_reference("acme/dep")


def _put(open_cache: OpenCache, name: str, branch: str = "main", content: str = CONFIG) -> Path:
    """Put a checkout into the cache by hand."""
    owner, _, last = name.rpartition("/")
    path = open_cache().layout.repos / encoded(owner) / encoded(last) / encoded(branch)
    write_files(path, {"tako.yml": content, "src/code.txt": "code"})
    return path


def test_a_registered_repository_is_pinned_to_the_commit_of_its_default_branch(
    open_cache: OpenCache, git_repo: Repositories
) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG}, branch="trunk")
    open_cache().cache.add(DEP, str(source))
    resolved = open_cache().cache.resolve(parse_reference("ACME/Dep"))
    assert (resolved.branch, resolved.kind) == ("trunk", "commit")
    assert resolved.commit == git(source, "rev-parse", "HEAD")


def test_a_pin_does_not_move_and_a_sync_moves_the_next_one(
    open_cache: OpenCache, git_repo: Repositories
) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG, "n": "1"})
    opened = open_cache()
    opened.cache.add(DEP, str(source))
    first = opened.cache.resolve(DEP)
    newer = commit(source, {"n": "2"})
    assert open_cache().cache.resolve(DEP).commit == first.commit
    assert opened.cache.sync() == [(DEP.repository, None)]
    assert opened.cache.resolve(DEP).commit == newer
    assert (opened.cache.snapshot(first) / "n").read_text() == "1"
    assert (opened.cache.snapshot(opened.cache.resolve(DEP)) / "n").read_text() == "2"


def test_git_works_in_a_copy_of_a_snapshot(open_cache: OpenCache, git_repo: Repositories) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG, "run.sh": "#!/bin/sh\n", "d/f": "x"})
    (source / "link").symlink_to("d/f")
    head = commit(source, {})
    git(source, "tag", "-a", "v1.2.3", "-m", "release")
    opened = open_cache()
    opened.cache.add(DEP, f"file://{source}")
    snapshot = opened.cache.snapshot(opened.cache.resolve(DEP))
    copy = snapshot.with_name("copy")
    copy_tree(snapshot, copy)
    assert git(copy, "status", "--porcelain") == ""
    assert git(copy, "rev-parse", "--abbrev-ref", "HEAD") == "main"
    assert git(copy, "rev-parse", "HEAD") == head
    assert git(copy, "describe", "--tags") == "v1.2.3"
    assert git(copy, "remote", "get-url", "origin") == f"file://{source}"
    assert os.access(copy / "run.sh", os.X_OK)
    assert (copy / "link").readlink() == Path("d/f")
    assert not (copy / ".git" / "hooks").exists()
    assert commit(copy, {"new": "x"}) != head
    assert git(source, "rev-parse", "HEAD") == head


def test_a_snapshot_is_made_once(open_cache: OpenCache, git_repo: Repositories) -> None:
    opened = open_cache()
    opened.cache.add(DEP, str(git_repo("acme/dep", {"tako.yml": CONFIG})))
    resolved = opened.cache.resolve(DEP)
    path = opened.cache.snapshot(resolved)
    inode = path.stat().st_ino
    assert opened.cache.snapshot(resolved) == path
    assert path.stat().st_ino == inode
    assert opened.cache.pinned(resolved.repository, resolved.branch, resolved.commit).snapshot == path


def test_branches_and_tags_that_are_gone_go(open_cache: OpenCache, git_repo: Repositories) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG})
    git(source, "branch", "old")
    git(source, "branch", "feature/x")
    opened = open_cache()
    opened.cache.add(DEP, str(source))
    assert opened.cache.resolve(parse_reference("acme/dep:feature/x")).branch == "feature/x"
    git(source, "branch", "-D", "old", "feature/x")
    git(source, "branch", "feature")
    opened.cache.sync([parse_repository("acme/dep")])
    with pytest.raises(NotFoundError, match="no branch 'old'") as caught:
        opened.cache.resolve(parse_reference("acme/dep:old"))
    assert caught.value.hint == "it has: feature, main; if it is new: tako cache sync acme/dep"


def test_a_rewritten_branch_is_taken_as_it_is(open_cache: OpenCache, git_repo: Repositories) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG})
    opened = open_cache()
    opened.cache.add(DEP, str(source))
    old = opened.cache.resolve(DEP)
    git(source, "commit", "--quiet", "--amend", "-m", "rewritten")
    opened.cache.sync()
    assert opened.cache.resolve(DEP).commit == git(source, "rev-parse", "HEAD")
    # What was pinned before can still be had: no object is ever dropped.
    assert opened.cache.snapshot(old).is_dir()


def test_the_branch_named_when_adding_is_the_default_from_then_on(
    open_cache: OpenCache, git_repo: Repositories
) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG})
    git(source, "branch", "develop")
    opened = open_cache()
    opened.cache.add(parse_reference("acme/dep:develop"), str(source))
    assert opened.cache.resolve(DEP).branch == "develop"
    opened.cache.sync()
    assert open_cache().cache.resolve(DEP).branch == "develop"
    with pytest.raises(NotFoundError, match="no branch 'nix'"):
        opened.cache.add(parse_reference("acme/dep:nix"), str(source))
    assert open_cache().cache.resolve(DEP).branch == "develop"


def test_a_detached_source_has_the_likely_default(open_cache: OpenCache, git_repo: Repositories) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG}, branch="zzz")
    git(source, "branch", "master")
    git(source, "checkout", "--quiet", "--detach")
    opened = open_cache()
    opened.cache.add(DEP, str(source))
    assert opened.cache.resolve(DEP).branch == "master"


def test_an_empty_repository_is_refused_and_leaves_nothing(open_cache: OpenCache, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "--quiet")
    opened = open_cache()
    with pytest.raises(NotFoundError, match="no commit on any branch"):
        opened.cache.add(DEP, str(tmp_path / "empty"))
    assert opened.cache.known() == []
    assert list((opened.layout.git / "acme").iterdir()) == []


def test_a_failed_fetch_prints_gits_words_without_credentials(open_cache: OpenCache, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="does not appear to be a git repository"):
        open_cache().cache.add(DEP, str(tmp_path / "gone"))
    with pytest.raises(MachineError) as caught:
        open_cache().cache.add(DEP, "http://user:s3cret@127.0.0.1:1/x.git")
    assert "s3cret" not in caught.value.message
    assert "127.0.0.1" in caught.value.message


def test_a_url_comes_from_the_settings_template(open_cache: OpenCache, git_repo: Repositories) -> None:
    git_repo("acme/dep", {"tako.yml": CONFIG})
    template = f"file://{git_repo.directory}/{{owner}}/{{name}}"
    assert open_cache(url_template=template).cache.resolve(DEP).kind == "commit"
    with pytest.raises(NotFoundError, match="not in the cache"):
        open_cache(url_template=template, local=True).cache.resolve(parse_reference("acme/other"))
    with pytest.raises(UsageError, match="has no URL"):
        open_cache().cache.add(parse_reference("acme/new"), None)
    # What is registered already knows its URL.
    assert open_cache().cache.add(DEP, None).default_branch == "main"


def test_repositories_of_the_settings_are_known_and_fetched(
    open_cache: OpenCache, git_repo: Repositories
) -> None:
    git_repo("acme/dep", {"tako.yml": CONFIG})
    template = f"file://{git_repo.directory}/{{owner}}/{{name}}"
    opened = open_cache(url_template=template, repositories=("acme/dep", "acme/gone"))
    assert [known.repository.text for known in opened.cache.known()] == ["acme/dep"]
    assert [note.partition(":")[0] for note in opened.notes] == ["acme/gone of the settings is left out"]


def test_local_uses_no_network_but_reads_files(open_cache: OpenCache, git_repo: Repositories) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG})
    opened = open_cache(local=True)
    opened.cache.add(DEP, str(source))
    assert opened.cache.sync() == [(DEP.repository, None)]
    with pytest.raises(UsageError, match="--local uses no network"):
        opened.cache.add(DEP, "https://user:x@example.invalid/a/b")


def test_one_that_cannot_be_synced_does_not_keep_the_others_from_it(
    open_cache: OpenCache, git_repo: Repositories
) -> None:
    opened = open_cache()
    for name in ("acme/a", "acme/b", "acme/c"):
        opened.cache.add(parse_reference(name), str(git_repo(name, {"tako.yml": CONFIG})))
    newer = commit(git_repo.directory / "acme/c", {"n": "2"})
    shutil.rmtree(git_repo.directory / "acme/b")
    _put(open_cache, "hand/made")
    results = opened.cache.sync()
    assert [(repository.text, error is None) for repository, error in results] == [
        ("acme/a", True),
        ("acme/b", False),
        ("acme/c", True),
    ]
    assert opened.cache.resolve(parse_reference("acme/c")).commit == newer
    [(_, error)] = opened.cache.sync([parse_repository("hand/made")])
    assert error is not None
    assert "never fetched" in error.message


def test_a_checkout_put_there_by_hand_is_pinned_by_content(open_cache: OpenCache) -> None:
    path = _put(open_cache, "Acme/Dep")
    opened = open_cache()
    resolved = opened.cache.resolve(DEP)
    assert (resolved.branch, resolved.kind) == ("main", "content")
    assert resolved.snapshot is not None
    assert (resolved.snapshot / "src" / "code.txt").read_text() == "code"
    assert open_cache().cache.resolve(DEP) == resolved
    (path / "src" / "code.txt").write_text("changed")
    changed = open_cache().cache.resolve(DEP)
    assert changed.commit != resolved.commit
    assert (opened.cache.snapshot(resolved) / "src" / "code.txt").read_text() == "code"
    assert (opened.cache.snapshot(changed) / "src" / "code.txt").read_text() == "changed"


def test_an_unchanged_checkout_is_not_read_again(
    open_cache: OpenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(open_cache, "acme/dep")
    # Only what did not change lately is remembered: here it is as if it were later.
    monkeypatch.setattr(snapshots, "now_ns", lambda: time.time_ns() + 10**9)
    resolved = open_cache().cache.resolve(DEP)
    monkeypatch.setattr(snapshots, "make_content_snapshot", None)
    assert open_cache().cache.resolve(DEP) == resolved


def test_the_default_branch_of_checkouts_is_main_then_master_then_the_first(open_cache: OpenCache) -> None:
    _put(open_cache, "acme/dep", "zeta")
    _put(open_cache, "acme/dep", "feature/x")
    assert open_cache().cache.resolve(DEP).branch == "feature/x"
    _put(open_cache, "acme/dep", "master")
    assert open_cache().cache.resolve(DEP).branch == "master"
    _put(open_cache, "acme/dep", "main")
    assert open_cache().cache.resolve(DEP).branch == "main"
    [known] = open_cache().cache.known()
    assert (known.source, known.branches) == ("checkout", ("feature/x", "main", "master", "zeta"))


def test_a_checkout_stands_for_its_branch_of_a_registered_repository(
    open_cache: OpenCache, git_repo: Repositories
) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG})
    git(source, "branch", "other")
    opened = open_cache()
    opened.cache.add(DEP, str(source))
    _put(open_cache, "acme/dep")
    assert open_cache().cache.resolve(DEP).kind == "content"
    assert open_cache().cache.resolve(parse_reference("acme/dep:other")).kind == "commit"


def test_a_name_with_a_host_is_no_repository_that_may_be_of_another(
    open_cache: OpenCache, git_repo: Repositories
) -> None:
    opened = open_cache()
    write_files(opened.layout.repos / "acme" / "good" / "main", {"tako.yml": CONFIG})
    assert opened.cache.resolve(parse_reference("acme/good")).repository.text == "acme/good"
    with pytest.raises(NotFoundError, match="h:1/acme/good is not in the cache, acme/good may be another"):
        opened.cache.resolve(parse_reference("h:1/acme/good"))
    opened.cache.add(parse_reference("acme/fetched"), str(git_repo("acme/fetched", {"tako.yml": CONFIG})))
    with pytest.raises(NotFoundError, match="acme/fetched may be another"):
        opened.cache.resolve(parse_reference("example.org/acme/fetched"))


def test_a_host_may_be_left_out_while_only_one_fits(open_cache: OpenCache, git_repo: Repositories) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG})
    opened = open_cache()
    opened.cache.add(parse_reference("github.com/acme/dep"), str(source))
    assert opened.cache.resolve(DEP).repository.host == "github.com"
    opened.cache.add(parse_reference("gitlab.com/acme/dep"), str(source))
    with pytest.raises(UsageError, match=r"may be any of github.com/acme/dep, gitlab.com/acme/dep"):
        opened.cache.resolve(DEP)


def test_an_unknown_repository_is_reported_with_the_nearest_and_how_to_add_it(open_cache: OpenCache) -> None:
    _put(open_cache, "acme/dep")
    with pytest.raises(NotFoundError, match="acme/dap is not in the cache") as caught:
        open_cache().cache.resolve(parse_reference("acme/dap"))
    assert caught.value.hint == ("did you mean acme/dep? add it: tako cache add acme/dap --from URL-or-path")


def test_a_checkout_that_vanishes_in_between_is_not_found(
    open_cache: OpenCache, git_repo: Repositories
) -> None:
    path = _put(open_cache, "acme/dep")
    opened = open_cache()
    [known] = opened.cache.known()
    shutil.rmtree(path)
    with pytest.raises(NotFoundError, match="vanished"):
        opened.cache.default_config_bytes(known)
    with pytest.raises(NotFoundError):
        opened.cache.resolve(DEP)
    opened.cache.add(DEP, str(git_repo("acme/dep", {"tako.yml": CONFIG})))
    resolved = opened.cache.resolve(DEP)
    shutil.rmtree(opened.layout.git)
    with pytest.raises(NotFoundError, match="is not in the cache"):
        opened.cache.snapshot(resolved)


def test_a_pin_that_was_pruned_or_never_was_is_not_found(
    open_cache: OpenCache, git_repo: Repositories
) -> None:
    opened = open_cache()
    opened.cache.add(DEP, str(git_repo("acme/dep", {"tako.yml": CONFIG})))
    with pytest.raises(NotFoundError, match=r"commit 0{40} is not in the cache"):
        opened.cache.snapshot(opened.cache.pinned(DEP.repository, "main", "0" * 40))
    with pytest.raises(NotFoundError, match="no longer in the cache"):
        opened.cache.snapshot(opened.cache.pinned(DEP.repository, "main", "content-" + "0" * 64))


def test_the_config_is_read_at_the_pin(open_cache: OpenCache, git_repo: Repositories) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG})
    _put(open_cache, "acme/hand")
    opened = open_cache()
    opened.cache.add(DEP, str(source))
    resolved = opened.cache.resolve(DEP)
    assert opened.cache.read_config_bytes(resolved).decode() == CONFIG
    commit(source, {"tako.yml": "version: 9"})
    opened.cache.sync()
    # The second time it is remembered: the mirror is not needed.
    assert open_cache().cache.read_config_bytes(resolved).decode() == CONFIG
    assert opened.cache.read_config_bytes(opened.cache.resolve(DEP)) == b"version: 9"
    hand = opened.cache.resolve(parse_reference("acme/hand"))
    with opened.cache.using_snapshot(hand) as path:
        assert opened.cache.read_config_bytes(hand) == (path / "tako.yml").read_bytes() == CONFIG.encode()


def test_no_config_a_link_a_directory_and_a_large_one_are_told_apart(
    open_cache: OpenCache, git_repo: Repositories
) -> None:
    opened = open_cache()

    def read(name: str, source: Path) -> bytes:
        opened.cache.add(parse_reference(name), str(source))
        return opened.cache.read_config_bytes(opened.cache.resolve(parse_reference(name)))

    with pytest.raises(NotFoundError, match=r"has no tako\.yml"):
        read("acme/none", git_repo("acme/none", {"x": ""}))
    with pytest.raises(ConfigError, match="is larger than"):
        read("acme/large", git_repo("acme/large", {"tako.yml": "x" * (1 << 20) + "x"}))
    with pytest.raises(ConfigError, match="is not a regular file"):
        read("acme/dir", git_repo("acme/dir", {"tako.yml/x": ""}))
    source = git_repo("acme/link", {"other": CONFIG})
    (source / "tako.yml").symlink_to("other")
    commit(source, {})
    with pytest.raises(ConfigError, match="is a link"):
        read("acme/link", source)


def test_a_large_config_in_a_small_pack_is_not_read(
    open_cache: OpenCache, git_repo: Repositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_cache()
    opened.cache.add(DEP, str(git_repo("acme/large", {"tako.yml": "#" * (1 << 22)})))
    ran: list[str] = []

    def noted(arguments: Sequence[str], **keys: Any) -> Ended:  # noqa: ANN401 - what git takes
        ran.append(arguments[0])
        return run_git(arguments, **keys)

    monkeypatch.setattr(mirror, "run_git", noted)
    with pytest.raises(ConfigError, match="is larger than 1048576 bytes"):
        opened.cache.read_config_bytes(opened.cache.resolve(DEP))
    assert ran == ["ls-tree"]


def test_a_tree_that_is_being_made_can_be_ended_and_leaves_nothing(
    open_cache: OpenCache, git_repo: Repositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_cache()
    opened.cache.add(DEP, str(git_repo("acme/dep", {"tako.yml": CONFIG, "large": "x" * (1 << 20)})))
    resolved = opened.cache.resolve(DEP)
    # As if it took long: asked before git has ended, each time.
    monkeypatch.setattr(pipes, "_MEANWHILE_S", 0.0)

    def stopped() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        opened.cache.snapshot(resolved, check=stopped)
    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "free_on_disk", _filling(1 << 30, 0))
        with pytest.raises(MachineError, match="its files do not fit"):
            opened.cache.snapshot(resolved)
    left = opened.layout.snapshots_of(resolved.repository.owner_part, resolved.repository.name_part)
    assert list(left.iterdir()) == []
    assert opened.cache.snapshot(resolved).is_dir()


def _filling(first: int, then: int) -> Callable[[Path], int]:
    """A disk that has `first` bytes free when it is looked at first, and `then` afterwards."""
    looks = chain((first,), repeat(then))
    return lambda _place: next(looks)


@pytest.mark.parametrize("kind", ["none", "link", "fifo", "directory"])
def test_a_config_put_there_by_hand_must_be_a_regular_file(open_cache: OpenCache, kind: str) -> None:
    path = _put(open_cache, "acme/dep")
    (path / "tako.yml").rename(path / "other")
    if kind == "link":
        (path / "tako.yml").symlink_to("other")
    if kind == "fifo":
        os.mkfifo(path / "tako.yml")
    if kind == "directory":
        (path / "tako.yml").mkdir()
    [known] = open_cache().cache.known()
    with pytest.raises((NotFoundError, ConfigError)) as caught:
        open_cache().cache.default_config_bytes(known)
    assert isinstance(caught.value, NotFoundError) == (kind == "none")


def test_special_files_are_left_out_of_a_snapshot_with_a_note(open_cache: OpenCache) -> None:
    path = _put(open_cache, "acme/dep")
    os.mkfifo(path / "pipe")
    (path / "dangling").symlink_to("nowhere")
    (path / "up").symlink_to("..")
    opened = open_cache()
    snapshot = opened.cache.resolve(DEP).snapshot
    assert snapshot is not None
    assert sorted(entry.name for entry in snapshot.iterdir()) == ["dangling", "src", "tako.yml", "up"]
    assert opened.notes == ["acme/dep: pipe is a FIFO and is left out"]


def test_a_checkout_that_changes_all_the_time_is_given_up(
    open_cache: OpenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _put(open_cache, "acme/dep")
    real = copy_tree_hashed
    copies = []

    def change_and_copy(source: Path, target: Path, **_: object) -> str:
        copies.append(target)
        (path / "src" / "code.txt").write_text(str(len(copies)))
        return real(source, target, on_skipped=lambda *_: None)

    monkeypatch.setattr(snapshots, "copy_tree_hashed", change_and_copy)
    with pytest.raises(MachineError, match="changes all the time"):
        open_cache().cache.resolve(DEP)
    assert len(copies) == 3
    assert not any(copy.exists() for copy in copies)


def test_the_second_copier_of_the_same_content_takes_the_tree_of_the_first(
    open_cache: OpenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _put(open_cache, "acme/dep")
    opened = open_cache()
    place = opened.layout.snapshots_of("acme", "dep")
    real = copy_tree_hashed

    def overtaken(source: Path, target: Path, **_: object) -> str:
        digest = real(source, target, on_skipped=lambda *_: None)
        monkeypatch.setattr(snapshots, "copy_tree_hashed", real)
        write_files(place / f"content-{digest}", {"first": ""})
        return digest

    monkeypatch.setattr(snapshots, "copy_tree_hashed", overtaken)
    # It is not seen to be there before the move.
    monkeypatch.setattr(Path, "is_dir", lambda self: "content-" not in self.name and os.path.isdir(self))
    key, _ = snapshots.make_content_snapshot(path, lambda key: place / key, lambda *_: None)
    monkeypatch.undo()
    assert [entry.name for entry in place.iterdir()] == [key]
    assert (place / key / "first").exists()


def test_a_checkout_that_vanishes_while_it_is_copied_is_not_found(
    open_cache: OpenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _put(open_cache, "acme/dep")
    real = tree_signature

    def vanish(tree: Path) -> object:
        signature = real(tree)
        shutil.rmtree(path)
        return signature

    monkeypatch.setattr(snapshots, "tree_signature", vanish)
    with pytest.raises(NotFoundError, match="vanished"):
        open_cache().cache.resolve(DEP)


def _read_unreadable() -> str:
    from tako.repositories.snapshots import make_content_snapshot

    Path("repo").mkdir()
    Path("repo/key").write_text("x")
    Path("repo/key").chmod(0)
    try:
        make_content_snapshot(Path("repo"), lambda key: Path("made", key), lambda *_: None)
    except MachineError as error:
        return f"{error.message} {os.listdir('made')}"
    return "no error"


def test_an_unreadable_file_in_a_checkout_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    said = as_ordinary_user(tmp_path, _read_unreadable)
    assert said == "repo/key cannot be copied: Permission denied []"


def test_a_damaged_registration_is_named_and_the_others_are_known(
    open_cache: OpenCache, git_repo: Repositories
) -> None:
    opened = open_cache()
    for reference, name in ((DEP, "acme/dep"), (parse_reference("acme/other"), "acme/other")):
        opened.cache.add(reference, str(git_repo(name, {"tako.yml": CONFIG})))
    file = opened.layout.registration("acme", "dep")
    file.write_text("no JSON")
    why = "Expecting value: line 1 column 1 (char 0)"
    again = open_cache()
    assert [known.repository.key for known in again.cache.known()] == ["acme/other"]
    assert again.notes == [f"a repository is left out: {file} cannot be read: {why}"]


def test_submodules_stay_empty_with_a_note(open_cache: OpenCache, git_repo: Repositories) -> None:
    inner = git_repo("acme/inner", {"x": "y"})
    source = git_repo("acme/dep", {"tako.yml": CONFIG})
    git(source, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "sub")
    commit(source, {})
    opened = open_cache()
    opened.cache.add(DEP, str(source))
    path = opened.cache.snapshot(opened.cache.resolve(DEP))
    assert list((path / "sub").iterdir()) == []
    assert len(opened.notes) == 1
    assert "submodules are left empty" in opened.notes[0]


ADD_AND_SNAPSHOT = """
import sys
from pathlib import Path
from tako.config.schema import Settings
from tako.layout.home import Home
from tako.repositories.cache import Cache
from tako.repositories.locks import LockManager
from tako.repositories.reference import parse_reference
home = Home(Path(sys.argv[1]))
cache = Cache(home, Settings(), LockManager(home.cache, 60, lambda _: None), local=True, on_note=print)
print("ready", flush=True)
sys.stdin.readline()
cache.add(parse_reference("acme/dep"), sys.argv[2])
print(cache.snapshot(cache.resolve(parse_reference("acme/dep"))), flush=True)
print(cache.snapshot(cache.resolve(parse_reference("hand/made"))), flush=True)
"""


def test_processes_that_add_and_snapshot_at_once_get_the_same_whole_tree(
    open_cache: OpenCache, git_repo: Repositories, tmp_path: Path
) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG, **{f"f{n}": str(n) for n in range(200)}})
    _put(open_cache, "hand/made")
    command = [sys.executable, "-c", ADD_AND_SNAPSHOT, str(tmp_path / "tako"), str(source)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)}
    others = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for other in others:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
    said = [""] * 4

    def go(number: int) -> None:
        said[number] = others[number].communicate("\n", timeout=120)[0]

    threads = [threading.Thread(target=go, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [other.returncode for other in others] == [0] * 4
    assert len(set(said)) == 1
    paths = said[0].split()
    assert len(list(Path(paths[0]).glob("f*"))) == 200
    left = {entry.name for path in paths for entry in Path(path).parent.iterdir()}
    assert left == {name for path in paths for name in (Path(path).name, f"{Path(path).name}.used")}


def test_a_hundred_unchanged_checkouts_are_read_quickly(open_cache: OpenCache) -> None:
    for number in range(100):
        _put(open_cache, f"acme/dep{number}")
    opened = open_cache()
    start = time.perf_counter()
    assert len([opened.cache.default_config_bytes(known) for known in opened.cache.known()]) == 100
    # Measured: 10 ms. The bound only catches a change of kind, such as a process for each.
    assert time.perf_counter() - start < 0.5


def test_everything_in_the_cache_is_for_its_owner_alone(
    open_cache: OpenCache, git_repo: Repositories
) -> None:
    opened = open_cache()
    opened.cache.add(DEP, str(git_repo("acme/dep", {"tako.yml": CONFIG})))
    opened.cache.read_config_bytes(opened.cache.resolve(DEP))
    for directory in (opened.layout.path, opened.layout.git, opened.layout.index, opened.layout.locks):
        assert directory.stat().st_mode & 0o077 == 0


def test_a_reference_of_the_settings_that_breaks_the_grammar_is_refused(open_cache: OpenCache) -> None:
    with pytest.raises(ReferenceInvalidError):
        open_cache(repositories=("../x",)).cache.known()


def test_what_ends_the_copying_of_a_checkout_leaves_nothing_of_the_copy(open_cache: OpenCache) -> None:
    _put(open_cache, "hand/made")
    opened = open_cache()

    def check() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        opened.cache.resolve(parse_reference("hand/made"), check=check)
    assert list(opened.layout.snapshots_of("hand", "made").iterdir()) == []
    assert opened.cache.resolve(parse_reference("hand/made")).kind == "content"
