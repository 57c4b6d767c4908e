"""Repositories that try to run something in tako's own git: nothing of theirs may run.

Each attack would create the canary file. `test_the_canary_is_real` shows that plain git falls for it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tako.repositories.reference import parse_reference
from tako.repositories.upkeep import prune, verify
from tests.repositories.conftest import CONFIG, OpenCache
from tests.support.git import Repositories, commit, git

DEP = parse_reference("acme/dep")
HOOKS = (
    "post-checkout",
    "post-merge",
    "pre-commit",
    "reference-transaction",
    "post-index-change",
    "pre-auto-gc",
    "fsmonitor-watchman",
    "pre-receive",
    "post-update",
)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """Give the file that exists if an attack succeeded."""
    return tmp_path / "canary"


def _hooks(repository: Path, canary: Path) -> None:
    hooks = repository / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in HOOKS:
        (hooks / name).write_text(f"#!/bin/sh\necho {name} >> {canary}\n")
        (hooks / name).chmod(0o755)


def _config(repository: Path, canary: Path) -> None:
    run = f"sh -c 'echo config >> {canary}'"
    for key in (
        "core.fsmonitor",
        "core.sshCommand",
        "core.alternateRefsCommand",
        "core.gitProxy",
        "core.pager",
        "core.editor",
        "core.askPass",
        "uploadpack.packObjectsHook",
        "diff.external",
        "gpg.program",
        "filter.evil.clean",
        "filter.evil.smudge",
        "filter.evil.process",
        "credential.helper",
        "remote.origin.uploadpack",
        "remote.origin.receivepack",
    ):
        git(repository, "config", key, f"!{run}" if key == "credential.helper" else run)
    for alias in ("fetch", "status", "upload-pack"):
        git(repository, "config", f"alias.{alias}", f"!{run}")
    git(repository, "config", "protocol.ext.allow", "always")
    git(repository, "config", "protocol.file.allow", "always")
    included = repository / ".git" / "included"
    included.write_text(f'[core]\n\tfsmonitor = "{run}"\n\thooksPath = .git/hooks\n')
    git(repository, "config", "include.path", "included")


def _attributes(repository: Path, _canary: Path) -> None:
    commit(repository, {".gitattributes": "* filter=evil diff=evil\n", "data": "x"})


def _everything(repository: Path, canary: Path) -> None:
    _attributes(repository, canary)
    _hooks(repository, canary)
    _config(repository, canary)


def _lazy(repository: Path, canary: Path) -> None:
    """A partial clone that lacks an object and says by which program to get it (CVE-2024-32004)."""
    git(repository, "config", "extensions.partialClone", "evil")
    git(repository, "config", "core.repositoryFormatVersion", "1")
    git(repository, "config", "remote.evil.promisor", "true")
    git(repository, "config", "remote.evil.url", f"file://{repository}")
    git(repository, "config", "remote.evil.uploadpack", f"sh -c 'echo lazy >> {canary}'")
    blob = git(repository, "rev-parse", "HEAD:tako.yml")
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()


def _use(open_cache: OpenCache, *, add: str | None = None) -> list[Path]:
    """Do everything with the cache that tako ever does."""
    opened = open_cache()
    if add:
        opened.cache.add(DEP, add)
    list(opened.cache.discover("acme/lib", "default", "built"))
    resolved = opened.cache.resolve(DEP)
    opened.cache.read_config_bytes(resolved)
    path = opened.cache.snapshot(resolved)
    opened.cache.sync()
    assert verify(opened.layout, opened.locks, opened.cache) == []
    prune(opened.layout, opened.locks, opened.cache, keep_s=0)
    return [path]


@pytest.mark.parametrize("attack", [_hooks, _config, _attributes, _everything])
def test_nothing_runs_in_a_checkout_put_there_by_hand(
    open_cache: OpenCache, git_repo: Repositories, canary: Path, attack: Callable[[Path, Path], None]
) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG})
    attack(source, canary)
    canary.unlink(missing_ok=True)
    place = open_cache().layout.repos / "acme" / "dep"
    place.mkdir(parents=True)
    source.rename(place / "main")
    [path] = _use(open_cache)
    assert (path / "tako.yml").read_text() == CONFIG
    # It is part of the content, for the sandboxed steps alone.
    assert (path / ".git" / "config").exists()
    assert not canary.exists()


@pytest.mark.parametrize("attack", [_hooks, _config, _attributes, _everything])
def test_nothing_runs_in_a_repository_that_is_fetched_from(
    open_cache: OpenCache, git_repo: Repositories, canary: Path, attack: Callable[[Path, Path], None]
) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG})
    attack(source, canary)
    canary.unlink(missing_ok=True)
    [path] = _use(open_cache, add=f"file://{source}")
    assert (path / "tako.yml").read_text() == CONFIG
    assert not canary.exists()


def test_a_partial_clone_does_not_run_what_would_fetch_the_rest(
    open_cache: OpenCache, git_repo: Repositories, canary: Path
) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG})
    _lazy(source, canary)
    with pytest.raises(Exception, match="git fetch failed"):
        open_cache().cache.add(DEP, str(source))
    assert not canary.exists()


def test_the_environment_of_the_caller_does_not_lead_git_elsewhere(
    open_cache: OpenCache,
    git_repo: Repositories,
    canary: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG, ".gitattributes": "* filter=evil"})
    elsewhere = git_repo("acme/elsewhere", {"x": "y"})
    # tako may be started by a git hook, which has all of these set.
    monkeypatch.setenv("GIT_DIR", str(elsewhere / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(elsewhere / ".git" / "index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(elsewhere))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "filter.evil.smudge")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", f"echo > {canary}")
    [path] = _use(open_cache, add=str(source))
    assert (path / "tako.yml").read_text() == CONFIG
    assert git(elsewhere, "status", "--porcelain") == ""
    assert not canary.exists()


def test_the_users_own_filters_and_hooks_do_not_run_on_foreign_files(
    open_cache: OpenCache, git_repo: Repositories, canary: Path, tmp_path: Path
) -> None:
    home = tmp_path / "user"
    (home / "templates" / "hooks").mkdir(parents=True)
    (home / "templates" / "hooks" / "post-checkout").write_text(f"#!/bin/sh\necho > {canary}\n")
    (home / "templates" / "hooks" / "post-checkout").chmod(0o755)
    (home / ".gitconfig").write_text(
        f'[filter "lfs"]\n\tsmudge = touch {canary}; cat\n\trequired = true\n'
        f"[init]\n\ttemplateDir = {home}/templates\n[core]\n\tfsmonitor = touch {canary}\n"
    )
    source = git_repo("acme/dep", {"tako.yml": CONFIG, ".gitattributes": "* filter=lfs", "big": "pointer"})
    [path] = _use(open_cache, add=str(source))
    assert (path / "big").read_text() == "pointer"
    assert not canary.exists()


@pytest.mark.parametrize("path", ["{}:", ":{}", ".:{}", "bin:{}"])
def test_no_program_of_a_repositorys_is_taken_for_git(
    path: str, open_cache: OpenCache, git_repo: Repositories, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty part of PATH is the directory one stands in: git stands in the files that it checks out."""
    program = f"#!/bin/sh\ntouch {canary}\nexit 1\n"
    names = ("git", "bin/git", "git-upload-pack", "git-index-pack")
    source = git_repo("acme/dep", {"tako.yml": CONFIG, **dict.fromkeys(names, program)})
    monkeypatch.setenv("PATH", path.format(os.environ["PATH"]))
    monkeypatch.chdir(source)
    opened = open_cache()
    reference = parse_reference("acme/dep")
    opened.cache.add(reference, str(source))
    assert (opened.cache.snapshot(opened.cache.resolve(reference)) / "bin" / "git").exists()
    assert verify(opened.layout, opened.locks, opened.cache) == []
    assert not canary.exists()


