"""git within children: it works at every level, and never reaches the user's own repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from tako.sandbox.policy import NAMESPACE
from tests.support.git import git
from tests.support.isolations import LEVELS, need
from tests.support.scenes import FAN_OUT, Scene, children, errors, subscription, tako_yml, workflow

pytestmark = pytest.mark.forked

COMMITS = """
git log -1 --format=%s
git status --porcelain
echo changed > new
git add new
git -c user.name=x -c user.email=x@example.org commit --quiet -m "of the child"
git fsck --connectivity-only
git log --format=%s > subjects
"""
STEP = {"id": "commits", "run": COMMITS, "produces": {"outputs": {"all": "from_file:subjects"}}}
CONFIG = tako_yml({"check": workflow(STEP)}, [subscription()])


@pytest.fixture
def own(scene: Scene) -> Path:
    """Give the user's own repository, which subscribes."""
    return scene.git_repo("me/app", {"tako.yml": CONFIG})


def _committed(scene: Scene, level: str, home: Path | None = None) -> None:
    """Have the child commit on top of what it got."""
    need(level)
    env = {"TAKO_HOME": str(home)} if home else {}
    lib = scene.git_repo.directory / "acme" / "lib"
    lib = lib if lib.exists() else scene.library(FAN_OUT)
    result = scene.tako("exec", "release", "--isolation", level, "--output", "json", cwd=lib, env=env)
    assert result.code == 0, result.stdout + result.stderr
    [step] = children(result.json)["acme/app"]["steps"]
    assert step["outputs"] == {"all": "of the child\nfirst"}


@pytest.mark.parametrize("level", LEVELS)
def test_a_commit_of_a_child_stays_in_its_workspace(scene: Scene, own: Path, level: str) -> None:
    place = scene.tako.home / "cache" / "repos" / "acme" / "app" / "main"
    place.parent.mkdir(parents=True)
    scene.tako.home.chmod(0o700)
    git(own, "clone", "--quiet", str(own), str(place))
    git(place, "worktree", "add", "--quiet", "-b", "other", str(scene.git_repo.directory / "linked"))
    before = git(place, "for-each-ref")
    _committed(scene, level)
    assert git(place, "for-each-ref") == before
    assert git(place, "status", "--porcelain") == ""
    assert len(git(own, "log", "--format=%h").splitlines()) == 1


@pytest.mark.parametrize("level", LEVELS)
def test_a_linked_worktree_is_refused_and_its_branch_stays(scene: Scene, own: Path, level: str) -> None:
    need(level)
    place = scene.tako.home / "cache" / "repos" / "acme" / "app" / "main"
    place.parent.mkdir(parents=True)
    scene.tako.home.chmod(0o700)
    git(own, "worktree", "add", "--quiet", "-b", "other", str(place))
    before = git(own, "for-each-ref")
    result = scene.tako(
        "exec", "release", "--isolation", level, "--output", "json", cwd=scene.library(FAN_OUT)
    )
    assert result.code == 1, result.stderr
    error = errors(result.json)["acme/app"]
    assert error["kind"] == "config_invalid"
    assert f"{place}: .git says that it is a linked worktree, of {own}" in error["message"]
    assert git(own, "for-each-ref") == before


_SHOWS = {
    "id": "shows",
    "run": 'stat -f -c %T "$(cat .git/objects/info/alternates)/pack"',
    "produces": {"outputs": {"kind": "from_stdout"}},
}


def test_the_objects_of_the_cache_are_behind_an_overlay(scene: Scene) -> None:
    """So that locks on them (flock) reach nobody outside."""
    need(NAMESPACE)
    config = tako_yml({"check": workflow(_SHOWS)}, [subscription()])
    source = scene.git_repo("me/app", {"tako.yml": config})
    assert scene.tako("cache", "add", "acme/app", "--from", str(source)).code == 0
    options = ("--isolation", NAMESPACE, "--output", "json")
    result = scene.tako("exec", "release", *options, cwd=scene.library(FAN_OUT))
    assert result.code == 0, result.stdout + result.stderr
    [step] = children(result.json)["acme/app"]["steps"]
    assert step["outputs"] == {"kind": "overlayfs"}


@pytest.mark.parametrize("level", LEVELS)
def test_git_works_wherever_the_home_is(scene: Scene, own: Path, level: str) -> None:
    assert scene.tako("cache", "add", "acme/app", "--from", str(own)).code == 0
    _committed(scene, level)
    home = scene.tako.home
    moved = home.parent / "moved" / "home"
    moved.parent.mkdir()
    home.rename(moved)
    _committed(scene, level, moved)
    link = home.parent / "linked"
    link.symlink_to("moved")
    _committed(scene, level, link / "home")
    verified = scene.tako("cache", "verify", env={"TAKO_HOME": str(link / "home")})
    assert verified.code == 0, verified.stdout + verified.stderr
