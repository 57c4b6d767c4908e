"""The kernel kills a worker when the process that owns it is gone.

The owner holds the only write end of a pipe. The worker asks the kernel to send SIGKILL at
that pipe's end of file (fcntl(2), F_SETSIG and O_ASYNC), which works while the worker is idle,
busy in C code or stopped. A selector alone would notice only in the first case.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal

_F_SETSIG = 10


def own_view(descriptor: int) -> int:
    """Open the pipe behind a descriptor again: what `arm` sets belongs to the open file (open(2)).

    A forked process has its parent's open files, and would take the parent's death for its own.
    """
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def arm(descriptor: int) -> None:
    """Die by SIGKILL as soon as the last write end of the pipe behind `descriptor` is closed."""
    fcntl.fcntl(descriptor, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    # The owner may have died before the signal was asked for: end of file is then there already.
    if any(event & select.POLLHUP for _, event in poll.poll(0)):
        signal.raise_signal(signal.SIGKILL)
