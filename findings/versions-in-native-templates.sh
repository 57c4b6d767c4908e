#!/usr/bin/env bash
# jinja2 3.1.6, NativeEnvironment
#
# NativeEnvironment renders to Python values. A variable that already is the text "3.10" comes back as the number 3.1: the
# result of a template that is one expression is read as a Python literal even when it is a text.
#
# A good engineer would guess: native means that types are kept: text in, text out; only "{{ 1 + 1 }}" gives a number.
# Seen: "3.10" -> 3.1, "1_000" -> 1000, "1,2" -> (1, 2), "v3.10" -> "v3.10", "1.10.0" -> "1.10.0".
#
# Why it matters: a version with two parts that ends in zero becomes another version; with three parts nothing is wrong,
# so the tests of the template see nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv --without-pip venv
python3 -m pip --python venv/bin/python install --quiet --disable-pip-version-check jinja2==3.1.6

cat > render.py <<'PY'
from jinja2.nativetypes import NativeEnvironment

template = NativeEnvironment().from_string("{{ version }}")
for version in ["1.10.0", "v3.10", "3.10", "1_000", "1,2"]:
    print(repr(version), repr(template.render(version=version)))
PY
venv/bin/python render.py | tee seen
diff - seen <<'EXPECTED'
'1.10.0' '1.10.0'
'v3.10' 'v3.10'
'3.10' 3.1
'1_000' 1000
'1,2' (1, 2)
EXPECTED
