#!/usr/bin/env bash
# pytest 9.2.0 (its own subtests)
#
# A test is marked xfail(strict=True) because of a known fault. Its assertion moves into a subtest and still fails. pytest now
# calls the test XPASS(strict) and the run fails, with "1 xfailed" for the subtest in the same line.
#
# A good engineer would guess: xfailed, exit code 0, as before the move: the fault is still there.
# Seen: plain: 1 xfailed, exit code 0. In a subtest: 1 failed, 1 xfailed, exit code 1.
#
# Why it matters: "strict xfail passed" means "the fault is mended, remove the mark". Here the mark is still right, and
# the step fails for all repositories that share the test.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv --without-pip venv
python3 -m pip --python venv/bin/python install --quiet --disable-pip-version-check pytest==9.2.0

cat > test_plain.py <<'PY'
import pytest


@pytest.mark.xfail(strict=True)
def test_known_fault():
    assert 1 + 1 == 3
PY
cat > test_subtest.py <<'PY'
import pytest


@pytest.mark.xfail(strict=True)
def test_known_fault(subtests):
    with subtests.test("sum"):
        assert 1 + 1 == 3
PY
for kind in plain subtest; do
  code=0
  venv/bin/python -m pytest -q test_$kind.py > out.txt || code=$?
  printf '%s: exit code %s, %s, strict %s\n' $kind $code "$(tail -n 1 out.txt | sed 's/ in .*//')" "$(grep -c '^\[XPASS(strict)\]' out.txt)"
done | tee seen
diff - seen <<'EXPECTED'
plain: exit code 0, 1 xfailed, strict 0
subtest: exit code 1, 1 failed, 1 xfailed, strict 1
EXPECTED
