"""Imported by the forkserver only: its own session, and all that a worker needs already loaded.

A worker lives for one segment and pays again for whatever it loads, compiles or works out itself. The
forkserver swallows ImportErrors of preloaded modules (CPython's `multiprocessing.forkserver`), so that a test
asserts what is loaded in a worker.
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
import tako.sandbox.landlock_level
import tako.sandbox.machine_view
import tako.sandbox.namespace_level
import tako.sandbox.process_level
import tako.system.walls.veils
from tako.engine.run.spec import SegmentEnd
from tako.engine.steps.outputs import Streams
from tako.engine.steps.process_tree import Ended
from tako.engine.steps.shell import ShellResult
from tako.events.event import Event
from tako.expressions.semver import Version
from tako.journal.parts import Usage
from tako.journal.records import RunFinished, RunStarted, SandboxEntered, StepFinished, StepStarted
from tako.journal.run_state import RunState, StepState
from tako.layout.cache import CacheLayout
from tako.layout.run import Draft, RunDirectory, SeenDirectory
from tako.sandbox.policy import Limits, Mount, Policy
from tako.sandbox.seccomp import program
from tako.sandbox.started import SandboxFailedError
from tako.sandbox.watchdog import Peaks, Watched
from tako.system.accounting.cpu_time import Sample
from tako.system.accounting.usage import Processes
from tako.system.libc import forbid_dumps
from tako.system.walls.landlock import Allowed
from tako.system.walls.own_root import Shown
from tako.system.walls.veils import Hung
from tako.values import compile_init

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
    tako.sandbox.landlock_level,
    tako.sandbox.machine_view,
    tako.sandbox.namespace_level,
    tako.sandbox.process_level,
    tako.system.walls.veils,
)
#: What a worker makes instances of at any level.
USED = (
    Allowed, CacheLayout, Draft, Ended, Event, Hung, Limits, Mount, Peaks, Policy, Processes, RunDirectory,
    RunFinished, RunStarted, RunState, Sample, SandboxEntered, SeenDirectory, SegmentEnd, ShellResult, Shown,
    StepFinished, StepStarted, StepState, Streams, Usage, Version, Watched,
)  # fmt: skip

for _kind in USED:
    compile_init(_kind)
# Where there is none, the step that needs it says so.
with suppress(SandboxFailedError):
    for _among_others in (False, True):
        program(among_others=_among_others)

# A worker lives for one segment. A collection in it would touch, and so copy, every page it shares with
# this process (gc.freeze in CPython's documentation); what a step needs is freed by reference counts.
gc.disable()
gc.collect()
gc.freeze()
