"""tako started by a hook of the user's repository: its steps work where they are, not where the hook is."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tako.system.user_environment import LOCATES_REPOSITORY
from tests.support.git import IDENTITY, git
from tests.support.runner import command
from tests.support.scenes import FAN_OUT, Scene, children

pytestmark = pytest.mark.forked

#: What a step of a release may do: commit in a repository of its own.
_SCRATCH = """
env | grep ^GIT_ || true
cd "$(mktemp -d "$SCRATCH/XXXXXX")"
git init --quiet --bare bare.git
git init --quiet .
echo 1 > made
git add made
git -c user.name=Step -c user.email=step@example.org commit --quiet -m "of a step"
git rev-list --count HEAD
"""


def _hooked(checkout: Path, hook: str) -> None:
    words = " ".join(map(shlex.quote, command()))
    path = checkout / ".git" / "hooks" / hook
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\nexec {words} exec release --output json < /dev/null > $SCRATCH/result\n")
    path.chmod(0o755)


def _git(scene: Scene, directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run git as the user does, whose hooks find tako."""
    environment: Mapping[str, str] = {**IDENTITY, **scene.tako.environment, "SCRATCH": str(scene.directory)}
    return subprocess.run(
        ["git", *words], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


def _state(checkout: Path) -> list[str]:
    asked = (("status", "--porcelain", "--branch"), ("log", "--format=%s"), ("config", "--list", "--local"))
    return [git(checkout, *words) for words in (*asked, ("for-each-ref",), ("ls-files", "--stage"))]


@pytest.mark.parametrize("hook", ["post-commit", "pre-push"])
def test_steps_do_not_work_in_the_repository_of_the_hook(scene: Scene, hook: str) -> None:
    """In a linked worktree, where git says to its hooks by absolute paths where the repository lies."""
    scene.subscriber("acme/web", "env")
    main = scene.library(_SCRATCH, FAN_OUT)
    checkout = scene.directory / "linked"
    git(main, "worktree", "add", "--quiet", "-b", "work", str(checkout))
    git(main, "init", "--quiet", "--bare", str(scene.directory / "pushed.git"))
    _hooked(main, hook)
    if hook == "post-commit":
        done = _git(scene, checkout, "commit", "--quiet", "--allow-empty", "-m", "mine")
    else:
        done = _git(scene, checkout, "push", "--quiet", str(scene.directory / "pushed.git"), "work")
    assert done.returncode == 0, done.stderr
    result = scene.status()
    assert (result["status"], children(result)["acme/web"]["status"]) == ("succeeded", "succeeded")
    assert _state(checkout) == [
        "## work",
        "mine\nfirst" if hook == "post-commit" else "first",
        git(main, "config", "--list", "--local"),
        git(main, "for-each-ref"),
        git(main, "ls-files", "--stage"),
    ]
    assert "core.bare=false" in git(checkout, "config", "--list", "--local")
    said = scene.tako("logs", "", "step-1").stdout.splitlines()
    assert said[-1] == "1"
    assert [line for line in said if line.partition("=")[0] in LOCATES_REPOSITORY] == []


def test_the_rest_of_what_git_reads_stays_in_the_users_checkout(scene: Scene) -> None:
    """And what config.yml names, because the user says so."""
    set_by_user = dict.fromkeys(LOCATES_REPOSITORY, "x") | {"GIT_SSH_COMMAND": "ssh -4", "GIT_EDITOR": "ed"}
    scene.settings(
        "environment: [GIT_CONFIG_COUNT, GIT_CONFIG_KEY_0, GIT_CONFIG_VALUE_0]\nisolation: process\n"
    )
    set_by_user |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "a.b", "GIT_CONFIG_VALUE_0": "c"}
    del set_by_user["GIT_CONFIG_PARAMETERS"]
    scene.subscriber("acme/web", "git config --get a.b; env | grep ^GIT_ | sort")
    checkout = scene.library("git config --get a.b; env | grep ^GIT_ | sort", FAN_OUT)
    done = scene.tako("exec", "release", cwd=checkout, env=set_by_user)
    assert done.code == 0, done.stderr
    given = ["GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=a.b", "GIT_CONFIG_VALUE_0=c"]
    shown = scene.tako("logs", "", "step-1").stdout.splitlines()
    assert shown == ["c", *given, "GIT_EDITOR=ed", "GIT_SSH_COMMAND=ssh -4"]
    child = children(scene.status())["acme/web"]["run_id"]
    assert scene.tako("logs", child, "step-1").stdout.splitlines() == ["c", *given]
