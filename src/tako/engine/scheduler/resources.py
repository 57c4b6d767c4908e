"""What may start now: free slots, a repository's turn, a place in the fan-out, room in quota and machine.

Pure bookkeeping, no I/O. Ready segments are ordered: a run that goes on before a new child, a
deep one before a shallow one, else first come, first served. What is blocked waits aside with what
blocks it, so that 10,000 ready children cost nothing while they wait. Whenever something of what blocks
gets free, the first that waits for it comes back; if that one cannot use it, the next.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from operator import add, le, sub

from tako.values import field, value


@value
class Amounts:
    """Thousandths of a CPU, bytes of memory and disk; None is undeclared: a slot's share of what there is."""

    cpu: int | None = None
    memory: int | None = None
    disk: int | None = None
    #: Only quotas bound it.
    tasks: int | None = None


@value
class Quota:
    """What all segments of one repository may use together, and what one segment needs of it."""

    repository: str = ""
    most: Amounts = field(factory=Amounts)
    needs: Amounts = field(factory=Amounts)


@value
class Claim:
    """What one segment needs; `turn` is its repository, empty if the workflow waives the turn."""

    run_id: str
    turn: str
    place: str
    depth: int
    goes_on: bool
    needs: Amounts = field(factory=Amounts)
    quota: Quota = field(factory=Quota)


#: For a tree without declared amounts.
BOUNDLESS = Amounts(0, 0, 0)
_ENDLESS = 1 << 62


def _plain(capacity: Amounts) -> tuple[int, ...]:
    """What there is, each as a number; 0 everywhere is without bounds."""
    amounts = (capacity.cpu or 0, capacity.memory or 0, capacity.disk or 0)
    return amounts if any(amounts) else (_ENDLESS, _ENDLESS, _ENDLESS)


def _each(amounts: Amounts) -> tuple[int, ...]:
    return (amounts.cpu or 0, amounts.memory or 0, amounts.disk or 0, amounts.tasks or 0)


def _most(quota: Quota) -> tuple[int | None, ...]:
    return (quota.most.cpu, quota.most.memory, quota.most.disk, quota.most.tasks)


