"""Places around everything that must hold however it is interrupted, where a test may kill this process.

Off unless the environment names a directory when the process starts. There, `passed` gets one line for each
place that any process passes; the files `kill.0`, `kill.1` and so on say, one after the other, where one is
to die: `{"label": ..., "root": false}` the process that comes to that place, or with `"root": true` the root
process that it works for, which ends all others; `{"count": n}` whoever passes the n-th place. With
`"signal"` another signal is sent than SIGKILL, and the process goes on. An order is taken away first, so that
nobody dies twice.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from contextlib import suppress

VARIABLE = "TAKO_CRASH_POINTS"
_directory = os.environ.get(VARIABLE, "")
_role = "warden"
_root = 0
_seen: Counter[str] = Counter()


def act_as(role: str, root: int) -> None:
    """Name what this process does from now on, and the pid of the root process that it works for."""
    global _role, _root
    _role, _root = role, root
    _seen.clear()


def before(*what: str) -> None:
    """Something is about to be done."""
    if _directory:
        _pass("before", what)


def after(*what: str) -> None:
    """Something was done."""
    if _directory:
        _pass("after", what)


def _pass(moment: str, what: tuple[str, ...]) -> None:
    # Ids and keys differ from run to run.
    words = (re.sub("[0-9a-f]{6,}", "*", word) for word in what if word)
    place = " ".join([_role, moment, *words])
    _seen[place] += 1
    label = f"{place} #{_seen[place]}"
    passed = os.open(os.path.join(_directory, "passed"), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(passed, label.encode() + b"\n")
        # Up to its own end: others may have added theirs meanwhile.
        count = os.pread(passed, os.lseek(passed, 0, os.SEEK_CUR), 0).count(b"\n")
    finally:
        os.close(passed)
    _die_if_told(label, count)


def _die_if_told(label: str, count: int) -> None:
    orders = sorted(name for name in os.listdir(_directory) if name.startswith("kill."))
    if not orders:
        return
    order = os.path.join(_directory, orders[0])
    with suppress(FileNotFoundError), open(order) as file:
        wanted = json.load(file)
        if wanted.get("label") == label or wanted.get("count") == count:
            os.unlink(order)
            number = wanted.get("signal", signal.SIGKILL)
            os.kill(_root if wanted.get("root") and _root else os.getpid(), number)
            if number == signal.SIGKILL:
                # The root's death ends this process, too.
                signal.pause()
