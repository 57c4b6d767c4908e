#!/usr/bin/env bash
# cel-expr-python 0.1.3, cel-python 0.5.0 (PyPI), @bufbuild/cel 0.6.1 (npm)
#
# One expression, three implementations of CEL, each valid everywhere:
#   has({"a": null}.a)         a field that is there and null: the two in Python say true, the one in JavaScript false
#   string(1.0)                "1", but cel-python says "1.0"
#   0.0 / 0.0 == 0.0 / 0.0     false, but cel-python says true (a number that is no number equals itself)
#
# A good engineer would guess: CEL is specified and has a conformance suite, so the answers agree.
# Seen: see EXPECTED.
#
# Why it matters: events are JSON, and JSON has null. A filter `has(event.payload.x)` starts a workflow in one system and
# not in the other.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv --without-pip venv
python3 -m pip --python venv/bin/python install --quiet --disable-pip-version-check cel-expr-python==0.1.3 cel-python==0.5.0
npm install --silent --no-audit --no-fund --prefix "$folder" @bufbuild/cel@0.6.1

cat > rows.txt <<'ROWS'
has({"a": null}.a)
string(1.0)
0.0 / 0.0 == 0.0 / 0.0
ROWS
cat > ask.py <<'PY'
from pathlib import Path

import celpy
from cel_expr_python import cel

for row in Path("rows.txt").read_text().splitlines():
    google = cel.NewEnv(variables={}).compile(row).eval(data={}).value()
    environment = celpy.Environment()
    other = environment.program(environment.compile(row)).evaluate({})
    print("cel-expr-python", str(google).lower(), "cel-python", str(other).lower())
PY
cat > ask.mjs <<'JS'
import { readFileSync } from "fs";
import { run } from "@bufbuild/cel";
for (const row of readFileSync("rows.txt", "utf8").trim().split("\n")) console.log("@bufbuild/cel", String(run(row)));
JS
paste -d ' ' <(sed 's/$/:/' rows.txt) <(venv/bin/python ask.py) <(node ask.mjs) | tee seen
diff - seen <<'EXPECTED'
has({"a": null}.a): cel-expr-python true cel-python true @bufbuild/cel false
string(1.0): cel-expr-python 1 cel-python 1.0 @bufbuild/cel 1
0.0 / 0.0 == 0.0 / 0.0: cel-expr-python false cel-python true @bufbuild/cel false
EXPECTED