class ResourceManager:
    """Hands out slots, turns and places; a waiting run holds none of them."""

    def __init__(self, slots: int, capacity: Amounts = BOUNDLESS) -> None:
        """`slots` bounds the segments that run at once over the whole tree, `capacity` what they declare."""
        self._slots = slots
        self._capacity = _plain(capacity)
        self._used: tuple[int, ...] = (0, 0, 0)
        self._ready: list[tuple[tuple[bool, int, int], Claim]] = []
        self._count = 0
        self._held: dict[str, Claim] = {}
        self._turns: set[str] = set()
        self._places: dict[str, int] = defaultdict(int)
        self._limits: dict[str, int] = {}
        self._aside: dict[str, list[tuple[tuple[bool, int, int], Claim]]] = defaultdict(list)
        self._dropped: set[str] = set()
        self._quotas: dict[str, tuple[int, ...]] = {}

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
        for repository in list(self._quotas):
            self._wake_for_quota(repository)

    def grant(self) -> list[str]:
        """The runs that may start a segment now, in order; they hold what they need from now on."""
        granted = []
        while self._ready and len(self._held) < self._slots:
            entry = heapq.heappop(self._ready)
            claim = entry[1]
            if claim.run_id in self._dropped:
                self._dropped.discard(claim.run_id)
                self._wake_for(claim)
                continue
            blocked_by = self._blocked_by(entry)
            if blocked_by:
                heapq.heappush(self._aside[blocked_by], entry)
                self._wake_for(claim)
                continue
            if not self._fits(claim):
                # What is freed from now on is kept for it: small ones that pass would starve a big one.
                heapq.heappush(self._ready, entry)
                break
            self._hold(claim)
            self._wake_for_quota(claim.quota.repository)
            granted.append(claim.run_id)
        return granted

    def release(self, run_id: str) -> None:
        """Give back what the run's segment held; no error if it held nothing."""
        claim = self._held.pop(run_id, None)
        if claim is None:
            return
        self._used = tuple(map(sub, self._used, self._needs(claim)))
        self._turns.discard(claim.turn)
        self._places[claim.place] -= 1
        self._give_back_quota(claim.quota)
        self._wake_for(claim)

    @property
    def running(self) -> int:
        """Segments that hold a slot."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """Segments that wait, also those set aside."""
        return len(self._ready) + sum(map(len, self._aside.values())) - len(self._dropped)

    def _wake_for(self, claim: Claim) -> None:
        """Let the first that waits for the claim's turn, and for its place, come back where that is free."""
        needs = ((f"turn {claim.turn}", self._turn_taken(claim)), (f"place {claim.place}", self._full(claim)))
        for blocker, taken in needs:
            if self._aside.get(blocker) and not taken:
                heapq.heappush(self._ready, heapq.heappop(self._aside[blocker]))
        self._wake_for_quota(claim.quota.repository)

    def _wake_for_quota(self, repository: str) -> None:
        """Let the first that waits for its repository's quota come back if there is room for it."""
        aside = self._aside.get(f"quota {repository}")
        while aside and aside[0][1].run_id in self._dropped:
            self._dropped.discard(heapq.heappop(aside)[1].run_id)
        if aside and self._within_quota(aside[0][1].quota):
            heapq.heappush(self._ready, heapq.heappop(aside))

    def _blocked_by(self, entry: tuple[tuple[bool, int, int], Claim]) -> str:
        claim = entry[1]
        if self._turn_taken(claim):
            return f"turn {claim.turn}"
        if self._full(claim):
            return f"place {claim.place}"
        waits_for = f"quota {claim.quota.repository}"
        first = self._aside.get(waits_for)
        # What is freed is kept for the first that waits: small ones that pass would starve a big one.
        behind = first[0] < entry if first else False
        return waits_for if behind or not self._within_quota(claim.quota) else ""

    def _turn_taken(self, claim: Claim) -> bool:
        return bool(claim.turn) and claim.turn in self._turns

    def _full(self, claim: Claim) -> bool:
        most = self._limits.get(claim.place)
        return most is not None and self._places[claim.place] >= most

    def _within_quota(self, quota: Quota) -> bool:
        """Whether there is room; alone anything fits, a step's limits are never above its quota."""
        used = self._quotas.get(quota.repository)
        wanted = map(add, used, _each(quota.needs)) if used else ()
        return all(most is None or amount <= most for amount, most in zip(wanted, _most(quota), strict=False))

    def _give_back_quota(self, quota: Quota) -> None:
        if quota.repository in self._quotas:
            left = tuple(map(sub, self._quotas[quota.repository], _each(quota.needs)))
            self._quotas[quota.repository] = left

    def _needs(self, claim: Claim) -> tuple[int, ...]:
        declared = (claim.needs.cpu, claim.needs.memory, claim.needs.disk)
        shares = (there_is // self._slots for there_is in self._capacity)
        wanted = (share if amount is None else amount for amount, share in zip(declared, shares, strict=True))
        return tuple(
            amount if most is None else min(amount, most)
            for amount, most in zip(wanted, _most(claim.quota), strict=False)
        )

    def _fits(self, claim: Claim) -> bool:
        """Whether there is room; alone anything fits, what never can was refused before."""
        wanted = map(add, self._used, self._needs(claim))
        return not self._held or all(map(le, wanted, self._capacity))

    def _hold(self, claim: Claim) -> None:
        self._held[claim.run_id] = claim
        self._used = tuple(map(add, self._used, self._needs(claim)))
        if claim.quota.repository:
            used = self._quotas.get(claim.quota.repository, (0, 0, 0, 0))
            self._quotas[claim.quota.repository] = tuple(map(add, used, _each(claim.quota.needs)))
        if claim.turn:
            self._turns.add(claim.turn)
        self._places[claim.place] += 1
