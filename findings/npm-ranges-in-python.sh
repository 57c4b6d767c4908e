#!/usr/bin/env bash
# semantic-version 2.10.0 (PyPI, its NpmSpec) and semver 7.8.6 (npm)
#
# NpmSpec reads npm's ranges. Where a range ends at a prerelease, the two disagree on valid ranges and versions:
# NpmSpec("<1.2.4-beta") holds 1.2.4-beta itself, NpmSpec("<=1.2.4-beta") holds the later 1.2.4, and the range
# "1.0.0-rc.1 - 1.2.3-beta" holds neither of its ends but holds 1.2.3, which is above it.
#
# A good engineer would guess: the class that is named for npm's ranges gives npm's answers; "less than x" never holds x.
# Seen: see EXPECTED; npm says the opposite in all five rows.
#
# Why it matters: a release of 1.2.4 reaches subscribers that asked to stay at or below its beta, if the tool that plans
# the update is in Python, and does not if it is in JavaScript.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv --without-pip venv
python3 -m pip --python venv/bin/python install --quiet --disable-pip-version-check semantic-version==2.10.0
npm install --silent --no-audit --no-fund --prefix "$folder" semver@7.8.6

cat > rows.txt <<'ROWS'
<1.2.4-beta|1.2.4-beta
<=1.2.4-beta|1.2.4
1.0.0-rc.1 - 1.2.3-beta|1.0.0-rc.1
1.0.0-rc.1 - 1.2.3-beta|1.2.3-beta
1.0.0-rc.1 - 1.2.3-beta|1.2.3
ROWS
cat > ask.py <<'PY'
from pathlib import Path

from semantic_version import NpmSpec, Version

for row in Path("rows.txt").read_text().splitlines():
    spec, version = row.split("|")
    print(str(Version(version) in NpmSpec(spec)).lower())
PY
cat > ask.js <<'JS'
const semver = require("semver");
for (const row of require("fs").readFileSync("rows.txt", "utf8").trim().split("\n")) {
  const [range, version] = row.split("|");
  console.log(semver.satisfies(version, range));
}
JS
paste -d '|' rows.txt <(venv/bin/python ask.py) <(node ask.js) | tee seen
diff - seen <<'EXPECTED'
<1.2.4-beta|1.2.4-beta|true|false
<=1.2.4-beta|1.2.4|true|false
1.0.0-rc.1 - 1.2.3-beta|1.0.0-rc.1|false|true
1.0.0-rc.1 - 1.2.3-beta|1.2.3-beta|false|true
1.0.0-rc.1 - 1.2.3-beta|1.2.3|true|false
EXPECTED
