#!/usr/bin/env bash
# cattrs 26.2.1 with attrs 26.1.0
#
# `cattrs.unstructure(record)` writes all fields of a record of a subclass. The same record inside a field that is annotated
# with the base class loses the fields of the subclass: no error, they are not written. attrs.asdict() writes them.
#
# A good engineer would guess: what unstructure() writes for an object does not depend on what holds the object.
# Seen: alone {'name': 'a', 'exit_code': 3}; in a field, in a list: {'name': 'a'}; attrs.asdict: all.
#
# Why it matters: journals and caches of runs are written this way. Reading back gives a valid record of the base class, and
# the exit code is gone for ever. cattrs.strategies.include_subclasses() mends it, for each base class.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv --without-pip venv
python3 -m pip --python venv/bin/python install --quiet --disable-pip-version-check cattrs==26.2.1 attrs==26.1.0

cat > write.py <<'PY'
import attrs
import cattrs


@attrs.frozen
class Event:
    name: str


@attrs.frozen
class StepFailed(Event):
    exit_code: int


@attrs.frozen
class Journal:
    last: Event
    events: list[Event]


failed = StepFailed("a", 3)
print("alone", cattrs.unstructure(failed))
print("inside", cattrs.unstructure(Journal(failed, [failed])))
print("attrs.asdict", attrs.asdict(Journal(failed, [failed])))
PY
venv/bin/python write.py | tee seen
diff - seen <<'EXPECTED'
alone {'name': 'a', 'exit_code': 3}
inside {'last': {'name': 'a'}, 'events': [{'name': 'a'}]}
attrs.asdict {'last': {'name': 'a', 'exit_code': 3}, 'events': [{'name': 'a', 'exit_code': 3}]}
EXPECTED
