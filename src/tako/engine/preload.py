"""Imported by the forkserver only: its own session, and all that a worker needs already loaded.

The forkserver swallows ImportErrors of preloaded modules (CPython's `multiprocessing.forkserver`),
so that a test asserts what is loaded in a worker.
"""

from __future__ import annotations

import os
from contextlib import suppress

import setproctitle

import tako.engine.worker
import tako.expressions.templates
import tako.system.identity

# A signal from the terminal must not reach the forkserver; setsid(2) fails only for a group leader.
with suppress(PermissionError):
    os.setsid()
setproctitle.setproctitle("tako: forkserver")

LOADED = (tako.engine.worker, tako.expressions.templates, tako.system.identity)
