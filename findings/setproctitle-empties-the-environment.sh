#!/usr/bin/env bash
# setproctitle 1.3.8, read by psutil 7.2.2
#
# A title of ten characters, shorter than the command line that it replaces, wipes the whole environment of the process as
# others see it: /proc/PID/environ holds only NUL bytes afterwards, psutil's environ() returns an empty dictionary. The
# process itself still has its variables.
#
# A good engineer would guess: a title that fits into the old command line leaves the environment alone.
# Seen: before {'JOB_ID': '42'}, after {}; inside the process JOB_ID is still 42. With SPT_NOENV=1 the environment stays.
#
# Why it matters: tools find what a job left behind by a variable that every process of the job inherits. A daemon that
# sets its title is invisible to them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv --without-pip venv
python3 -m pip --python venv/bin/python install --quiet --disable-pip-version-check psutil==7.2.2 setproctitle==1.3.8

cat > titled.py <<'PY'
import os
import sys

from setproctitle import setproctitle

setproctitle("ten chars.")
print(os.environ["JOB_ID"], flush=True)
sys.stdin.readline()
PY
cat > look.py <<'PY'
import subprocess
import sys

import psutil


def seen(code, **more):
    with subprocess.Popen([sys.executable, *code], env={"JOB_ID": "42", **more}, stdin=-1, stdout=-1, text=True) as child:
        inside = child.stdout.readline().strip()
        outside = psutil.Process(child.pid).environ().get("JOB_ID")
        child.communicate("\n")
    return f"inside {inside} outside {outside}"


print("no title", seen(["-c", "import os, sys; print(os.environ['JOB_ID'], flush=True); sys.stdin.readline()"]))
print("title", seen(["titled.py"]))
print("title, SPT_NOENV", seen(["titled.py"], SPT_NOENV="1"))
PY
venv/bin/python look.py | tee seen
diff - seen <<'EXPECTED'
no title inside 42 outside 42
title inside 42 outside None
title, SPT_NOENV inside 42 outside 42
EXPECTED
