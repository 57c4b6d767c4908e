"""A child gets the tree of the pinned commit, whatever its repository says of history and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tako.errors import MachineError
from tako.repositories.reference import parse_reference
from tako.repositories.upkeep import verify
from tests.repositories.conftest import OpenCache
from tests.support.git import Repositories, commit, git

DEP = parse_reference("acme/dep")
ATTRIBUTES = """ident.txt ident
crlf.txt text eol=crlf
wide.txt working-tree-encoding=UTF-16LE
ignored.txt export-ignore export-subst
filtered.txt filter=evil
"""


def _replace(repository: Path) -> tuple[str, str]:
    """Make the first commit look as if it were the second; gives both."""
    first = git(repository, "rev-parse", "HEAD")
    second = commit(repository, {"tako.yml": "replaced", "more": "replaced"})
    git(repository, "reset", "--quiet", "--hard", first)
    git(repository, "replace", first, second)
    return first, second


def test_a_replace_ref_of_the_source_changes_nothing(git_repo: Repositories, open_cache: OpenCache) -> None:
    source = git_repo("acme/dep", {"tako.yml": "true one"})
    first, _ = _replace(source)
    opened = open_cache()
    opened.cache.add(DEP, str(source))
    resolved = opened.cache.resolve(DEP)
    assert resolved.commit == first
    assert opened.cache.read_config_bytes(resolved) == b"true one"
    path = opened.cache.snapshot(resolved)
    assert (path / "tako.yml").read_text() == "true one"
    assert not (path / "more").exists()


def test_nor_does_one_in_the_mirror(git_repo: Repositories, open_cache: OpenCache) -> None:
    source = git_repo("acme/dep", {"tako.yml": "true one"})
    opened = open_cache()
    opened.cache.add(DEP, str(source))
    mirror = opened.layout.mirror("acme", "dep")
    first, second = _replace(source)
    replaces = f"refs/replace/{first}"
    git(mirror, "fetch", "--quiet", str(source), f"{second}:refs/other/second", f"{replaces}:{replaces}")
    resolved = opened.cache.resolve(DEP)
    assert resolved.commit == first
    assert opened.cache.read_config_bytes(resolved) == b"true one"
    path = opened.cache.snapshot(resolved)
    assert (path / "tako.yml").read_text() == "true one"
    assert git(path, "status", "--porcelain") == ""
    assert verify(opened.layout, opened.locks, opened.cache) == []


def test_attributes_act_as_in_any_checkout_and_no_filter_runs(
    git_repo: Repositories, open_cache: OpenCache, tmp_path: Path
) -> None:
    files = {"ident.txt": "$Id$\n", "crlf.txt": "a\nb\n", "ignored.txt": "$Format:%H$\n"}
    named = {"tako.yml": "x", ".gitattributes": ATTRIBUTES, "filtered.txt": "f\n"}
    source = git_repo("acme/dep", {**named, **files})
    git(source, "config", "filter.evil.smudge", f"touch {tmp_path / 'ran'}")
    opened = open_cache()
    opened.cache.add(DEP, str(source))
    path = opened.cache.snapshot(opened.cache.resolve(DEP))
    blob = git(path, "rev-parse", "HEAD:ident.txt")
    assert (path / "ident.txt").read_text() == f"$Id: {blob} $\n"
    assert (path / "crlf.txt").read_bytes() == b"a\r\nb\r\n"
    # Those are for archives.
    assert (path / "ignored.txt").read_text() == "$Format:%H$\n"
    assert (path / "filtered.txt").read_text() == "f\n"
    assert not (tmp_path / "ran").exists()
    assert git(path, "status", "--porcelain") == ""
    assert verify(opened.layout, opened.locks, opened.cache) == []


def test_a_graft_of_the_source_is_refused_not_followed(git_repo: Repositories, open_cache: OpenCache) -> None:
    source = git_repo("acme/dep", {"tako.yml": "x"})
    second = commit(source, {"more": "x"})
    (source / ".git" / "info").mkdir(exist_ok=True)
    (source / ".git" / "info" / "grafts").write_text(f"{second}\n")
    opened = open_cache()
    with pytest.raises(MachineError, match="git fetch failed"):
        opened.cache.add(DEP, str(source))


def test_how_local_repositories_are_read_is_written_anew_after_another_version(
    git_repo: Repositories, open_cache: OpenCache
) -> None:
    source = git_repo("acme/dep", {"tako.yml": "x"})
    opened = open_cache()
    opened.cache.add(DEP, str(source))
    config = opened.layout.git_config
    right = config.read_bytes()
    for wrong in (b"", b"[core", b"[safe]\n"):
        config.write_bytes(wrong)
        open_cache().cache.add(DEP, str(source))
        assert config.read_bytes() == right
