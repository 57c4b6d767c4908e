"""The warden: tako's first process, which outlives everything it started.

    warden ── waits, forwards signals, collects what is orphaned
     └─ root ── does the work

Both are child subreapers and watch each other by pidfd. Whichever ends first, the other one
kills and collects all that is left below it: neither `kill -9` of the warden nor of the root
leaves a process behind. What the root writes into `announce` (the pid of multiprocessing's
resource tracker) may end by itself, because only it can remove the semaphores of a dead root.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from tako import exit_codes
from tako.errors import MachineError
from tako.system import crash_points, libc
from tako.system.process.descendants import end_descendants, wait_for_exit
from tako.system.process.identity import send
from tako.system.process.signals import STOPPING, SignalPipe
from tako.system.terminal import streams
from tako.values import field, value

_FORWARDED = (*STOPPING, signal.SIGTSTP, signal.SIGCONT, signal.SIGUSR1)
_TRACKER_GRACE_S = 1.0
#: Bytes of TMPDIR with which a socket below `tako-<12 hex>/<number>/` still has room for its own name.
_BASE_MAX = 48


@value
class WardenLink:
    """The root's side: a short path for a private directory, the warden's pidfd, a line to the warden."""

    temporary: str
    warden_pidfd: int
    _line: int
    #: Helpers that end by themselves once this process is gone.
    _helpers: set[int] = field(factory=set)

    def make_temporary(self) -> None:
        """Make the private directory; the process that outlives the other one removes it.

        Raises `MachineError`.
        """
        try:
            os.mkdir(self.temporary, 0o700)
        except OSError as error:
            message = f"the temporary directory {self.temporary} cannot be made: {error.strerror}"
            raise MachineError(message) from error

    def announce(self, pid: int) -> None:
        """Have a helper spared, here and by the warden, that must be given time to end by itself."""
        self._helpers.add(pid)
        os.write(self._line, f"{pid}\n".encode())

    def end_others(self) -> None:
        """End all descendants but the announced helpers."""
        end_descendants(spare=self._helpers, timeout_s=5.0)

    def abandon(self) -> None:
        """End all descendants and this process, without another record."""
        self.end_others()
        _remove(self.temporary)
        os._exit(exit_codes.of_signal(signal.SIGKILL))

    def watch(self, at_end: Callable[[], None] = lambda: None) -> None:
        """From now on, end everything when the warden is gone; call once no fork is to come.

        `at_end` is called first, in another thread.
        """
        signal.signal(signal.SIGUSR2, _hold)
        watch = threading.Thread(
            target=self._end_with_warden, args=(at_end,), name="warden-watch", daemon=True
        )
        watch.start()

    def _end_with_warden(self, at_end: Callable[[], None]) -> None:
        wait_for_exit(self.warden_pidfd, 10**6)
        # Else the main thread would take the deaths that follow for lost workers: record and retry them.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)
        at_end()
        self.abandon()


def _hold(_number: int, _frame: object) -> None:
    """Keep the main thread from doing anything more."""
    while True:
        signal.pause()


def under_warden(work: Callable[[WardenLink], int], *, foreground: bool = False) -> int:
    """Run `work` in a child process, forward signals to it, and return its exit code.

    With `foreground` it may use the terminal as the caller may: signals from there can reach it twice.
    Must be called while the process has one thread (fork).
    """
    temporary = _private_name()
    listen, line = os.pipe2(os.O_CLOEXEC)
    own_pidfd = os.pidfd_open(os.getpid())
    libc.become_subreaper()
    # The environment that tako was started with may hold secrets, and any process of this user could read it.
    libc.forbid_dumps()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
    for stream in (sys.stdout, sys.stderr):
        streams.flush_or_discard(stream)
    crash_points.before("start", "root")
    root = os.fork()
    if root == 0:
        crash_points.act_as("root", os.getpid())
        os.close(listen)
        _be_root(work, WardenLink(temporary, own_pidfd, line), before, foreground=foreground)
    crash_points.after("start", "root")
    os.close(line)
    os.close(own_pidfd)
    return _Warden(root, listen, temporary).stand(before)


def private_base(environment: Mapping[str, str]) -> str:
    """Return where each tako has its private directory: paths of sockets have at most 108 bytes (unix(7))."""
    base = environment.get("TMPDIR", "")
    if not base.startswith("/") or len(base) > _BASE_MAX:
        return "/tmp"  # noqa: S108 - a directory of our own is made in it, and mkdir(2) refuses what exists
    return base


def _private_name() -> str:
    """For a directory of this user's alone."""
    return f"{private_base(os.environ)}/tako-{os.urandom(6).hex()}"


def _remove(temporary: str) -> None:
    with suppress(OSError):
        # Empty, as each segment's own directory is removed with it: nothing has to be loaded for that.
        os.rmdir(temporary)
        return
    from tako.system.storage.removal import remove_tree

    # What a step left there (sockets, mode 000) must not keep tako from ending.
    with suppress(OSError, MachineError):
        remove_tree(Path(temporary))


def _be_root(
    work: Callable[[WardenLink], int], post: WardenLink, before: Iterable[int], *, foreground: bool
) -> None:
    code = 3
    try:
        if not foreground:
            # Its own group: a signal from the terminal reaches only the warden, which passes it on once.
            os.setpgid(0, 0)
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        libc.become_subreaper()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if wait_for_exit(post.warden_pidfd, 0):
            post.abandon()
        code = work(post)
    finally:
        post.end_others()
        try:
            for stream in (sys.stdout, sys.stderr):
                streams.flush_or_discard(stream)
        finally:
            # Whatever happens: this is a copy of the warden's process, and must not go on as one.
            os._exit(code)


class _Warden:
    """The parent's half: one loop over the root's pidfd and the signals."""

    def __init__(self, root: int, listen: int, temporary: str) -> None:
        self._root = root
        self._pidfd = os.pidfd_open(root)
        self._listen = listen
        self._temporary = temporary

    def stand(self, before: Iterable[int]) -> int:
        signals = SignalPipe(_FORWARDED)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.register(signals.descriptor, select.POLLIN)
        while not any(descriptor == self._pidfd for descriptor, _ in poll.poll()):
            for number in signals.read():
                self._forward(number)
        _, status = os.waitpid(self._root, 0)
        self._clear()
        return self._exit_code(os.waitstatus_to_exitcode(status))

    def _forward(self, number: int) -> None:
        send(self._pidfd, number)
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)

    def _clear(self) -> None:
        trackers = self._announced()
        end_descendants(spare=trackers)
        for pid in trackers:
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            wait_for_exit(pidfd, _TRACKER_GRACE_S)
            os.close(pidfd)
        end_descendants()
        _remove(self._temporary)

    def _announced(self) -> list[int]:
        os.set_blocking(self._listen, False)
        try:
            return [int(line) for line in os.read(self._listen, 4096).split()]
        except BlockingIOError:
            return []

    def _exit_code(self, code: int) -> int:
        if code >= 0:
            return code
        streams.say(
            sys.stderr,
            f"tako: its root process was killed by signal {-code}; nothing of the run is left running.\n"
            "tako: `tako runs` lists the run as interrupted.\n",
        )
        return exit_codes.MACHINE
