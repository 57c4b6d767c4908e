"""`tako cache`, called as click calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tako.cli.commands.cache import command
from tako.errors import NotFoundError, UsageError
from tests.support.git import Repositories, commit, write_files


@pytest.fixture(autouse=True)
def _home(tako_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    assert str(tako_home)


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, catch_exceptions=True)


def test_a_repository_is_added_from_a_relative_path_and_listed(
    git_repo: Repositories, tako_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = git_repo("acme/dep", {"tako.yml": "x"})
    monkeypatch.chdir(source.parent)
    added = _run("add", "acme/dep", "--from", "dep")
    assert (added.exit_code, added.stderr) == (0, "")
    name, commit_hash = added.stdout.split()
    assert name == "acme/dep:main"
    listed = _run("list")
    assert listed.stdout == f"acme/dep:main registered {commit_hash[:12]} file://{source}\n"
    [record] = json.loads(_run("list", "--output", "json").stdout)
    assert record == {
        "repository": "acme/dep",
        "source": "registered",
        "default_branch": "main",
        "branches": ["main"],
        "commit": commit_hash,
        "path": str(tako_home / "cache" / "git" / "acme" / "dep.git"),
        "url": f"file://{source}",
    }


def test_checkouts_put_there_by_hand_are_listed(tako_home: Path) -> None:
    path = tako_home / "cache" / "repos" / "Acme" / "Hand" / "main"
    write_files(path, {"tako.yml": ""})
    assert _run("list").stdout == f"Acme/Hand:main checkout {path}\n"
    [record] = json.loads(_run("list", "--output", "json").stdout)
    assert (record["commit"], record["url"]) == (None, None)


def test_an_empty_cache_prints_the_command_that_fills_it() -> None:
    listed = _run("list")
    assert listed.stdout == ""
    assert "tako cache add" in listed.stderr
    assert json.loads(_run("list", "--output", "json").stdout) == []


def test_sync_prints_each_repository_and_fails_if_one_does(git_repo: Repositories) -> None:
    for name in ("acme/a", "acme/b"):
        _run("add", name, "--from", str(git_repo(name, {"x": "y"})))
    assert _run("sync").stdout == "acme/a fetched\nacme/b fetched\n"
    (git_repo.directory / "acme/b").rename(git_repo.directory / "acme/moved")
    synced = _run("sync")
    assert (synced.exit_code, synced.stdout) == (1, "acme/a fetched\n")
    assert synced.stderr.startswith("acme/b: git ls-remote failed")
    assert _run("sync", "acme/a").exit_code == 0
    assert isinstance(_run("sync", "acme/nix").exception, NotFoundError)


def test_sync_refuses_a_checkout_because_it_is_never_fetched(tako_home: Path) -> None:
    write_files(tako_home / "cache" / "repos" / "acme" / "hand" / "main", {"tako.yml": ""})
    synced = _run("sync", "acme/hand")
    assert synced.exit_code == 1
    assert "never fetched\n      tako cache add" in synced.stderr


def test_verify_prints_damaged_mirrors_and_snapshots(git_repo: Repositories, tako_home: Path) -> None:
    source = git_repo("acme/dep", {"tako.yml": "x"})
    _run("add", "acme/dep", "--from", str(source))
    verified = _run("verify")
    assert (verified.exit_code, verified.stdout) == (0, "")
    for pack in (tako_home / "cache").rglob("*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(b"")
    verified = _run("verify")
    assert verified.exit_code == 1
    assert verified.stdout.startswith("acme/dep: its mirror is damaged")


def test_prune_prints_its_plan_with_dry_run(git_repo: Repositories, tako_home: Path) -> None:
    tree = tako_home / "cache" / "snapshots" / "acme" / "gone" / ("0" * 40)
    tree.mkdir(parents=True)
    dry = _run("prune", "--dry-run", "--keep", "0")
    assert (dry.exit_code, dry.stdout) == (0, f"acme/gone: snapshot {'0' * 40}\n")
    assert dry.stderr == "1 snapshots would be removed\n"
    assert tree.is_dir()
    assert _run("prune").stdout == dry.stdout
    assert not tree.exists()


def test_the_cache_may_be_elsewhere_by_option_or_settings(
    git_repo: Repositories, tako_home: Path, tmp_path: Path
) -> None:
    source = git_repo("acme/dep", {"x": "y"})
    assert (
        _run("--cache-dir", str(tmp_path / "other"), "add", "acme/dep", "--from", str(source)).exit_code == 0
    )
    assert _run("list").stdout == ""
    write_files(tako_home, {"config.yml": f"cache_dir: {tmp_path}/other\n"})
    assert _run("list").stdout.startswith("acme/dep:main")


def test_wrong_words_are_wrong_use(git_repo: Repositories) -> None:
    assert _run("add", "acme/dep", "--from", "x", "--nix").exit_code == 2
    assert _run("--lock-timeout", "soon", "list").exit_code == 2
    assert isinstance(_run("--local", "add", "acme/dep", "--from", "https://h/a/b").exception, UsageError)
    assert isinstance(_run("add", "../dep", "--from", "x").exception, UsageError)


def test_a_lock_timeout_is_a_duration(git_repo: Repositories) -> None:
    source = git_repo("acme/dep", {"x": "y"})
    commit(source, {"z": "1"})
    assert _run("--lock-timeout", "1m", "add", "acme/dep", "--from", str(source)).exit_code == 0
