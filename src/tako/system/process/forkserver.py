"""The forkserver of this process, with the private parts of CPython's multiprocessing that tako relies on.

In: modules to preload, a private directory. Out: a context for pools, pids. Raises `OSError` where no process
can be started. Nothing public tells the pid of the forkserver or of the resource tracker, sets where their
sockets and semaphores are, or unlinks semaphores before `os._exit` (CPython 3.11 to 3.14).
"""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tako.layout.machine import semaphore_prefix
from tako.system import crash_points
from tako.system.process.signals import hangup_blocked

if TYPE_CHECKING:
    # A run without fan-out never needs it.
    from multiprocessing.context import BaseContext


def forkserver_context(preload: Sequence[str], temporary: str) -> BaseContext:
    """What makes pools whose workers the forkserver forks; it starts with the first of them.

    `temporary` is a directory for its socket; empty for the default.
    """
    import multiprocessing
    from multiprocessing import process, util

    # CPython 3.11.0 would take one without a file, which every user of the machine and every step with the
    # network can connect to, and have the forkserver run anything (CPython issue 97514).
    util.abstract_sockets_supported = False  # type: ignore[misc]
    # Workers would otherwise import the program that the user started as __mp_main__, and change
    # to the directory that this process started in, which may be gone.
    sys.modules["__main__"] = types.ModuleType("__main__")
    process.ORIGINAL_DIR = "/"  # type: ignore[attr-defined]
    if temporary:
        own = process.current_process()._config  # type: ignore[attr-defined]  # noqa: SLF001
        own["tempdir"] = temporary
        # By their names they are found if even the resource tracker was killed.
        own["semprefix"] = semaphore_prefix(temporary)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def start_tracker() -> int:
    """Start the resource tracker, which the forkserver and its workers share; gives its pid."""
    from multiprocessing import resource_tracker

    crash_points.before("start", "tracker")
    with hangup_blocked():
        resource_tracker.ensure_running()
    crash_points.after("start", "tracker")
    pid: int = resource_tracker._resource_tracker._pid  # type: ignore[attr-defined]  # noqa: SLF001
    return pid


def forkserver_pid() -> int:
    """The pid of the forkserver; 0 if it has not started."""
    from multiprocessing import forkserver

    server: Any = forkserver._forkserver  # noqa: SLF001
    # Held from before it is started until its pid is known.
    with server._lock:  # noqa: SLF001
        return server._forkserver_pid or 0  # noqa: SLF001


def unlink_semaphores() -> None:
    """Unlink named semaphores; finalizers do that, which os._exit would skip."""
    from multiprocessing import util

    util._run_finalizers()  # type: ignore[attr-defined]  # noqa: SLF001
