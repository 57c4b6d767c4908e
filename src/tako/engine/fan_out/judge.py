"""Evaluates what subscribers wrote for one fan-out, each repository within its share of computing time.

    condition ─┬─ cheap by its estimate ─▶ here, in the planning thread
               └─ dear ─▶ `expressions.cel_server`, which can be ended at any moment
    template ─▶ here, with a look at the time before each filter of it

In: texts and the event. Out: answers. One that takes too long raises `TooExpensiveError`: its repository's
failure. After `stop`, from any thread, everything raises `PlanningStoppedError`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tako.config.inputs import resolve_inputs
from tako.config.schema import FilterTime, Workflow
from tako.errors import TakoError, UnexpectedError
from tako.expressions import cel_server
from tako.expressions.cel import CelScope, compile_condition
from tako.expressions.templates import render_value
from tako.system.process.companion import Companion, CompanionGoneError
from tako.system.user_environment import helper_environment, user_environment
from tako.units import format_duration

#: What is estimated to be less than a tenth of a second, in characters looked at.
_CHEAP = 20_000_000
#: What each repository may use whatever the others do, in seconds.
_OWN_S = 0.1
#: About what another process costs, whose first one was ended.
_START_S = 0.2
_SHOWN = 200
_NO_ANSWER_S = 60.0


class TooExpensiveError(TakoError):
    """What one repository's subscriptions ask for takes more computing than it may use."""


class PlanningStoppedError(TakoError):
    """Nobody wants the plan any more."""


def _start_server() -> Companion:
    arguments = [sys.executable, "-m", cel_server.MODULE]
    return Companion(arguments, helper_environment(user_environment()))


class Judge:
    """For one plan of one fan-out; only `stop` may be called from another thread."""

    def __init__(
        self, limits: FilterTime | None = None, start: Callable[[], Companion] = _start_server
    ) -> None:
        """`start` starts the process for what is dear; it is started when it is needed."""
        self._limits = limits or FilterTime()
        self._start = start
        self._shared_s = self._limits.fan_out_s
        self._used_s: dict[str, float] = {}
        self._scope: Mapping[str, object] = {}
        self._values = CelScope({})
        self._lock = threading.Lock()
        self._server: Companion | None = None
        self._stopped = False

    def see(self, scope: Mapping[str, object]) -> None:
        """Have everything that follows read this scope."""
        self._scope = scope
        self._values = CelScope(scope)

    def stop(self) -> None:
        """End what is under way, from any thread."""
        with self._lock:
            self._stopped = True
            if self._server is not None:
                self._server.end()

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.close()

    def check(self) -> None:
        """Raise `PlanningStoppedError` if it was stopped."""
        if self._stopped:
            message = "planning was stopped"
            raise PlanningStoppedError(message)

    def holds(self, repository: str, text: str) -> bool:
        """Say whether a condition of one of its subscriptions holds; raises as a condition does."""
        what = f"filter `{_short(text)}`"
        with self._turn(repository, what) as left_s:
            condition = compile_condition(text, tuple(self._scope))
            if condition.cost(self._values) <= _CHEAP:
                return condition.evaluate(self._values)
        return self._asked(repository, what, text, left_s)

    def inputs(
        self, repository: str, workflow: Workflow, templates: Mapping[str, object]
    ) -> dict[str, object]:
        """Give the values of a workflow's inputs from a subscription's templates; raises as both do."""
        with self._turn(repository, "what its inputs are given") as left_s:
            until = time.thread_time() + left_s

            def pause() -> None:
                self.check()
                if time.thread_time() > until:
                    raise self._too_much(repository, "what its inputs are given")

            given = {name: render_value(value, self._scope, pause) for name, value in templates.items()}
            return resolve_inputs(workflow, given, pause)

    @contextmanager
    def _turn(self, repository: str, what: str) -> Iterator[float]:
        """Count the time that is used here; gives the seconds that are left."""
        self.check()
        left_s = min(self._left_s(repository))
        if left_s <= 0:
            raise self._too_much(repository, what)
        before = time.thread_time()
        try:
            yield left_s
        finally:
            self._charge(repository, time.thread_time() - before)

    def _left_s(self, repository: str) -> tuple[float, float]:
        """What its own limit leaves it, and what the fan-out's does."""
        used_s = self._used_s.get(repository, 0.0)
        return self._limits.repository_s - used_s, max(0.0, _OWN_S - used_s) + max(0.0, self._shared_s)

    def _charge(self, repository: str, used_s: float) -> None:
        before = self._used_s.get(repository, 0.0)
        after = self._used_s[repository] = before + used_s
        self._shared_s -= max(0.0, after - _OWN_S) - max(0.0, before - _OWN_S)

    def _too_much(self, repository: str, what: str) -> TooExpensiveError:
        own_s, shared_s = self._left_s(repository)
        limit_s = self._limits.repository_s if own_s <= shared_s else self._limits.fan_out_s
        whose = "one repository" if own_s <= shared_s else "a fan-out"
        message = f"{what} needs more computing than {whose} may use: {format_duration(limit_s)}"
        return TooExpensiveError(message, hint="make it simpler, or see `filter_time` of config.yml")

    def _asked(self, repository: str, what: str, text: str, left_s: float) -> bool:
        if self._shared_s <= 0:
            # What each may use in any case is too little for it: no process is started to find that out.
            raise self._too_much(repository, what)
        try:
            answer = cel_server.answered(
                self._running().ask(cel_server.condition_question(text, left_s), _NO_ANSWER_S)
            )
        except CompanionGoneError as error:
            self.close()
            self.check()
            self._charge(repository, left_s)
            self._shared_s -= _START_S
            if error.out_of_time:
                raise self._too_much(repository, what) from error
            message = f"{what} cannot be evaluated: of the process that does it, {error.message}"
            raise UnexpectedError(message) from error
        self._charge(repository, answer.used_s)
        if answer.error is not None:
            raise answer.error
        return answer.holds

    def _running(self) -> Companion:
        """The process, which knows the scope."""
        with self._lock:
            server = self._server
            if server is None:
                self.check()
                server = self._server = self._start()
            else:
                return server
        server.ask(cel_server.scope_question(self._scope), _NO_ANSWER_S)
        return server


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
