#!/usr/bin/env bash
# psutil 7.2.2, with subprocess and multiprocessing of Python 3.11
#
# psutil.wait_procs() waits for the children of this process and reaps them. Afterwards subprocess.Popen.wait() of a child
# that failed with 3 returns 0, and a multiprocessing.Process that ended with 3 is alive for ever, without an exit code.
#
# A good engineer would guess: psutil only watches; both objects still say 3, or raise an error.
# Seen: psutil 3, Popen 0; psutil 3, Process exitcode None and is_alive() True.
#
# Why it matters: a runner that "waits for all that is left below me" with psutil, as its own documentation shows for
# terminating children, turns failed steps into passed ones. The return code of psutil itself is the only right one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv --without-pip venv
python3 -m pip --python venv/bin/python install --quiet --disable-pip-version-check psutil==7.2.2

cat > watch.py <<'PY'
import multiprocessing
import subprocess
import sys

import psutil


def reap():
    gone, _ = psutil.wait_procs(psutil.Process().children(), timeout=20)
    return [process.returncode for process in gone]


child = subprocess.Popen(["sh", "-c", "exit 3"])
print("psutil", *reap(), "Popen", child.wait())

worker = multiprocessing.get_context("fork").Process(target=sys.exit, args=(3,), daemon=True)
worker.start()
print("psutil", *reap(), "Process", worker.exitcode, "alive", worker.is_alive())
PY
venv/bin/python watch.py | tee seen
diff - seen <<'EXPECTED'
psutil 3 Popen 0
psutil 3 Process None alive True
EXPECTED
