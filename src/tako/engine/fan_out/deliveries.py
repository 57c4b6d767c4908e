"""Which event has reached which subscription in one execution tree: none does twice.

In: events and subscriptions, and what a tree that is taken up again had planned before. Out: yes or no.
May be used from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from tako.errors import UsageError
from tako.journal.records import ChildPlanned
from tako.repositories.reference import parse_repository
from tako.values import value

CHILDREN_MAX = 10_000


@value
class Delivery:
    """One child that was planned, with the fingerprint of the event that it answers."""

    event: str
    plan: ChildPlanned


class Deliveries:
    """All children that were planned in a tree, by event and subscription."""

    def __init__(self, before: Callable[[], Iterable[Delivery]] = tuple) -> None:
        """`before` gives what was planned when the tree ran before; asked once, when it first matters."""
        self._before: Callable[[], Iterable[Delivery]] | None = before
        self._seen: set[tuple[str, str, str, int]] = set()
        self._children = 0
        self._lock = threading.Lock()

    def is_first(self, event: str, plan: ChildPlanned) -> bool:
        """Whether the event of that fingerprint has not reached this subscription; it has from now on."""
        key = _key(event, plan)
        with self._lock:
            self._recall()
            if key in self._seen:
                return False
            self._seen.add(key)
        return True

    def forget(self, event: str, plans: Iterable[ChildPlanned]) -> None:
        """Undo what `is_first` noted: these children will not be started."""
        keys = [_key(event, plan) for plan in plans]
        with self._lock:
            self._seen.difference_update(keys)

    def count(self, children: int) -> None:
        """Take so many more children into account; raises `UsageError` if that is too many."""
        with self._lock:
            self._recall()
            self._children += children
            if self._children > CHILDREN_MAX:
                message = f"this run would have more than {CHILDREN_MAX} children"
                raise UsageError(message)

    def _recall(self) -> None:
        if self._before is not None:
            before = [_key(delivery.event, delivery.plan) for delivery in self._before()]
            self._children += len(before)
            self._seen.update(before)
            self._before = None


def _key(event: str, plan: ChildPlanned) -> tuple[str, str, str, int]:
    return event, parse_repository(plan.repository).key, plan.workflow, plan.subscription
