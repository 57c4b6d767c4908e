"""Running git: in the user's own checkout, and when git itself is the problem."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tako.errors import MachineError
from tako.repositories.reference import parse_reference
from tako.repositories.upstream import git as module
from tako.repositories.upstream import mirror
from tako.repositories.upstream.git import (
    CheckoutState,
    checkout_state,
    head_commit,
    identity,
    origin_url,
    run_git,
    tracked_changes_digest,
)
from tests.repositories.conftest import CONFIG, OpenCache
from tests.support.git import Repositories, commit, git


@pytest.fixture(autouse=True)
def _no_user_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))


def test_the_state_of_a_checkout_has_commit_branch_and_origin(git_repo: Repositories) -> None:
    path = git_repo("acme/lib", {"a": "1"})
    assert head_commit(path) == git(path, "rev-parse", "HEAD")
    assert checkout_state(path).branch == "main"
    assert origin_url(path) == "https://example.invalid/acme/lib.git"
    git(path, "checkout", "--quiet", "--detach")
    assert checkout_state(path).branch == ""


def test_the_state_of_the_users_checkout_is_read_at_once(git_repo: Repositories, tmp_path: Path) -> None:
    path = git_repo("acme/lib", {"a": "1"})
    clean = CheckoutState(head_commit(path), "main", origin_url(path), "")
    (path / "untracked").write_text("x")
    assert checkout_state(path) == clean
    (path / "a").write_text("2")
    assert checkout_state(path).tracked_changes == tracked_changes_digest(path) != ""


def test_the_state_outside_of_a_repository_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Above the temporary directory there could be a repository of whoever runs the tests.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert (head_commit(tmp_path), origin_url(tmp_path)) == ("", "")
    assert checkout_state(tmp_path) == CheckoutState()
    assert tracked_changes_digest(tmp_path) == ""


def _broken_config(path: Path) -> str:
    (path / ".git" / "config").write_text("[core\n")
    return "bad config line 1"


def _broken_index(path: Path) -> str:
    (path / ".git" / "index").write_text("damaged")
    return "index file"


def _broken_link(path: Path) -> str:
    (path / ".git").rename(path.parent / "moved")
    (path / ".git").write_text("gitdir: nowhere")
    return "not a git repository: "


@pytest.mark.parametrize("damage", [_broken_config, _broken_index, _broken_link])
def test_a_git_that_fails_is_reported_in_its_own_words(
    git_repo: Repositories, damage: Callable[[Path], str]
) -> None:
    """It does not count as one that says that there is no origin, no commit, or no repository at all."""
    path = git_repo("acme/lib", {"a": "1"})
    said = damage(path)
    with pytest.raises(MachineError, match="git status failed") as raised:
        checkout_state(path)
    assert said in raised.value.message


@pytest.mark.parametrize("read", [head_commit, origin_url, tracked_changes_digest])
@pytest.mark.parametrize("damage", [_broken_config, _broken_link])
def test_each_question_that_git_cannot_answer_is_an_error(
    git_repo: Repositories, read: Callable[[Path], str], damage: Callable[[Path], str]
) -> None:
    path = git_repo("acme/lib", {"a": "1"})
    said = damage(path)
    with pytest.raises(MachineError, match=r"git [a-z-]+ failed") as raised:
        read(path)
    assert said in raised.value.message


def test_origin_is_what_git_fetches_from(git_repo: Repositories) -> None:
    """The first of several URLs, and rewritten as the user has configured it."""
    path = git_repo("acme/lib", {"a": "1"}, origin="short:acme/lib.git")
    git(path, "remote", "set-url", "--add", "origin", "https://mirror.invalid/other/copy.git")
    git(path, "config", "url.https://example.invalid/.insteadOf", "short:")
    git(path, "config", "url.https://push.invalid/.pushInsteadOf", "short:")
    assert origin_url(path) == checkout_state(path).origin == "https://example.invalid/acme/lib.git"


def test_a_checkout_with_other_remotes_only_has_no_origin(git_repo: Repositories) -> None:
    path = git_repo("acme/lib", {"a": "1"}, origin="")
    git(path, "remote", "add", "upstream", "https://example.invalid/acme/lib.git")
    assert origin_url(path) == checkout_state(path).origin == ""


def test_an_identity_that_git_cannot_read_is_an_error_and_none_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    config.write_text("[user]\nname = Ada\n")
    assert identity() == ("Ada", "")
    config.write_text("[user\n")
    with pytest.raises(MachineError, match="bad config line"):
        identity()


def test_a_mirror_that_git_cannot_read_does_not_count_as_one_without_the_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "mirror")
    assert not mirror.has_commit(tmp_path / "mirror", "a" * 40)
    (tmp_path / "mirror" / "config").write_text("[core\n")
    with pytest.raises(MachineError, match="bad config line"):
        mirror.has_commit(tmp_path / "mirror", "a" * 40)


def test_a_repository_without_commit_has_no_head_and_no_changes(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert head_commit(tmp_path) == ""
    assert tracked_changes_digest(tmp_path) == ""


def test_the_digest_of_changes_changes_with_tracked_files_only(git_repo: Repositories) -> None:
    path = git_repo("acme/lib", {"a": "1", "b": "2"})
    assert tracked_changes_digest(path) == ""
    (path / "untracked").write_text("x")
    assert tracked_changes_digest(path) == ""
    (path / "a").write_text("changed")
    first = tracked_changes_digest(path)
    assert len(first) == 64
    git(path, "add", "a")
    assert tracked_changes_digest(path) == first
    (path / "b").unlink()
    assert tracked_changes_digest(path) not in {"", first}
    git(path, "reset", "--quiet", "--hard")
    assert tracked_changes_digest(path) == ""


def test_changes_that_cannot_be_compared_are_an_error(git_repo: Repositories) -> None:
    path = git_repo("acme/lib", {"a": "1"})
    (path / ".git" / "index").write_text("damaged")
    with pytest.raises(MachineError, match="git diff failed"):
        tracked_changes_digest(path)


def test_the_users_checkout_may_belong_to_somebody_else(git_repo: Repositories) -> None:
    path = git_repo("acme/lib", {"a": "1"})
    expected = git(path, "rev-parse", "HEAD")
    if os.geteuid() == 0:
        for each in (path, *path.rglob("*")):
            os.chown(each, 65534, 65534, follow_symlinks=False)
    assert head_commit(path) == expected


def test_missing_git_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "defpath", str(tmp_path))
    with pytest.raises(MachineError, match="git is not installed"):
        run_git(["version"])


def test_a_git_that_cannot_be_started_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "git").write_text("no program")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match="git cannot be started: Exec format error"):
        run_git(["version"])


def test_a_directory_that_is_gone_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="gone is gone"):
        run_git(["version"], git_dir=tmp_path / "gone")


def test_a_git_that_hangs_is_ended_and_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = os.environ["PATH"]
    (tmp_path / "git").write_text("#!/bin/sh\nsleep 600\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{path}")
    monkeypatch.setattr(module, "FETCH_TIMEOUT_S", 0.2)
    with pytest.raises(MachineError, match=r"it did not end within 0\.2 s"):
        module.fetch_git(["ls-remote"], "file:///x", tmp_path, tmp_path)


def test_many_packs_become_one_and_no_object_is_lost(
    open_cache: OpenCache, git_repo: Repositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "_PACKS_MAX", 2)
    source = git_repo("acme/dep", {"tako.yml": CONFIG})
    opened = open_cache()
    reference = parse_reference("acme/dep")
    opened.cache.add(reference, str(source))
    first = opened.cache.resolve(reference)
    for number in range(3):
        git(source, "commit", "--quiet", "--amend", "--allow-empty", "-m", str(number))
        commit(source, {"n": str(number)})
        opened.cache.sync()
    packs = list((opened.layout.mirror("acme", "dep") / "objects" / "pack").glob("*.pack"))
    assert len(packs) <= 2
    assert opened.cache.snapshot(first).is_dir()


def test_a_long_line_of_gits_is_cut(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    with pytest.raises(MachineError, match="git cat-file failed") as caught:
        run_git(["cat-file", "blob", "y" * 5000], git_dir=tmp_path / ".git")
    assert 500 < len(str(caught.value)) < 600
