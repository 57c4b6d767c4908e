from __future__ import annotations

from tests.support.isolations import need
from tests.support.runner import Tako


def test_doctor_says_what_works_here(tako: Tako) -> None:
    need("namespace")
    done = tako("doctor")
    assert done.code == 0, done.stderr
    assert "yes namespace" in done.stdout
    assert "--isolation auto takes namespace" in done.stdout
    told = tako("doctor", "--output", "json").json
    assert (told["levels"]["namespace"], told["auto"]) == ("", "namespace")


def test_doctor_ends_with_4_where_something_is_missing(tako: Tako) -> None:
    done = tako("doctor", env={"PATH": "/nowhere"})
    assert done.code == 4
    assert "no  git install git" in done.stdout
