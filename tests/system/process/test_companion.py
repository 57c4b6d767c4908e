from __future__ import annotations

import pytest

from tako.system.process.companion import Companion, CompanionGoneError


def test_nobody_can_have_its_number_before_it_gets_no_more_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    companion = Companion(["/bin/sh", "-c", "read -r _; exit 3"], {})
    close, collected = companion.close, []

    def closing() -> None:
        collected.append(companion._process.returncode)
        close()

    monkeypatch.setattr(companion, "close", closing)
    with pytest.raises(CompanionGoneError, match="it ended"):
        companion.ask(b"?", 60)
    assert collected == [None]
    companion.end()
    assert companion._process.returncode == 3


def test_one_that_is_late_is_ended_without_more_waiting() -> None:
    companion = Companion(["/bin/sh", "-c", "read -r _; exec sleep 600"], {})
    with pytest.raises(CompanionGoneError, match="no answer in time"):
        companion.ask(b"?", 0.05)
    assert companion._process.returncode == -9
