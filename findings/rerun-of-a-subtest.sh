#!/usr/bin/env bash
# pytest-rerunfailures 16.7 with the subtests of pytest 9.2.0
#
# A subtest fails once and passes when pytest-rerunfailures runs the test again. pytest says "1 passed" and exits 0, and
# the JUnit report of the same run says failures="1", with a <testcase> that holds the <failure>. A plain test that is rerun
# the same way leaves failures="0".
#
# A good engineer would guess: exit code and report agree; a flaky subtest is treated like a flaky test.
# Seen: subtest: exit code 0, failures 1. Plain test: exit code 0, failures 0.
#
# Why it matters: a workflow that decides by exit code releases, one that decides by the report does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv --without-pip venv
python3 -m pip --python venv/bin/python install --quiet --disable-pip-version-check pytest==9.2.0 pytest-rerunfailures==16.7

cat > test_subtest.py <<'PY'
from pathlib import Path


def test_flaky(subtests):
    second = Path("subtest-ran").exists()
    Path("subtest-ran").touch()
    with subtests.test("flaky"):
        assert second
PY
cat > test_plain.py <<'PY'
from pathlib import Path


def test_flaky():
    second = Path("plain-ran").exists()
    Path("plain-ran").touch()
    assert second
PY
for kind in plain subtest; do
  code=0
  venv/bin/python -m pytest -q --reruns 2 --junitxml=$kind.xml test_$kind.py > out.txt || code=$?
  printf '%s: exit code %s, report %s\n' $kind $code "$(grep -oE '(failures|tests)="[0-9]+"' $kind.xml | paste -sd ' ')"
done | tee seen
diff - seen <<'EXPECTED'
plain: exit code 0, report failures="0" tests="1"
subtest: exit code 0, report failures="1" tests="3"
EXPECTED
