"""What a person is told in cases that are easily told wrong."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.runner import Tako
from tests.support.scenes import FAN_OUT, Scene, children, subscription, tako_yml, workflow

pytestmark = pytest.mark.forked

NOTICE = "nobody subscribes to built of acme/lib:default"


def test_the_newest_run_is_the_last_one_also_within_one_second(scene: Scene) -> None:
    checkout = scene.library("true")
    for _ in range(6):
        ran = scene.tako("exec", "release", "--output", "json", cwd=checkout).json["run_id"]
        assert scene.status()["run_id"] == ran
        assert scene.tako("runs", "--output", "json").json[0]["run_id"] == ran


def test_the_timeout_of_a_fan_out_step_counts(scene: Scene) -> None:
    scene.subscriber("acme/app", "sleep 600")
    checkout = scene.library({**FAN_OUT, "timeout": "300ms"})
    result = scene.tako("exec", "release", "--output", "json", cwd=checkout)
    assert result.code == 124
    assert children(result.json)["acme/app"]["status"] == "timed_out"


def test_a_condition_may_ask_whether_there_is_an_event(scene: Scene) -> None:
    asks = {"id": "asks", "if": "has(event.type)", "run": "true"}
    scene.subscriber("acme/app", asks, on=["exec", "event"])
    by_event = scene.tako("exec", "release", "--output", "json", cwd=scene.library(FAN_OUT)).json
    assert children(by_event)["acme/app"]["steps"][0]["status"] == "succeeded"
    by_hand = scene.tako("exec", "check", "--repo", "acme/app", "--output", "json").json
    assert by_hand["steps"][0]["status"] == "skipped"


def test_a_step_whose_output_is_not_found_shows_what_it_said(scene: Scene) -> None:
    step = {"id": "version", "run": "echo no such thing", "produces": {"outputs": {"v": "version (.+)"}}}
    result = scene.tako("exec", "release", cwd=scene.library(step))
    assert result.code == 1
    assert "    no such thing\n    all of it: tako logs" in result.stderr


@pytest.mark.parametrize("name", ["TAKO_RUN_ID", "A-B"])
def test_a_step_cannot_set_variables_that_tako_keeps_or_no_shell_knows(scene: Scene, name: str) -> None:
    result = scene.tako("exec", "release", cwd=scene.library(f"echo {name}=x >>$TAKO_ENV", "true"))
    assert result.code == 1
    assert f"$TAKO_ENV: {'names that start with TAKO_' if name[0] == 'T' else repr(name)}" in result.stderr


def test_what_is_not_supported_yet_is_told_with_its_place(scene: Scene) -> None:
    checkout = scene.library({"id": "one", "run": "true", "image": "debian"})
    line = next(
        number
        for number, text in enumerate((checkout / "tako.yml").read_text().splitlines(), 1)
        if '"image"' in text
    )
    result = scene.tako("exec", "release", cwd=checkout)
    assert result.code == 2
    assert f"tako.yml:{line}:" in result.stderr
    assert "workflows.release.steps[0].image: image is not supported yet" in result.stderr


def test_an_event_without_subscribers_is_told_once_and_kept(scene: Scene) -> None:
    result = scene.tako("exec", "release", cwd=scene.library(FAN_OUT))
    assert result.code == 0
    assert result.stderr.count(NOTICE) == 1
    assert result.stdout.count(NOTICE) == 1


def test_the_outputs_of_two_children_of_one_repository_are_both_there(scene: Scene) -> None:
    config = tako_yml(
        {name: workflow(f"echo {name}=1 >>$TAKO_OUTPUT") for name in ("one", "two")},
        [subscription(name="one"), subscription(name="two")],
    )
    scene.checkout("acme/app", {"tako.yml": config})
    result = scene.tako("exec", "release", "--output", "json", cwd=scene.library(FAN_OUT)).json
    assert result["steps"][0]["outputs"] == {"acme/app": {"one": "1", "two": "1"}}


def test_a_shallow_clone_is_named_as_such(scene: Scene) -> None:
    whole = scene.library("true")
    shallow = scene.directory / "shallow"
    for depth in (("commit", "--allow-empty", "-qm", "more"), ("clone", "-q", "--depth=1")):
        more = [f"file://{whole}", str(shallow)] if depth[0] == "clone" else []
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *depth, *more], cwd=whole, check=True)
    result = scene.tako("cache", "add", "acme/lib", "--from", shallow)
    assert result.code == 4
    assert "a shallow clone?" in result.stderr


def test_a_directory_that_is_not_used_is_told_once(scene: Scene) -> None:
    scene.checkout("acme/app", {"tako.yml": "version: 1\n"})
    (scene.tako.home / "cache" / "repos" / "acme" / "app" / "tako.yml").write_text("version: 1\n")
    result = scene.tako("exec", "release", cwd=scene.library(FAN_OUT))
    assert result.stderr.count("is not used: put it one level deeper") == 1


def test_a_subscriber_that_cannot_be_read_is_named_without_a_workflow(scene: Scene) -> None:
    scene.checkout("acme/broken", {"tako.yml": "version: 0.1.0\nsubscriptions: [acme/lib]\n"})
    result = scene.tako("exec", "release", cwd=scene.library(FAN_OUT))
    assert result.code == 1
    assert "✗ acme/broken: acme/broken:main/tako.yml:2:" in result.stderr


# What exec is asked for is the run, what the others are asked for is their output.
@pytest.mark.parametrize(
    ("command", "expected"), [(("exec", "release"), 0), (("status",), 1), (("runs",), 1)]
)
def test_a_reader_that_goes_away_is_no_reason_for_noise(
    scene: Scene, command: tuple[str, ...], expected: int
) -> None:
    checkout = scene.library("true")
    assert scene.tako("exec", "release", cwd=checkout).code == 0
    code, noise = _without_reader(scene.tako, checkout, command)
    assert code == expected
    assert "rror" not in noise
    assert "lost sys.std" not in noise


def _without_reader(tako: Tako, checkout: Path, command: tuple[str, ...]) -> tuple[int, str]:
    with tako.started(*command, cwd=checkout) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        try:
            _, stderr = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            pytest.fail("it does not end")
    return process.returncode, stderr
