from __future__ import annotations

from tako.units import format_bytes
from tests.support.isolations import need
from tests.support.runner import Tako


def test_doctor_prints_the_levels_that_work_here(tako: Tako) -> None:
    need("namespace")
    done = tako("doctor")
    assert done.code == 0, done.stderr
    assert "yes namespace" in done.stdout
    assert "--isolation auto takes namespace" in done.stdout
    told = tako("doctor", "--output", "json").json
    assert (told["levels"]["namespace"], told["auto"]) == ("", "namespace")


def test_doctor_says_what_the_machine_has(tako: Tako) -> None:
    has = tako("doctor", "--output", "json").json["machine"]
    assert has.keys() == {"cpus", "memory", "memory_available", "file_system", "disk", "disk_free"}
    lines = tako("doctor").stdout.splitlines()
    assert lines[1].startswith(f"{has['cpus']} CPUs, {format_bytes(has['memory'])} of memory, ")
    home = tako.environment["TAKO_HOME"]
    assert lines[2].startswith(f"TAKO_HOME {home} on {has['file_system']}, ")
    assert lines[2].endswith(f" of {format_bytes(has['disk'])} free")


def test_doctor_ends_with_4_where_something_is_missing(tako: Tako) -> None:
    done = tako("doctor", env={"PATH": "/nowhere"})
    assert done.code == 4
    assert "no  git install git" in done.stdout
