"""Checkouts put into the cache by hand whose copies would still be a part of another repository."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tako.repositories.reference import parse_reference
from tako.repositories.self_contained import NotSelfContainedError, check_self_contained
from tests.repositories.conftest import CONFIG, OpenCache
from tests.support.git import Repositories, commit, git

FILES = {"tako.yml": CONFIG, "src/code.txt": "code"}
LOCAL = ("-c", "protocol.file.allow=always")
ELSEWHERE = ".git says that it is a checkout with its repository in "


@pytest.fixture
def own(git_repo: Repositories) -> Path:
    """Give the user's own repository."""
    return git_repo("me/app", FILES)


def _worktree(own: Path, place: Path) -> None:
    git(own, "worktree", "add", "--quiet", "-b", "other", str(place))


def _submodule(own: Path, place: Path) -> None:
    above = place.parent / ".above"
    git(own, "clone", "--quiet", str(own), str(above))
    git(above, *LOCAL, "submodule", "--quiet", "add", str(own), "below")
    # As somebody moves it there who does not know what it is.
    (above / "below").rename(place)
    (place / ".git").write_text(f"gitdir: {above}/.git/modules/below\n")


def _separate(own: Path, place: Path) -> None:
    git(own, "clone", "--quiet", "--separate-git-dir", str(place.parent / ".data"), str(own), str(place))


def _borrowing(own: Path, place: Path) -> None:
    git(own, "clone", "--quiet", "--shared", str(own), str(place))


def _borrowing_from_beside(own: Path, place: Path) -> None:
    _borrowing(own, place)
    git(own, "clone", "--quiet", "--bare", str(own), str(place.parent / ".beside.git"))
    (place / ".git/objects/info/alternates").write_text("# beside\n../../../.beside.git/objects\n")


def _borrowing_in_quotes(own: Path, place: Path) -> None:
    _borrowing(own, place)
    alternates = place / ".git/objects/info/alternates"
    coded = alternates.read_text().strip().replace("/", r"\057")
    alternates.write_text(f'"{coded}"\n')
    # git reads it so.
    assert git(place, "log", "--format=%s")


def _linked_git(own: Path, place: Path) -> None:
    place.mkdir()
    (place / ".git").symlink_to(own / ".git")


def _linked_logs(own: Path, place: Path) -> None:
    """As git-new-workdir makes them."""
    git(own, "clone", "--quiet", str(own), str(place))
    (place / ".git/logs").rename(place / ".git/logs-before")
    (place / ".git/logs").symlink_to(own / ".git/logs")


def _linked_hooks(own: Path, place: Path) -> None:
    git(own, "clone", "--quiet", "--template=", str(own), str(place))
    (place / ".git/hooks").symlink_to("../../hooks")


def _configured(key: str, value: str) -> Callable[[Path, Path], None]:
    def make(own: Path, place: Path) -> None:
        git(own, "clone", "--quiet", str(own), str(place))
        git(place, "config", key, value.format(own=own))

    return make


def _included(own: Path, place: Path) -> None:
    git(own, "clone", "--quiet", str(own), str(place))
    git(place, "config", "include.path", "../more.gitconfig")
    (place / "more.gitconfig").write_text(f"[core]\n\tworktree = {own}\n")


def _nested(own: Path, place: Path) -> None:
    git(own, "clone", "--quiet", str(own), str(place))
    _worktree(own, place / "vendor" / "lib")


def _common(own: Path, place: Path) -> None:
    git(own, "clone", "--quiet", str(own), str(place))
    (place / ".git/commondir").write_text(f"{own}/.git\n")


