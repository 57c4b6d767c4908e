from __future__ import annotations

import pytest
from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tako.engine.scheduler.resources import Amounts, Claim, Quota, ResourceManager


def _claim(run_id: str, turn: str = "", place: str = "", depth: int = 1, *, goes_on: bool = False) -> Claim:
    return Claim(run_id, turn, place, depth, goes_on)


def _manager(slots: int, *claims: Claim) -> ResourceManager:
    resources = ResourceManager(slots)
    for claim in claims:
        resources.want(claim)
    return resources


def test_first_come_first_served_up_to_the_slots() -> None:
    resources = _manager(2, _claim("a"), _claim("b"), _claim("c"))
    assert resources.grant() == ["a", "b"]
    assert (resources.running, resources.waiting) == (2, 1)
    resources.release("a")
    assert resources.grant() == ["c"]
    assert (resources.running, resources.waiting) == (2, 0)


def test_what_goes_on_comes_before_what_is_new_and_the_deep_before_the_shallow() -> None:
    claims = (
        _claim("new, shallow", depth=1),
        _claim("new, deep", depth=3),
        _claim("goes on, shallow", depth=0, goes_on=True),
        _claim("goes on, deep", depth=2, goes_on=True),
    )
    assert _manager(9, *claims).grant() == ["goes on, deep", "goes on, shallow", "new, deep", "new, shallow"]


def test_one_run_at_a_time_for_each_repository() -> None:
    resources = _manager(9, _claim("a", "lib"), _claim("b", "lib"), _claim("c", "app"))
    assert resources.grant() == ["a", "c"]
    resources.release("a")
    assert resources.grant() == ["b"]


def test_without_a_turn_runs_of_one_repository_run_together() -> None:
    assert _manager(9, _claim("a"), _claim("b")).grant() == ["a", "b"]


def test_a_fan_out_has_only_so_many_places() -> None:
    resources = ResourceManager(9)
    resources.limit("fan", 2)
    for name in "abc":
        resources.want(_claim(name, place="fan"))
    resources.want(_claim("d", place="other"))
    assert resources.grant() == ["a", "b", "d"]
    resources.release("b")
    assert resources.grant() == ["c"]


def test_what_waits_aside_keeps_its_rank() -> None:
    resources = _manager(1, _claim("holder", "lib"))
    assert resources.grant() == ["holder"]
    resources.want(_claim("new", "lib"))
    assert resources.grant() == []
    resources.want(_claim("goes on", "lib", goes_on=True))
    resources.release("holder")
    assert resources.grant() == ["goes on"]


def test_a_run_that_was_dropped_while_it_waited_aside_does_not_keep_the_next_from_its_turn() -> None:
    resources = _manager(9, _claim("a", "lib"), _claim("b", "lib"), _claim("c", "lib"))
    assert resources.grant() == ["a"]
    resources.drop("b")
    resources.release("a")
    assert resources.grant() == ["c"]


def test_a_run_that_cannot_use_its_turn_for_want_of_a_place_lets_the_next_one_have_it() -> None:
    resources = ResourceManager(9)
    resources.limit("fan", 1)
    for claim in (
        _claim("a", "lib"),
        _claim("b", "app", "fan"),
        _claim("c", "lib", "fan"),
        _claim("d", "lib"),
    ):
        resources.want(claim)
    assert resources.grant() == ["a", "b"]
    resources.release("a")
    assert resources.grant() == ["d"]


def test_dropped_runs_do_not_wait() -> None:
    resources = _manager(1, _claim("a"), _claim("b"), _claim("c"))
    resources.drop("b")
    assert resources.waiting == 2
    assert resources.grant() == ["a"]
    assert resources.waiting == 1


def test_giving_back_what_is_not_held_is_no_error() -> None:
    resources = _manager(1)
    resources.release("nobody")
    assert (resources.running, resources.waiting, resources.grant()) == (0, 0, [])


CAPACITY = 10


def test_a_big_one_is_not_starved_by_small_ones() -> None:
    resources = ResourceManager(4, Amounts(4000, 100, 100))
    for name, memory in (("a", 30), ("b", 30), ("big", 90), ("small", 1)):
        resources.want(Claim(name, "", "", 1, goes_on=False, needs=Amounts(0, memory, 0)))
    assert resources.grant() == ["a", "b"]
    resources.release("a")
    assert resources.grant() == []
    resources.release("b")
    assert resources.grant() == ["big", "small"]


def test_undeclared_is_a_slots_share() -> None:
    resources = ResourceManager(4, Amounts(4000, 100, 100))
    for name, memory in (("a", 60), ("b", None), ("c", None), ("d", 1)):
        resources.want(Claim(name, "", "", 1, goes_on=False, needs=Amounts(0, memory, 0)))
    assert resources.grant() == ["a", "b"]
    resources.release("a")
    assert resources.grant() == ["c", "d"]


