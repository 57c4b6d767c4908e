"""Quotas of config.yml, from the file to what runs at the same time."""

from __future__ import annotations

import json

import pytest

from tests.support.runner import GENEROUS_S
from tests.support.scenes import FAN_OUT, Scene, errors, subscription, tako_yml, workflow

pytestmark = pytest.mark.forked

QUOTAS = """\
isolation: process
quotas:
  Acme/Web: {mem_limit: 100Mi}
  default: {mem_limit: 500Mi, process_limit: 60}
"""


def test_runs_of_one_repository_stay_within_its_quota_and_the_others_go_on(scene: Scene) -> None:
    box, go = scene.mailbox(), scene.mailbox("go")
    scene.settings(QUOTAS)
    busy = scene.directory / "busy"
    alone = f"mkdir {busy}; echo web >{box.path}; read line <{go.path}; rmdir {busy}"
    names = ("one", "two", "three")
    web = {
        name: workflow(alone, parallel=True, resources={"mem_limit": mem_limit})
        for name, mem_limit in zip(names, ("60Mi", "70Mi", "50Mi"), strict=True)
    }
    scene.checkout("acme/web", {"tako.yml": tako_yml(web, [subscription(name=name) for name in names])})
    scene.subscriber("acme/zoo", f"echo zoo >{box.path}; read line <{go.path}")
    checkout = scene.library(FAN_OUT)
    with scene.tako.started("exec", "release", "--jobs", "4", "--output", "json", cwd=checkout) as process:
        # All that may run now has come: a second of acme/web would have found the directory there.
        assert sorted(box.lines(2)) == ["web", "zoo"]
        go.path.write_text("go\n" * 4)
        told, _ = process.communicate(timeout=GENEROUS_S)
    assert process.returncode == 0, told
    statuses = [child["status"] for child in json.loads(told)["steps"][0]["fan_out"]["children"]]
    assert statuses == ["succeeded"] * 4


def test_what_a_quota_can_never_hold_is_refused_and_what_is_undeclared_is_bounded(scene: Scene) -> None:
    scene.settings(QUOTAS)
    scene.subscriber("acme/big", "true", resources={"mem_limit": "1Gi"})
    scene.subscriber("acme/forks", "for i in $(seq 300); do sleep 600 & done; sleep 600")
    done = scene.tako("exec", "release", "--output", "json", cwd=scene.library(FAN_OUT))
    assert done.code == 1
    big, forks = (errors(done.json)[f"acme/{name}"] for name in ("big", "forks"))
    assert (big["kind"], big["started"]) == ("limit_exceeded", None)
    assert "it declares mem_limit 1.0 GiB, its quota in config.yml is 500.0 MiB" in big["message"]
    assert (forks["kind"], forks["limit"], forks["limit_value"]) == ("limit_exceeded", "processes", 60)


def test_a_root_run_of_a_cached_repository_has_its_quota_too(scene: Scene) -> None:
    scene.settings(QUOTAS)
    release = workflow("true", on="exec", resources={"mem_limit": "1Gi"})
    scene.checkout("acme/web", {"tako.yml": tako_yml({"release": release})})
    done = scene.tako("exec", "release", "--repo", "acme/web")
    assert done.code == 4
    assert "its quota in config.yml is 100.0 MiB" in done.stderr
    assert scene.runs() == []
