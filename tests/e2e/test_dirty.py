"""The result of a run in a checkout with uncommitted changes."""

from __future__ import annotations

import pytest

from tests.support.scenes import Scene

pytestmark = pytest.mark.forked


def test_a_dirty_checkout_is_told_at_the_start_and_in_the_result(scene: Scene) -> None:
    checkout = scene.library("true", files={"file": "old\n"})
    clean = scene.tako("exec", "release", "--output", "json", cwd=checkout)
    assert (clean.json["dirty"], "uncommitted" in clean.stderr) == (False, False)
    (checkout / "untracked").touch()
    assert scene.tako("exec", "release", "--output", "json", cwd=checkout).json["dirty"] is False
    (checkout / "file").write_text("new\n")
    dirty = scene.tako("exec", "release", "--output", "json", cwd=checkout)
    assert dirty.json["dirty"] is True
    assert dirty.json["commit"] == clean.json["commit"]
    assert "uncommitted changes" in scene.tako("exec", "release", cwd=checkout).stderr
