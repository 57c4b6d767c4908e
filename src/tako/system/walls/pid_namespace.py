"""A pid namespace for one step, made between fork(2) and execve(2).

    worker ─┬─ launcher   forked by subprocess; makes the namespace and these two, and ends
            ├─ init       pid 1 in there: collects orphans, dies with the worker and takes all along
            └─ step       goes on to execve(2)

In: a pipe. Out: on that pipe the pids of init and step, which are the worker's own children (CLONE_PARENT,
clone(2)), so that the worker has the step's own exit status and signals reach the step. In there nobody else
has a pid: no call can name another process of the user (pid_namespaces(7)). Raises `OSError`.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
from contextlib import suppress
from typing import NoReturn

from tako.system.libc import check, die_with_parent
from tako.system.walls.privileges import drop_capabilities, forbid_new_privileges

_CLONE_NEWPID = 0x20000000
_CLONE_PARENT = 0x00008000
_STANDARD_STREAMS = (0, 1, 2)
_SYS_CLONE = {"x86_64": 56, "aarch64": 220}

#: Not CDLL: that gives up the interpreter's lock during a call, and of two processes only one would get it.
_libc = ctypes.PyDLL(None, use_errno=True)


def enter(tell: int) -> None:  # pragma: no cover - between fork and exec nothing is measured
    """Called in the launcher, returns in the step only, which leads a session of its own."""
    worker = os.pidfd_open(os.getppid())
    _forget_signals()
    check(_libc.unshare(_CLONE_NEWPID))
    init = _sibling()
    if init == 0:
        _be_init(worker)
    os.write(tell, b"%d " % init)
    step = _sibling()
    if step == 0:
        os.setsid()
        return
    os.write(tell, b"%d" % step)
    os._exit(0)


def read_pids(hear: int) -> tuple[int, ...]:
    """The report of `enter`: init and step, as far as it came."""
    with os.fdopen(hear, "rb", closefd=False) as file:
        return tuple(map(int, file.read().split()))


def end(pids: tuple[int, ...]) -> None:
    """Kill init and step, children of the calling process, and collect them, or what of them is left."""
    # An init ends only after all in its namespace were collected, those that have ended too.
    for pid in reversed(pids):
        with suppress(ChildProcessError):
            # A child that nobody has collected still has its pid.
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _sibling() -> int:  # pragma: no cover - as above
    """Fork a child of the parent's; as the calling process has one thread, nothing has to be made anew."""
    number = ctypes.c_long(_SYS_CLONE[os.uname().machine])
    none = ctypes.c_long(0)
    pid = int(_libc.syscall(number, ctypes.c_long(_CLONE_PARENT | signal.SIGCHLD), none, none, none, none))
    if pid < 0:
        check(pid)
    return pid


def _forget_signals() -> None:  # pragma: no cover - as above
    """Reset handlers, which write into a pipe of the worker: a step could give it orders."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)


def _be_init(worker: int) -> NoReturn:  # pragma: no cover - as above
    try:
        die_with_parent()
        poll = select.poll()
        poll.register(worker, select.POLLIN)
        # The worker may have ended before that was asked for.
        if not poll.poll(0):
            _hold_nothing()
            # Blocked, not ignored: an ignored one would be lost between two looks (pid_namespaces(7)).
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
            while True:
                _collect()
                signal.sigwait({signal.SIGCHLD})
    finally:
        os._exit(1)


def _hold_nothing() -> None:  # pragma: no cover - as above
    """Keep no pipe, lock, directory or privilege of the worker's."""
    os.setsid()
    os.chdir("/")
    nothing = os.open("/dev/null", os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if int(name) in _STANDARD_STREAMS:
                os.dup2(nothing, int(name))
            else:
                os.close(int(name))
    forbid_new_privileges()
    drop_capabilities()


def _collect() -> None:  # pragma: no cover - as above
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