def test_the_canary_is_real(git_repo: Repositories, canary: Path) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG})
    _everything(source, canary)
    canary.unlink(missing_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(source), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "status"], cwd=source, env=environment, capture_output=True, check=False)
    assert canary.exists()


def test_a_tree_cannot_bring_a_git_directory_of_its_own(
    open_cache: OpenCache, git_repo: Repositories, canary: Path
) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG})
    blob = git(source, "hash-object", "-w", "tako.yml")
    # `git update-index` refuses the path, `git mktree` does not.
    hook = subprocess.run(
        ["git", "mktree"],
        cwd=source,
        input=f"100755 blob {blob}\tpost-checkout\n",
        text=True,
        capture_output=True,
        check=True,
    ).stdout.strip()
    tree = subprocess.run(
        ["git", "mktree"],
        cwd=source,
        input=f"100644 blob {blob}\ttako.yml\n040000 tree {hook}\t.git\n",
        text=True,
        capture_output=True,
        check=True,
    ).stdout.strip()
    bad = git(source, "commit-tree", tree, "-m", "bad")
    git(source, "reset", "--quiet", "--soft", bad)
    opened = open_cache()
    opened.cache.add(DEP, str(source))
    with pytest.raises(Exception, match="git checkout failed"):
        opened.cache.snapshot(opened.cache.resolve(DEP))
    directory = opened.layout.snapshots_of("acme", "dep")
    assert [entry.name for entry in directory.iterdir()] == []


def test_a_repository_of_another_owner_is_read_all_the_same(
    open_cache: OpenCache, git_repo: Repositories
) -> None:
    source = git_repo("acme/dep", {"tako.yml": CONFIG})
    if os.geteuid() == 0:
        for path in (source, *source.rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)
    [path] = _use(open_cache, add=str(source))
    assert (path / "tako.yml").read_text() == CONFIG
