from __future__ import annotations

import select
import signal
from collections.abc import Iterator

import pytest

from tako.engine.steps.orders import Orders

USED = (signal.SIGRTMIN, signal.SIGUSR2, signal.SIGUSR1, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)


@pytest.fixture
def orders() -> Iterator[Orders]:
    """Give the orders of this process, whose signals are put back as they were."""
    before = {number: signal.getsignal(number) for number in USED}
    made = Orders()
    yield made
    made.close()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_nothing_was_asked(orders: Orders) -> None:
    assert (orders.read(), orders.stop) == ([], "")
    assert not select.select([orders.descriptor], [], [], 0)[0]


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGUSR2, "cancelled"), (signal.SIGUSR1, "timed_out"), (signal.SIGRTMIN, "min_free")],
)
def test_how_everything_is_to_end(orders: Orders, number: signal.Signals, status: str) -> None:
    signal.raise_signal(number)
    assert select.select([orders.descriptor], [], [], 0)[0]
    assert (orders.read(), orders.stop) == ([], status)


def test_the_first_reason_to_end_is_the_one(orders: Orders) -> None:
    signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR2)
    orders.read()
    assert orders.stop == "timed_out"


def test_pausing_is_passed_on_in_order(orders: Orders) -> None:
    for number in (signal.SIGTSTP, signal.SIGCONT, signal.SIGTSTP):
        signal.raise_signal(number)
    assert orders.read() == [signal.SIGSTOP, signal.SIGCONT, signal.SIGSTOP]
    assert orders.stop == ""


def test_a_signal_that_is_no_order_is_passed_over(orders: Orders) -> None:
    signal.signal(signal.SIGWINCH, lambda *_: None)
    signal.raise_signal(signal.SIGWINCH)
    assert (orders.read(), orders.stop) == ([], "")
