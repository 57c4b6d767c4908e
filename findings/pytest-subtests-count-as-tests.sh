#!/usr/bin/env bash
# pytest 9.2.0 (its own subtests), report read by junitparser 5.0.3
#
# A module of 2 tests, each with 3 subtests, one subtest failing. The JUnit report has 2 <testcase> elements, but says
# tests="8" failures="2", and the failing <testcase> holds two <failure> elements for one failed assertion.
#
# A good engineer would guess: tests="2" failures="1", or 6 test cases; in any case a count that equals its elements.
# Seen: attributes 8 and 2, test cases 2; junitparser counts anew and says that 2 of 2 tests failed, though one of them passed;
# pytest itself prints "2 failed, 1 passed, 5 subtests passed" for 2 tests.
#
# Why it matters: the failed share of this run is 25 % by the attributes, 100 % by junitparser and 50 % by the test cases. A gate
# on that share, or a trend over repositories, depends on the reader. Moving a loop into subtests changes all three.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv --without-pip venv
python3 -m pip --python venv/bin/python install --quiet --disable-pip-version-check pytest==9.2.0 junitparser==5.0.3

cat > test_two.py <<'PY'
def test_one_subtest_fails(subtests):
    for number in range(3):
        with subtests.test(number=number):
            assert number != 1


def test_all_subtests_pass(subtests):
    for number in range(3):
        with subtests.test(number=number):
            pass
PY
cat > read.py <<'PY'
from xml.etree import ElementTree

from junitparser import JUnitXml

suite = ElementTree.parse("report.xml").find("testsuite")
print("attributes: tests", suite.get("tests"), "failures", suite.get("failures"))
print("elements: testcase", len(suite.findall("testcase")), "failure", len(suite.findall("testcase/failure")))
report = JUnitXml.fromfile("report.xml")
print("junitparser as read: tests", report.tests, "failures", report.failures)
report.update_statistics()
print("junitparser counted: tests", report.tests, "failures", report.failures)
PY
{ venv/bin/python -m pytest -q --junitxml=report.xml test_two.py || true; } | tail -n 1 | sed 's/ in .*//' | tee seen
venv/bin/python read.py | tee -a seen
diff - seen <<'EXPECTED'
2 failed, 1 passed, 5 subtests passed
attributes: tests 8 failures 2
elements: testcase 2 failure 2
junitparser as read: tests 2 failures 2
junitparser counted: tests 2 failures 2
EXPECTED
