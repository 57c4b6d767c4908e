"""A fan-out whose repositories have to be fetched from a server that is not well all the time."""

from __future__ import annotations

import pytest

from tests.support.scenes import FAN_OUT, Scene, children, subscription, tako_yml, workflow
from tests.support.servers import Server, serving

pytestmark = pytest.mark.forked


def _settings(scene: Scene, server: Server) -> None:
    scene.settings(f"url_template: {server.url}/{{name}}.git\nrepositories: [acme/app]\nisolation: process\n")


def test_a_fan_out_fetches_again_what_a_server_could_not_give_for_a_moment(scene: Scene) -> None:
    config = tako_yml({"check": workflow("echo fetched")}, [subscription()])
    checkout = scene.git_repo("acme/app", {"tako.yml": config})
    with serving(checkout, scene.directory / "served", "app") as server:
        server.failing = 2
        _settings(scene, server)
        done = scene.tako("exec", "release", cwd=scene.library(FAN_OUT))
    assert done.code == 0, done.stderr
    assert "fetching acme/app: attempt 1 of 3 failed" in done.stderr
    assert "fetching acme/app: attempt 2 of 3 failed" in done.stderr
    assert "attempt 3 of 3" not in done.stderr
    assert children(scene.status())["acme/app"]["status"] == "succeeded"


def test_one_that_cannot_be_fetched_is_told_with_the_number_of_attempts(scene: Scene) -> None:
    scene.subscriber("acme/web", "true")
    checkout = scene.git_repo("acme/app", {"tako.yml": tako_yml({"check": workflow("true")})})
    with serving(checkout, scene.directory / "served", "app") as server:
        server.failing = 1000
        _settings(scene, server)
        done = scene.tako("exec", "release", cwd=scene.library(FAN_OUT))
    assert "acme/app of the settings is left out" in done.stderr
    assert "(3 attempts)" in done.stderr
    assert list(children(scene.status())) == ["acme/web"]
