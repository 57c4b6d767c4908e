#!/usr/bin/env bash
# fasteners 0.20, filelock 4.3.1, portalocker 4.4.2
#
# Each of the three has an exclusive lock between processes on a path. fasteners uses fcntl's record locks, filelock and
# portalocker use flock, and Linux keeps the two apart: two processes hold "the" exclusive lock of one path at once.
#
# A good engineer would guess: an exclusive lock on a path excludes every other lock library on that path.
# Seen: fasteners beside filelock or portalocker: both hold it. filelock beside portalocker: one waits.
#
# Why it matters: two tools that share a cache agree on the lock file's path, each with the library that it has. The lock
# then protects nothing, and no error says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv --without-pip venv
python3 -m pip --python venv/bin/python install --quiet --disable-pip-version-check fasteners==0.20 filelock==4.3.1 portalocker==4.4.2

cat > take.py <<'PY'
import sys

import fasteners
import filelock
import portalocker

library, path = sys.argv[1:]
held = True
try:
    if library == "fasteners":
        lock = fasteners.InterProcessLock(path)
        held = lock.acquire(blocking=False)
    elif library == "filelock":
        lock = filelock.FileLock(path)
        lock.acquire(timeout=0)
    else:
        lock = portalocker.Lock(path, mode="a", timeout=0, fail_when_locked=True)
        lock.acquire()
except (filelock.Timeout, portalocker.exceptions.LockException):
    held = False
print("holds" if held else "waits", flush=True)
sys.stdin.readline()
PY
cat > pairs.py <<'PY'
import subprocess
import sys


def take(library):
    child = subprocess.Popen([sys.executable, "take.py", library, "cache.lock"], stdin=-1, stdout=-1, text=True)
    return child, child.stdout.readline().strip()


libraries = ["fasteners", "filelock", "portalocker"]
for first in libraries:
    for second in libraries:
        holder, one = take(first)
        other, two = take(second)
        for child in (other, holder):
            child.communicate("\n")
        print(first, one, second, two)
PY
venv/bin/python pairs.py | tee seen
diff - seen <<'EXPECTED'
fasteners holds fasteners waits
fasteners holds filelock holds
fasteners holds portalocker holds
filelock holds fasteners holds
filelock holds filelock waits
filelock holds portalocker waits
portalocker holds fasteners holds
portalocker holds filelock waits
portalocker holds portalocker waits
EXPECTED
