"""A program of tako's own that answers questions one by one, and that can be ended at any moment.

In: lines. Out: one line for each. It runs in a session of its own, and dies with the thread that started
it. A companion that was ended, or that died, raises `CompanionGoneError` with how it ended.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

from tako.errors import TakoError
from tako.system import crash_points
from tako.system.libc import die_with_parent
from tako.system.process.descendants import HELPERS, signal_group, wait_for_exit
from tako.system.process.signals import name_of

_CHUNK = 1 << 16
_DYING_S = 1.0


class CompanionGoneError(TakoError):
    """It gave no answer; `out_of_time` if it had used the CPU time that it had."""

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.out_of_time = number == signal.SIGPROF


class Companion:
    """One such program; only `end` may be called from another thread."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it; raises `OSError`."""
        crash_points.before("start", "companion")
        self._process = HELPERS.start(
            lambda: subprocess.Popen(
                [*arguments, str(os.getpid())],
                env=environment,
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        crash_points.after("start", "companion")
        self._lock = threading.Lock()
        self._collected = False
        for stream in (self._process.stdin, self._process.stdout):
            os.set_blocking(_descriptor(stream), False)

    def ask(self, question: bytes, timeout_s: float) -> bytes:
        """Return its answer to one line, both without newline.

        Raises `CompanionGoneError`, also when no answer came in time: it is ended then.
        """
        deadline = time.monotonic() + timeout_s
        to_say, heard = memoryview(question + b"\n"), b""
        say, hear = _descriptor(self._process.stdin), _descriptor(self._process.stdout)
        while not heard.endswith(b"\n"):
            ready = _ready(hear, say if to_say else None, deadline)
            if not ready:
                raise self._gone(in_time=False)
            if say in ready:
                with suppress(BrokenPipeError, BlockingIOError):
                    to_say = to_say[os.write(say, to_say[:_CHUNK]) :]
            if hear in ready:
                piece = os.read(hear, _CHUNK)
                if not piece:
                    raise self._gone()
                heard += piece
        return heard[:-1]

    def _gone(self, *, in_time: bool = True) -> CompanionGoneError:
        if in_time:
            # Its descriptors are closed a moment before it has ended. It is collected only by `close`: before
            # that nobody else can have its number, to which `end` sends a signal.
            pidfd = os.pidfd_open(self._process.pid)
            wait_for_exit(pidfd, _DYING_S)
            os.close(pidfd)
        self.close()
        number = max(0, -self._process.returncode)
        if not in_time:
            return CompanionGoneError("it gave no answer in time")
        return CompanionGoneError(f"it ended by {name_of(number)}" if number else "it ended", number)

    def end(self) -> None:
        """Kill it; callers that wait for an answer get the error that it is gone."""
        with self._lock:
            if not self._collected:
                signal_group(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill and collect it; a second time does nothing."""
        with self._lock:
            if self._collected:
                return
            # Once it is collected its number may be another's.
            self._collected = True
            if self._process.poll() is None:
                signal_group(self._process.pid, signal.SIGKILL)
            self._process.wait()
        HELPERS.ended(self._process.pid)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


def _ready(hear: int, say: int | None, deadline: float) -> set[int]:
    poll = select.poll()
    poll.register(hear, select.POLLIN)
    if say is not None:
        poll.register(say, select.POLLOUT)
    return {descriptor for descriptor, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000)}


def _descriptor(stream: IO[bytes] | None) -> int:
    assert stream is not None
    return stream.fileno()


# --- the other side ---


def serve_until_parent_ends(parent: int, memory: int) -> None:
    """Be a companion of the process `parent` that may use so many bytes; ends at once if that is gone."""
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.getppid() != parent:
        raise SystemExit(1)


def die_after_cpu(seconds: float) -> None:
    """Let the kernel end this process after so much more CPU time: setitimer(2), ITIMER_PROF."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, max(seconds, 0.001))


def live_on() -> None:
    """Undo `die_after_cpu`."""
    signal.setitimer(signal.ITIMER_PROF, 0)
