from __future__ import annotations

import pytest

from tako.system.user_environment import user_environment, withhold


def test_withheld_variables_are_returned_once_and_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ONE", "TWO", "THREE"):
        monkeypatch.setenv(name, name.lower())
    assert withhold(["ONE", "TWO", "MISSING"], spare=("TWO",)) == {"ONE": "one", "TWO": "two"}
    left = {name: user_environment().get(name) for name in ("ONE", "TWO", "THREE")}
    assert left == {"ONE": None, "TWO": "two", "THREE": "three"}
    assert withhold(["ONE"]) == {}
