"""How much computing filters and templates may take, and that whoever waits can stop them.

The conditions are harmless: a few more seconds than tako's own limit, which the tests make small.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tako.config.schema import FilterTime, Input, Workflow
from tako.engine.fan_out.judge import Judge, PlanningStoppedError, TooExpensiveError, _start_server
from tako.errors import InputsInvalidError, UnexpectedError
from tako.expressions.errors import ExpressionError, FieldMissingError
from tako.system.process.companion import Companion

TEXT = "y" * 900_000
SCOPE = {"event": {"payload": {"text": TEXT, "version": "1.2.3"}}}
_MISSES = [f'!event.payload.text.contains("{"y" * 20}{number}")' for number in range(60)]
#: Looks at the text sixty times: some tenths of a second.
DEAR = " && ".join(_MISSES)
CHEAP = 'event.payload.version == "1.2.3"'


class Counting:
    """Starts the real process, and counts how often."""

    def __init__(self) -> None:
        self.started: list[Companion] = []

    def __call__(self) -> Companion:
        self.started.append(_start_server())
        return self.started[-1]


@contextmanager
def _judge(repository_s: float = 60.0, fan_out_s: float = 600.0) -> Iterator[tuple[Judge, Counting]]:
    counting = Counting()
    judge = Judge(FilterTime(repository_s, fan_out_s), counting)
    judge.see(SCOPE)
    try:
        yield judge, counting
    finally:
        judge.close()


def test_what_is_cheap_needs_no_process() -> None:
    with _judge() as (judge, counting):
        assert judge.holds("acme/a", CHEAP)
        assert not judge.holds("acme/a", "event.payload.version == '2'")
        with pytest.raises(FieldMissingError):
            judge.holds("acme/a", "event.payload.nope")
        with pytest.raises(ExpressionError, match="Syntax error"):
            judge.holds("acme/a", "1 +")
        assert counting.started == []


def test_what_is_dear_has_one_process_for_all_and_gives_the_same_answers() -> None:
    with _judge() as (judge, counting):
        assert judge.holds("acme/a", DEAR)
        assert not judge.holds("acme/b", f"!({DEAR})")
        with pytest.raises(FieldMissingError, match='no field "nope"'):
            judge.holds("acme/b", f"({DEAR}) && event.payload.nope == 1")
        with pytest.raises(ExpressionError, match="divide by zero"):
            judge.holds("acme/b", f"({DEAR}) && 1 / 0 == 1")
        assert len(counting.started) == 1


def test_a_repository_that_needs_more_than_its_share_is_told_so_and_the_others_go_on() -> None:
    with _judge(repository_s=0.15) as (judge, _):
        with pytest.raises(TooExpensiveError) as caught:
            judge.holds("acme/greedy", DEAR)
        assert "filter `!event.payload.text.contains" in caught.value.message
        assert caught.value.message.endswith("needs more computing than one repository may use: 150ms")
        with pytest.raises(TooExpensiveError):
            judge.holds("acme/greedy", CHEAP)
        assert judge.holds("acme/modest", CHEAP)


def test_a_fan_out_has_a_share_too_and_who_is_cheap_does_not_need_it() -> None:
    with _judge(fan_out_s=0.05) as (judge, counting):
        for name in ("acme/a", "acme/b", "acme/c"):
            with pytest.raises(TooExpensiveError, match="than a fan-out may use: 50ms"):
                judge.holds(name, DEAR)
        assert len(counting.started) == 1
        assert judge.holds("acme/c", CHEAP)


def test_templates_count_and_are_ended_between_their_filters() -> None:
    workflow = Workflow("check", inputs={"v": Input("v")})
    dear = " ".join(["{{ .event.payload | to_json | length }}"] * 2000)
    with _judge(repository_s=0.15) as (judge, _):
        before = time.thread_time()
        with pytest.raises(TooExpensiveError, match="what its inputs are given needs more computing"):
            judge.inputs("acme/greedy", workflow, {"v": dear})
        assert time.thread_time() - before < 5
        given = {"v": "{{ .event.payload.version }}"}
        assert judge.inputs("acme/modest", workflow, given) == {"v": "1.2.3"}
        with pytest.raises(InputsInvalidError):
            judge.inputs("acme/modest", workflow, {"nope": "x"})


def test_a_stop_ends_what_is_under_way_at_once() -> None:
    with _judge() as (judge, counting):
        counting.started.append(judge._running())
        asked = threading.Event()
        ask = counting.started[0].ask

        def announced(question: bytes, timeout_s: float) -> bytes:
            asked.set()
            return ask(question, timeout_s)

        counting.started[0].ask = announced  # type: ignore[method-assign]

        def stop() -> None:
            asked.wait(20)
            judge.stop()

        stopper = threading.Thread(target=stop, daemon=True)
        stopper.start()
        with pytest.raises(PlanningStoppedError):
            judge.holds("acme/a", DEAR)
        stopper.join()
        with pytest.raises(PlanningStoppedError):
            judge.holds("acme/a", CHEAP)


def test_a_process_that_dies_otherwise_fails_that_condition_alone() -> None:
    with _judge() as (judge, counting):
        judge._running().end()
        with pytest.raises(UnexpectedError, match="it ended by SIGKILL"):
            judge.holds("acme/a", DEAR)
        assert judge.holds("acme/b", DEAR)
        assert len(counting.started) == 2
