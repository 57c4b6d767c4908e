"""Each caveat is kept once, and given once as new."""

from __future__ import annotations

from tako.repositories.caveats import LEFT_OUT, STALE, Caveat, Caveats


def test_each_is_kept_once_in_the_order_of_coming() -> None:
    caveats = Caveats()
    caveats.add(STALE, "acme/b", "acme/b is old")
    caveats.add(LEFT_OUT, "acme/a", "acme/a is broken")
    caveats.add(STALE, "acme/b", "acme/b is old")
    found = (Caveat(STALE, "acme/b", "acme/b is old"), Caveat(LEFT_OUT, "acme/a", "acme/a is broken"))
    assert caveats.all() == found
    assert caveats.new() == found
    assert caveats.new() == ()
    caveats.add(STALE, "acme/b", "acme/b is old")
    caveats.add(STALE, "acme/c", "acme/c is old")
    assert [caveat.repository for caveat in caveats.new()] == ["acme/c"]


def test_a_reason_is_one_line() -> None:
    caveats = Caveats()
    caveats.add(STALE, "", "fatal: no access\n\n  Please make sure\nthat it exists.\n")
    [caveat] = caveats.all()
    assert caveat.reason == "fatal: no access; Please make sure; that it exists."