def _quota_claim(run_id: str, memory: int, repository: str = "acme/lib", most: int = 10) -> Claim:
    quota = Quota(repository, Amounts(memory=most), Amounts(memory=memory))
    return Claim(run_id, "", "", 1, goes_on=False, needs=Amounts(0, memory, 0), quota=quota)


def test_runs_of_one_repository_stay_within_its_quota_together_and_others_pass() -> None:
    lib = [_quota_claim(name, 4) for name in "abc"]
    resources = _manager(9, *lib, _quota_claim("other", 10, "acme/app"), _claim("free"))
    assert resources.grant() == ["a", "b", "other", "free"]
    assert (resources.running, resources.waiting) == (4, 1)
    resources.release("other")
    assert resources.grant() == []
    resources.release("b")
    assert resources.grant() == ["c"]


def test_a_big_run_of_a_repository_is_not_starved_by_its_small_ones() -> None:
    claims = [_quota_claim("a", 5), _quota_claim("big", 9), _quota_claim("small", 1)]
    resources = _manager(9, *claims)
    assert resources.grant() == ["a"]
    resources.want(_quota_claim("later", 1))
    assert resources.grant() == []
    resources.release("a")
    assert resources.grant() == ["big", "small"]


def test_a_dropped_run_does_not_keep_those_behind_it_from_their_quota() -> None:
    resources = _manager(9, _quota_claim("a", 5), _quota_claim("big", 9), _quota_claim("small", 1))
    assert resources.grant() == ["a"]
    resources.drop("big")
    assert resources.waiting == 1
    assert resources.grant() == ["small"]
    assert resources.waiting == 0


def test_every_resource_of_a_quota_bounds() -> None:
    for name in ("cpu", "memory", "disk", "tasks"):
        quota = Quota("acme/lib", Amounts(**{name: 10}), Amounts(**{name: 6}))
        claims = [Claim(run_id, "", "", 1, goes_on=False, quota=quota) for run_id in "ab"]
        assert _manager(9, *claims).grant() == ["a"]


def test_of_the_machine_a_run_takes_no_more_than_its_quota() -> None:
    resources = ResourceManager(2, Amounts(4000, 100, 100))
    quota = Quota("acme/lib", Amounts(memory=20), Amounts(memory=20))
    resources.want(Claim("a", "", "", 1, goes_on=False, quota=quota))
    resources.want(Claim("b", "", "", 1, goes_on=False, needs=Amounts(0, 80, 0)))
    assert resources.grant() == ["a", "b"]


@define
class Oracle:
    """The same without cleverness: looks through all that waits, best first."""

    slots: int
    limits: dict[str, int]
    waiting: list[tuple[tuple[bool, int, int], Claim]] = field(factory=list)
    held: dict[str, Claim] = field(factory=dict)
    count: int = 0

    def want(self, claim: Claim) -> None:
        self.count += 1
        self.waiting.append(((not claim.goes_on, -claim.depth, self.count), claim))

    def drop(self, run_id: str) -> None:
        self.waiting = [entry for entry in self.waiting if entry[1].run_id != run_id]

    def may_start(self, claim: Claim) -> bool:
        turns = {other.turn for other in self.held.values()} - {""}
        places = [other.place for other in self.held.values()]
        most = self.limits.get(claim.place, 10**6)
        return len(self.held) < self.slots and claim.turn not in turns and places.count(claim.place) < most

    def fits(self, claim: Claim) -> bool:
        held = sum(other.needs.memory or 0 for other in self.held.values())
        return not self.held or held + (claim.needs.memory or 0) <= CAPACITY

    def grant(self) -> list[str]:
        granted = []
        for entry in sorted(self.waiting, key=lambda entry: entry[0]):
            if self.may_start(entry[1]):
                if not self.fits(entry[1]):
                    break
                self.waiting.remove(entry)
                self.held[entry[1].run_id] = entry[1]
                granted.append(entry[1].run_id)
        return granted


