from __future__ import annotations

import threading

import pytest

from tako.system.process.background import Background


def test_the_work_goes_on_while_something_else_is_done() -> None:
    go = threading.Event()
    background = Background(lambda: go.wait(60))
    go.set()
    assert background.result() is True


def test_what_the_work_raises_is_raised_where_its_result_is_taken() -> None:
    def fail() -> int:
        message = "no"
        raise LookupError(message)

    background = Background(fail)
    with pytest.raises(LookupError, match="no"):
        background.result()
