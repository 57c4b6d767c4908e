"""Conditions written to crash, to hang or to eat the memory: each ends soon, with an error or an answer."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tako.expressions.cel import evaluate_condition
from tako.expressions.errors import ExpressionError

LARGE = {"event": {"s": "a" * 200_000, "l": list(range(5000))}}
TEN = "[0,1,2,3,4,5,6,7,8,9]"


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("".join(f"{TEN}.all({name}, " for name in "abcdef") + "true" + ")" * 6, "would iterate"),
        ('event.l.all(x, event.s.contains("aaaaaaaaaaab") == false)', "too long on"),
        ('event.l.all(x, event.s.matches("a+b") == false)', "too long on"),
        ("event.l.all(x, event.l.all(y, y in event.l))", "too long on"),
        ("(" + "+".join(["event.s"] * 25) + ") == (" + "+".join(["event.s"] * 25) + ")", "too long on"),
        ('"aaaaaaaaaa"' + ".replace('a', 'aaaaaaaaaa')" * 6 + " == ''", "of text"),
        ('event.s.replace("", event.s) == ""', "of text"),
        ('event.s.split("").join(event.s) == ""', "of text"),
    ],
)
def test_a_hostile_condition_ends_with_an_error_before_it_costs_much(condition: str, reason: str) -> None:
    with pytest.raises(ExpressionError, match=reason):
        evaluate_condition(condition, LARGE)


# Two gigabytes of memory, a minute of time, no core file; prints how many cases were refused.
EVALUATE = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from tako.expressions.cel import evaluate_condition
from tako.expressions.errors import ExpressionError
scope = {"event": {"s": "a" * 100_000, "l": list(range(1000)), "m": {"a": {"b": [None]}}}}
refused = 0
for case in json.load(sys.stdin):
    try:
        evaluate_condition(case, scope)
    except ExpressionError:
        refused += 1
print(refused)
"""
UNITS = (
    *("(", "[", "{", "!", "! ", "- ", "1+", "true&&", "true?true:", "event.a.", "event[0]", "{1:"),
    *("[1].map(a,", "[event.l].all(a,", "event.l.exists(a,", '"a".trim().', "event.l.filter(x,x>1)."),
    *("\\", '"""', "'''", "r'", "b'", "br'", "rb'", "`", "//", "\0", "é", "\U0001f600", "b'\xff'"),
    *("1e", "0x", "9" * 100, "..", "?.", "[?", "%", "@", "#", "\r", "\n", "\t", "in ", "event.m.a.b"),
    *("has(", "dyn(", "type(", "bytes(", "string(", "duration(", "timestamp(", ".matches('(((((("),
    *("event.s.split('').", "event.s.replace('a',event.s).", "'\\ud800'", "'\\xff'", "'\\'"),
)


def hostile() -> list[str]:
    """Give each unit many times, alone, beside a value, and closed again."""
    cases = [unit * count for unit in UNITS for count in (1, 2, 31, 400)]
    values = ("true", "event.s", ")", "'a'")
    cases += [f"{unit} {value}" * count for unit in UNITS for value in values for count in (1, 12)]
    cases += [
        unit * count + "true" + end * count for unit in UNITS for end in ")]}" for count in (1, 20, 300)
    ]
    return [case[:4096] for case in cases]


def test_hostile_text_never_crashes_the_interpreter() -> None:
    cases = hostile()
    done = subprocess.run(
        [sys.executable, "-c", EVALUATE],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(cases) * 0.9 < int(done.stdout) < len(cases)
