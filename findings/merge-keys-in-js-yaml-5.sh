#!/usr/bin/env bash
# js-yaml 5.5.0 and 4.1.0 (npm), beside PyYAML 6.0.3
#
# With js-yaml 5, `load()` no longer merges: `<<: *base` gives a mapping with a key named "<<", and nothing of the base is
# in the mapping itself. No error, no warning. js-yaml 4.1.0 and PyYAML merge.
#
# A good engineer would guess: the merge key works in a major version too, or is refused with an error.
# Seen: js-yaml 5: timeout undefined, keys run and <<. js-yaml 4 and PyYAML: timeout 60.
#
# Why it matters: workflow files share settings by anchors. One file, read by a Python runner and a JavaScript one, has the
# time limit in the first and none in the second.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv --without-pip venv
python3 -m pip --python venv/bin/python install --quiet --disable-pip-version-check PyYAML==6.0.3
npm install --silent --no-audit --no-fund --prefix "$folder" js-yaml@5.5.0 js-yaml-4@npm:js-yaml@4.1.0

cat > workflow.yml <<'YML'
base: &base {timeout: 60}
step:
  <<: *base
  run: make test
YML
cat > read.js <<'JS'
const text = require("fs").readFileSync("workflow.yml", "utf8");
for (const name of ["js-yaml", "js-yaml-4"]) console.log(name, JSON.stringify(require(name).load(text).step));
JS
{
  node read.js
  venv/bin/python -c 'import json, yaml; print("PyYAML", json.dumps(yaml.safe_load(open("workflow.yml"))["step"], sort_keys=True))'
} | tee seen
diff - seen <<'EXPECTED'
js-yaml {"<<":{"timeout":60},"run":"make test"}
js-yaml-4 {"timeout":60,"run":"make test"}
PyYAML {"run": "make test", "timeout": 60}
EXPECTED
