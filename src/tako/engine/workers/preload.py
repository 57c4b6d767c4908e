"""Imported by the forkserver only: its own session, and all that a worker needs already loaded.

The forkserver swallows ImportErrors of preloaded modules (CPython's `multiprocessing.forkserver`),
so that a test asserts what is loaded in a worker.
"""

from __future__ import annotations

import gc
import multiprocessing.popen_forkserver
import multiprocessing.queues
import multiprocessing.synchronize
import os
from contextlib import suppress

import setproctitle

import tako.engine.steps.fan_out
import tako.engine.workers.slot
import tako.events.scope
import tako.expressions.outputs
from tako.system.libc import forbid_dumps

# A signal from the terminal must not reach the forkserver; setsid(2) fails only for a group leader.
with suppress(PermissionError):
    os.setsid()
setproctitle.setproctitle("tako: forkserver")
forbid_dumps()

LOADED = (
    multiprocessing.popen_forkserver,
    multiprocessing.queues,
    multiprocessing.synchronize,
    tako.engine.workers.slot,
    tako.engine.steps.fan_out,
    tako.events.scope,
    tako.expressions.outputs,
)

# A worker lives for one segment. A collection in it would touch, and so copy, every page it shares with
# this process (gc.freeze in CPython's documentation); what a step needs is freed by reference counts.
gc.disable()
gc.collect()
gc.freeze()
