"""Whatever was stale, left out or not there is told: with --quiet, in the journal, in status, in JSON."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.git import Repositories
from tests.support.runner import Finished
from tests.support.scenes import FAN_OUT, Scene, children, kinds, subscription, tako_yml, workflow

pytestmark = pytest.mark.forked

_NOBODY = "nobody subscribes to built of acme/lib:default"
_APP = {"tako.yml": tako_yml({"check": workflow("true")}, [subscription()])}


def _release(scene: Scene, *options: str, code: int = 0) -> Finished:
    checkout = scene.directory / "repositories" / "acme" / "lib"
    done = scene.tako("exec", "release", "--isolation", "process", *options, cwd=checkout)
    assert done.code == code, done.stderr
    return done


def _resume(scene: Scene, *options: str, code: int = 0) -> Finished:
    [run] = scene.runs()
    done = scene.tako("exec", "--resume", run.name, "--isolation", "process", "-q", *options)
    assert done.code == code, done.stderr
    return done


def _warnings(scene: Scene) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = scene.status()["warnings"]
    return found


@pytest.fixture
def gone(scene: Scene, git_repo: Repositories) -> Path:
    """Give where the source of the registered acme/app was; acme/lib waits for it."""
    source = git_repo("acme/app", _APP)
    scene.library(FAN_OUT)
    assert scene.tako("cache", "add", "acme/app", "--from", str(source)).code == 0
    source.rename(source.with_name("away"))
    return source


def test_a_source_that_is_gone_is_told_also_where_all_is_quiet(scene: Scene, gone: Path) -> None:
    done = _release(scene, "--quiet")
    told = "acme/app cannot be fetched, so tako uses its last fetched state: "
    [line] = done.stderr.splitlines()
    assert line.startswith(f"tako: warning: acme/lib dependents: {told}")
    assert done.stdout == ""
    [run] = scene.runs()
    assert kinds(run).count("Warned") == 1
    assert told in scene.tako("status").stdout
    [warning] = _warnings(scene)
    assert warning["reason"].startswith(told)
    del warning["reason"]
    assert warning == {"run_id": run.name, "step": "dependents", "kind": "stale", "repository": "acme/app"}
    assert not gone.exists()


@pytest.mark.measured
def test_strictly_a_stale_source_fails_the_fan_out_until_it_is_back(scene: Scene, gone: Path) -> None:
    done = _release(scene, "--strict", "--output", "json", code=1)
    assert "tako: warning: acme/lib dependents: acme/app cannot be fetched" in done.stderr
    [step] = done.json["steps"]
    assert step["message"].startswith(
        "--strict: acme/app cannot be fetched, so tako uses its last fetched state"
    )
    assert (step["fan_out"]["children"], len(done.json["warnings"])) == ([], 1)
    # Whoever takes it up is as strict as who began it, unless told otherwise.
    _resume(scene, code=1)
    gone.with_name("away").rename(gone)
    _resume(scene)
    assert children(scene.status())["acme/app"]["status"] == "succeeded"


def test_a_strict_run_may_be_taken_up_less_strictly(scene: Scene, gone: Path) -> None:
    _release(scene, "--strict", "--quiet", code=1)
    _resume(scene, "--no-strict")
    assert children(scene.status())["acme/app"]["status"] == "succeeded"
    assert not gone.exists()


def test_the_settings_may_be_strict(scene: Scene, gone: Path) -> None:
    scene.settings("strict: true\n")
    _release(scene, code=1)
    _release(scene, "--no-strict")
    assert not gone.exists()


@pytest.mark.measured
def test_strictly_what_is_to_be_run_from_the_cache_is_current(scene: Scene, git_repo: Repositories) -> None:
    source = git_repo("acme/tool", {"tako.yml": tako_yml({"release": workflow("true", on="exec")})})
    assert scene.tako("cache", "add", "acme/tool", "--from", str(source)).code == 0
    shutil.rmtree(source)
    options = ("exec", "release", "--repo", "acme/tool", "--isolation", "process", "-q")
    refused = scene.tako(*options, "--strict")
    assert (refused.code, scene.runs()) == (4, [])
    assert "--strict: acme/tool cannot be fetched" in refused.stderr
    done = scene.tako(*options)
    assert done.code == 0, done.stderr
    assert "tako: warning: acme/tool: acme/tool cannot be fetched" in done.stderr
    [warning] = _warnings(scene)
    assert (warning["kind"], warning["step"]) == ("stale", "")


@pytest.mark.parametrize("template", ["", "url_template: file:///nowhere/{owner}/{name}.git\n"])
def test_a_repository_of_the_settings_that_cannot_be_had_is_told(scene: Scene, template: str) -> None:
    scene.subscriber("acme/app", "true")
    scene.settings(f"repositories: [acme/other]\n{template}")
    scene.library(FAN_OUT)
    done = _release(scene, "-q")
    assert "tako: warning: acme/lib dependents: acme/other of the settings is left out: " in done.stderr
    [warning] = _warnings(scene)
    assert (warning["kind"], warning["repository"]) == ("left_out", "acme/other")
    _release(scene, "-q", "--strict", code=1)


def test_nobody_who_subscribes_is_told_and_strictly_a_failure(scene: Scene) -> None:
    scene.library(FAN_OUT)
    assert _release(scene, "-q").stderr == f"tako: warning: acme/lib dependents: {_NOBODY}\n"
    [warning] = _warnings(scene)
    assert (warning["kind"], warning["reason"]) == ("no_subscribers", _NOBODY)
    done = _release(scene, "--strict", code=1)
    assert f"--strict: {_NOBODY}" in done.stderr


def test_a_broken_tako_yml_of_the_cache_is_named_whatever_it_is_about(scene: Scene) -> None:
    scene.subscriber("acme/app", "true")
    broken = tako_yml({"check": workflow("true")}, subscription=[subscription("acme/elsewhere")])
    scene.checkout("acme/typo", {"tako.yml": broken})
    scene.library(FAN_OUT)
    for _ in range(2):
        done = _release(scene, "-q")
        assert "acme/typo is left out: acme/typo:main/tako.yml:" in done.stderr
    _release(scene, "-q", "--strict", code=1)


def test_a_cache_that_does_not_exist_is_wrong_use(scene: Scene, tmp_path: Path) -> None:
    scene.library(FAN_OUT)
    (tmp_path / "file").touch()
    for directory, what in (("nowhere", "does not exist"), ("file", "is not a directory")):
        refused = _release(scene, "--cache-dir", str(tmp_path / directory), code=2)
        assert f"--cache-dir {tmp_path / directory} {what}" in refused.stderr
    assert scene.runs() == []
    assert scene.tako("cache", "--cache-dir", str(tmp_path / "nowhere"), "list").code == 2
    source = scene.git_repo("acme/app", _APP)
    add = ("cache", "--cache-dir", str(tmp_path / "new"), "add", "acme/app", "--from", str(source))
    assert scene.tako(*add).code == 0
    _release(scene, "--cache-dir", str(tmp_path / "new"), "--strict")