class AgainstTheOracle(RuleBasedStateMachine):
    """Whatever happens, the same runs start in the same order as with the oracle."""

    def __init__(self) -> None:
        super().__init__()
        self.resources = ResourceManager(3, Amounts(1000, CAPACITY, 1 << 40))
        self.oracle = Oracle(3, {"one": 1, "two": 2})
        for place, most in self.oracle.limits.items():
            self.resources.limit(place, most)
        self.number = 0

    @rule(
        turn=st.sampled_from(["", "a", "b", "c"]),
        place=st.sampled_from(["", "one", "two", "free"]),
        depth=st.integers(0, 3),
        goes_on=st.booleans(),
        memory=st.integers(0, 10),
    )
    def want(self, turn: str, place: str, depth: int, goes_on: bool, memory: int) -> None:
        self.number += 1
        claim = Claim(f"run {self.number}", turn, place, depth, goes_on, Amounts(0, memory, 0))
        self.resources.want(claim)
        self.oracle.want(claim)

    @precondition(lambda self: self.oracle.waiting)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from([claim.run_id for _, claim in self.oracle.waiting]))
        self.resources.drop(run_id)
        self.oracle.drop(run_id)

    @precondition(lambda self: self.oracle.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.oracle.held)))
        self.resources.release(run_id)
        del self.oracle.held[run_id]

    @rule()
    def grant(self) -> None:
        assert self.resources.grant() == self.oracle.grant()

    @invariant()
    def counts_agree(self) -> None:
        assert self.resources.running == len(self.oracle.held)
        assert self.resources.waiting == len(self.oracle.waiting)

    def teardown(self) -> None:
        """Let everything that waits run: nothing may be forgotten."""
        while self.oracle.waiting or self.oracle.held:
            self.grant()
            for run_id in list(self.oracle.held):
                self.resources.release(run_id)
                del self.oracle.held[run_id]
        assert self.resources.waiting == 0


AgainstTheOracle.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestAgainstTheOracle = pytest.mark.unmeasured(AgainstTheOracle.TestCase)


QUOTA = 6


class QuotasAgainstALookThroughAll(RuleBasedStateMachine):
    """Runs of repositories with quotas start in the order of their rank, each repository for itself.

    The tiers are never exceeded, and nobody that waits for a quota is passed by one of its repository.
    """

    def __init__(self) -> None:
        super().__init__()
        self.resources = ResourceManager(4, Amounts(1000, CAPACITY, 1 << 40))
        self.waiting: list[tuple[tuple[bool, int, int], Claim]] = []
        self.held: dict[str, Claim] = {}
        self.number = 0

    @rule(
        repository=st.sampled_from(["a", "b"]),
        depth=st.integers(0, 2),
        goes_on=st.booleans(),
        memory=st.integers(0, QUOTA),
    )
    def want(self, repository: str, depth: int, goes_on: bool, memory: int) -> None:
        self.number += 1
        needs = Amounts(0, memory, 0)
        quota = Quota(repository, Amounts(memory=QUOTA), needs)
        claim = Claim(f"run {self.number}", "", "", depth, goes_on, needs, quota)
        self.resources.want(claim)
        self.waiting.append(((not goes_on, -depth, self.number), claim))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.waiting))
        self.resources.drop(entry[1].run_id)
        self.waiting.remove(entry)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.held)))
        self.resources.release(run_id)
        del self.held[run_id]

    def used(self, repository: str = "") -> int:
        """Give the memory that runs hold, of one repository or all."""
        claims = (claim for claim in self.held.values() if repository in ("", claim.quota.repository))
        return sum(claim.needs.memory or 0 for claim in claims)

    def expected(self) -> list[str]:
        """Say which runs start now; they are held from then on."""
        granted: list[str] = []
        stuck: set[str] = set()
        for entry in sorted(self.waiting, key=lambda entry: entry[0]):
            claim, repository = entry[1], entry[1].quota.repository
            if len(self.held) == 4:
                break
            if repository in stuck or self.used(repository) + (claim.needs.memory or 0) > QUOTA:
                stuck.add(repository)
            elif self.held and self.used() + (claim.needs.memory or 0) > CAPACITY:
                break
            else:
                self.waiting.remove(entry)
                self.held[claim.run_id] = claim
                granted.append(claim.run_id)
        return granted

    @rule()
    def grant(self) -> None:
        assert self.resources.grant() == self.expected()

    @invariant()
    def no_tier_is_exceeded(self) -> None:
        assert self.used() <= CAPACITY
        assert max(map(self.used, "ab")) <= QUOTA
        assert (self.resources.running, self.resources.waiting) == (len(self.held), len(self.waiting))

    def teardown(self) -> None:
        """Let everything that waits run: nothing may be forgotten."""
        while self.waiting or self.held:
            self.grant()
            for run_id in list(self.held):
                self.release_now(run_id)
        assert self.resources.waiting == 0

    def release_now(self, run_id: str) -> None:
        """End a run."""
        self.resources.release(run_id)
        del self.held[run_id]


QuotasAgainstALookThroughAll.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestQuotas = pytest.mark.unmeasured(QuotasAgainstALookThroughAll.TestCase)
