#!/usr/bin/env bash
# doit 0.37.0
#
# doit remembers which tasks are up to date. When SIGTERM ends a run in its third task, doit has forgotten the two that were
# finished, with each of its three databases, SQLite included: it writes them only when the run ends. After SIGINT (Ctrl-C)
# it remembers.
#
# A good engineer would guess: a finished task is on disk before the next one starts; a database is the reason to have one.
# Seen: after SIGTERM both tasks run a second time (one two one two), after SIGINT not (one two).
#
# Why it matters: runners and service managers stop a step by SIGTERM. The retry does all of the finished work again, and
# tasks with effects outside have them twice.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv --without-pip venv
python3 -m pip --python venv/bin/python install --quiet --disable-pip-version-check doit==0.37.0

cat > dodo.py <<'PY'
DOIT_CONFIG = {"verbosity": 0}


def task_one():
    return {"actions": ["echo one >> ran"], "file_dep": ["source"]}


def task_two():
    return {"actions": ["echo two >> ran"], "file_dep": ["source"]}


def task_three():
    stop = "test -e second-run || { kill -$SIGNAL $PPID; sleep 1; }"
    return {"actions": [stop], "file_dep": ["source"], "task_dep": ["one", "two"]}
PY
touch source
for backend in dbm json sqlite3; do
  for SIGNAL in TERM INT; do
    export SIGNAL
    rm -f ran second-run state*
    venv/bin/doit --backend $backend --db-file state > /dev/null 2>&1 || true
    touch second-run
    venv/bin/doit --backend $backend --db-file state > /dev/null 2>&1
    echo "$backend $SIGNAL: $(paste -sd ' ' ran)"
  done
done 2> /dev/null | tee seen
diff - seen <<'EXPECTED'
dbm TERM: one two one two
dbm INT: one two
json TERM: one two one two
json INT: one two
sqlite3 TERM: one two one two
sqlite3 INT: one two
EXPECTED
