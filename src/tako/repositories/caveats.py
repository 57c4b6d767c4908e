"""Caveats of a result: a stale source, a repository left out, no subscribers.

In: findings of the cache and of planning. Out: each caveat once, in the order of discovery. Users
know them as warnings.
"""

from __future__ import annotations

import threading

from tako.values import value

#: An old state is used, because the source cannot be fetched.
STALE = "stale"
#: A repository that may subscribe was not looked at.
LEFT_OUT = "left_out"
#: A snapshot holds less than its source.
INCOMPLETE = "incomplete"
NO_SUBSCRIBERS = "no_subscribers"
#: Fan-outs are nested nearly as deep as they may.
NESTED = "nested"
#: Something was to be shown that is not there any more.
DAMAGED = "damaged"
#: With these nobody can say of any event that it reached all whom it is for.
STRICT = frozenset({STALE, LEFT_OUT})


@value
class Caveat:
    """One of them; `reason` is a sentence that names the repository, `repository` may be empty."""

    kind: str
    repository: str
    reason: str


class Caveats:
    """All of one execution tree; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[Caveat, None] = {}
        self._taken = 0

    def add(self, kind: str, repository: str, reason: str) -> None:
        """Take one in, as one line; one that is known already counts once."""
        line = "; ".join(part.strip() for part in reason.splitlines() if part.strip())
        with self._lock:
            self._found.setdefault(Caveat(kind, repository, line))

    def all(self) -> tuple[Caveat, ...]:
        """All so far."""
        with self._lock:
            return tuple(self._found)

    def new(self) -> tuple[Caveat, ...]:
        """Those that this has not given yet."""
        with self._lock:
            new = tuple(self._found)[self._taken :]
            self._taken += len(new)
            return new
