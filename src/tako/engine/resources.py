"""What may start now: free slots, a repository's turn, a place in the fan-out.

Pure bookkeeping, no I/O. Ready segments are ordered: a run that goes on before a new child, a
deep one before a shallow one, else first come, first served. What is blocked waits aside with what
blocks it, so that 10,000 ready children cost nothing while they wait.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque

from attrs import frozen


@frozen
class Claim:
    """What one segment needs; `turn` is its repository, empty if the workflow waives the turn."""

    run_id: str
    turn: str
    place: str
    depth: int
    goes_on: bool


class ResourceManager:
    """Hands out slots, turns and places; a waiting run holds none of them."""

    def __init__(self, slots: int) -> None:
        """`slots` bounds the segments that run at once over the whole tree."""
        self._slots = slots
        self._ready: list[tuple[tuple[bool, int, int], Claim]] = []
        self._count = 0
        self._held: dict[str, Claim] = {}
        self._turns: set[str] = set()
        self._places: dict[str, int] = defaultdict(int)
        self._limits: dict[str, int] = {}
        self._aside: dict[str, deque[tuple[tuple[bool, int, int], Claim]]] = defaultdict(deque)
        self._dropped: set[str] = set()

    def limit(self, place: str, most: int) -> None:
        """At most `most` segments of the fan-out `place` run at once."""
        self._limits[place] = most

    def want(self, claim: Claim) -> None:
        """Queue a segment."""
        self._dropped.discard(claim.run_id)
        self._count += 1
        heapq.heappush(self._ready, ((not claim.goes_on, -claim.depth, self._count), claim))

    def drop(self, run_id: str) -> None:
        """Forget a queued segment."""
        self._dropped.add(run_id)

    def grant(self) -> list[str]:
        """The runs that may start a segment now, in order; they hold what they need from now on."""
        granted = []
        while self._ready and len(self._held) < self._slots:
            entry = heapq.heappop(self._ready)
            claim = entry[1]
            if claim.run_id in self._dropped:
                self._dropped.discard(claim.run_id)
                continue
            blocked_by = self._blocked_by(claim)
            if blocked_by:
                self._aside[blocked_by].append(entry)
                continue
            self._hold(claim)
            granted.append(claim.run_id)
        return granted

    def release(self, run_id: str) -> None:
        """Give back what the run's segment held; no error if it held nothing."""
        claim = self._held.pop(run_id, None)
        if claim is None:
            return
        self._turns.discard(claim.turn)
        self._places[claim.place] -= 1
        for blocker in (f"turn {claim.turn}", f"place {claim.place}"):
            if self._aside.get(blocker):
                heapq.heappush(self._ready, self._aside[blocker].popleft())

    @property
    def running(self) -> int:
        """Segments that hold a slot."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """Segments that wait, also those set aside."""
        return len(self._ready) + sum(map(len, self._aside.values()))

    def _blocked_by(self, claim: Claim) -> str:
        if claim.turn and claim.turn in self._turns:
            return f"turn {claim.turn}"
        most = self._limits.get(claim.place)
        if most is not None and self._places[claim.place] >= most:
            return f"place {claim.place}"
        return ""

    def _hold(self, claim: Claim) -> None:
        self._held[claim.run_id] = claim
        if claim.turn:
            self._turns.add(claim.turn)
        self._places[claim.place] += 1
