"""What was remembered of the isolation levels is believed only as it is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tako.layout.home import Home
from tako.sandbox import levels
from tako.sandbox.levels import ProbeResults
from tako.values import asdict

NOTHING_FAILED = ProbeResults(**dict.fromkeys(ProbeResults.__annotations__, ""))
ANEW = ProbeResults(**dict.fromkeys(ProbeResults.__annotations__, "tried anew"))


def _write(home: Home, **changes: object) -> None:
    findings = asdict(NOTHING_FAILED) | changes
    home.isolation_probed.write_text(json.dumps({"key": levels._key(home, ""), "findings": findings}))


@pytest.mark.parametrize(
    "changes",
    [{"landlock": 0}, {"namespace": None}, {"overlay": False}, {"landlock": []}, {"landlock": {"a": 1}}],
)
def test_a_damaged_memory_of_a_level_is_tried_anew(
    tako_home: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    home = Home(tako_home)
    tako_home.mkdir()
    monkeypatch.setattr(levels, "probed", lambda *_: ANEW)
    _write(home)
    assert levels.remembered(home, "", {}) == NOTHING_FAILED
    _write(home, **changes)
    assert levels.remembered(home, "", {}) == ANEW