LEADING: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "a linked worktree": (_worktree, ".git says that it is a linked worktree, of "),
    "a submodule": (_submodule, ELSEWHERE),
    "a separate git directory": (_separate, ELSEWHERE),
    "alternates": (_borrowing, ".git/objects/info/alternates borrows objects from "),
    "alternates in quotes": (
        _borrowing_in_quotes,
        r'.git/objects/info/alternates borrows objects from "\057',
    ),
    "relative alternates": (_borrowing_from_beside, ".git/objects/info/alternates borrows objects from ../"),
    "a link to .git": (_linked_git, ".git is a link to "),
    "a link in .git": (_linked_logs, ".git/logs is a link to "),
    "a link to hooks": (_linked_hooks, ".git/hooks is a link to ../../hooks"),
    "commondir": (_common, ".git/commondir says that it is a linked worktree, of "),
    "core.worktree": (_configured("core.worktree", "{own}"), ".git/config sets core.worktree to "),
    "core.worktree above": (
        _configured("core.worktree", "../../app"),
        ".git/config sets core.worktree to ..",
    ),
    "core.hooksPath": (_configured("core.hooksPath", "{own}/h"), ".git/config sets core.hookspath to "),
    "include.path": (_configured("include.path", "~/more"), ".git/config sets include.path to ~/more"),
    "includeIf": (
        _configured("includeIf.gitdir:/x.path", "/more"),
        ".git/config sets includeif.gitdir:/x.path",
    ),
    "an included file": (_included, "more.gitconfig sets core.worktree to "),
    "one further down": (_nested, "vendor/lib/.git says that it is a linked worktree, of "),
}


@pytest.mark.parametrize("kind", LEADING)
def test_a_checkout_that_is_part_of_another_repository_is_refused(
    own: Path, open_cache: OpenCache, kind: str
) -> None:
    make, said = LEADING[kind]
    opened = open_cache()
    place = opened.layout.repos / "acme" / "app" / "main"
    place.parent.mkdir(parents=True)
    make(own, place)
    (place / "tako.yml").write_text(CONFIG)
    for _ in ("at first", "and again"):
        with pytest.raises(NotSelfContainedError) as refused:
            opened.cache.resolve(parse_reference("acme/app"))
        assert f"{place}: {said}" in refused.value.message
        assert "put a clone of its own there" in refused.value.hint


def test_a_complete_checkout_is_taken(own: Path, open_cache: OpenCache, tmp_path: Path) -> None:
    opened = open_cache()
    place = opened.layout.repos / "acme" / "app" / "main"
    place.parent.mkdir(parents=True)
    git(own, "clone", "--quiet", str(own), str(place))
    git(place, *LOCAL, "submodule", "--quiet", "add", str(own), "below")
    commit(place, {"x": "y"})
    git(place, "config", "core.hooksPath", ".githooks")
    git(place, "config", "include.path", "../.gitconfig")
    (place / ".gitconfig").write_text("[user]\n\tname = Ada\n")
    (place / ".git" / "hooks" / "link").symlink_to("../config")
    (place / "data").symlink_to("/usr/share")
    git(place, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "elsewhere"))
    snapshot = opened.cache.snapshot(opened.cache.resolve(parse_reference("acme/app")))
    head = git(place, "rev-parse", "HEAD")
    assert git(snapshot, "rev-parse", "HEAD") == head
    assert git(snapshot / "below", "rev-parse", "HEAD") == git(own, "rev-parse", "HEAD")
    # The copy knows nothing of worktrees elsewhere.
    assert git(snapshot, "worktree", "list").split() == [str(snapshot), head[:7], "[main]"]
    commit(snapshot, {"new": "x"})
    assert git(place, "rev-parse", "HEAD") == head


def test_a_directory_without_git_has_nothing_that_leads_out(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "link").symlink_to("/etc")
    check_self_contained(tmp_path)


def test_damaged_git_data_leads_nowhere(own: Path) -> None:
    (own / ".git" / "config").write_bytes(b"[core\n\tworktree = /etc\n\xff")
    (own / "src" / ".git").write_bytes(b"\xff\xfe")
    (own / ".git" / "commondir").mkdir()
    check_self_contained(own)
