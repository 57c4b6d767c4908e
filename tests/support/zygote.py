"""Starts `tako` many times for the price of loading its modules once: forked, not executed.

    tests ──socket──> zygote (all of tako loaded, no thread) ──fork──> warden ── root ── ...

What is forked has its own session, environment, directory and streams, and calls the same `main` as the
console script. Its forkserver is forked too; all else it starts is executed as ever. A test that starts some
hundred saves two thirds of their processor time; that it does the same as the console script is tested.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import thread
from multiprocessing import util
from pathlib import Path
from typing import Any, NoReturn

import psutil

import tako
from tako.cli.main import main
from tako.system import crash_points
from tests.support import processes
from tests.support.runner import GENEROUS_S, Finished

_REQUEST_MAX = 1 << 16
_PIECE = 1 << 16
_EXECUTED = util.spawnv_passfds
#: What coverage has put there when it was started: workers read it, and a forked forkserver lacks it.
_MEASURED = {name: text for name, text in os.environ.items() if name == "COVERAGE_RCFILE"}
#: What runs on being imported.
_NOT_LOADED = ("tako.__main__", "tako.engine.workers.preload")


class Zygote:
    """The tests' side of it."""

    def __init__(self, line: socket.socket, pid: int, answers_within_s: float) -> None:
        self._line = line
        self._pid = pid
        self._answers_within_s = answers_within_s
        #: Not after a command that did not end: its answer would be taken for the next one's.
        self.is_usable = True

    def __call__(self, *arguments: str, cwd: Path, env: Mapping[str, str]) -> Finished:
        """Run one command until it and all that has its streams have ended.

        Raises `TimeoutError` after a generous time, with a note of each process that still runs.
        """
        assert self.is_usable
        self.is_usable = False
        request = json.dumps({"arguments": arguments, "cwd": str(cwd), "env": dict(env)}).encode()
        readable, writable = zip(os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC), strict=True)
        try:
            socket.send_fds(self._line, [request], writable)
        finally:
            for descriptor in writable:
                os.close(descriptor)
        try:
            stdout, stderr = _all_of(readable, self._answers_within_s)
        except TimeoutError as error:
            for process in psutil.Process(self._pid).children(recursive=True):
                error.add_note(processes.described(process))
            raise
        code = int(self._line.recv(100))
        self.is_usable = True
        return Finished(code, stdout, stderr)


@contextlib.contextmanager
def zygote(environment: Mapping[str, str], *, answers_within_s: float = GENEROUS_S) -> Iterator[Zygote]:
    """Start one; it ends, with whatever it has started, when the context does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(GENEROUS_S)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.zygote", str(theirs.fileno())],
            cwd=Path(__file__).parents[2],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    processes.LASTING.add(process.pid)
    try:
        with process, ours:
            made = Zygote(ours, process.pid, answers_within_s)
            yield made
            # What has not ended would be waited for.
            for left in [] if made.is_usable else psutil.Process(process.pid).children(recursive=True):
                left.kill()
            ours.close()
            process.wait(GENEROUS_S)
    finally:
        processes.LASTING.discard(process.pid)


def _all_of(pipes: Sequence[int], within_s: float) -> list[str]:
    """Read all of them at the same time to their ends, and close them."""
    found = {descriptor: bytearray() for descriptor in pipes}
    deadline = time.monotonic() + within_s
    with contextlib.ExitStack() as opened, selectors.DefaultSelector() as selector:
        for descriptor in pipes:
            opened.callback(os.close, descriptor)
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(deadline - time.monotonic())
            if time.monotonic() > deadline:
                raise TimeoutError
            for key, _ in ready:
                data = os.read(key.fd, _PIECE)
                found[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
    return [data.decode("utf-8", "backslashreplace") for data in found.values()]


def _serve(line: socket.socket) -> None:
    for module in pkgutil.walk_packages(tako.__path__, "tako."):
        if module.name not in _NOT_LOADED:
            importlib.import_module(module.name)
    while True:
        request, descriptors, _, _ = socket.recv_fds(line, _REQUEST_MAX, 2)
        if not request:
            return
        pid = os.fork()
        if pid == 0:
            _be_tako(descriptors, **json.loads(request))
        for descriptor in descriptors:
            os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        line.send(str(os.waitstatus_to_exitcode(status)).encode())


def _be_tako(descriptors: list[int], arguments: list[str], cwd: str, env: dict[str, str]) -> NoReturn:
    code = 70
    try:
        os.setsid()
        for number, descriptor in enumerate(descriptors, 1):
            os.dup2(descriptor, number)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        # Python has looked at its streams when it started.
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8")
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace")
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        crash_points._directory = env.get(crash_points.VARIABLE, "")
        sys.argv = ["tako", *arguments]
        util.spawnv_passfds = _forked_forkserver  # type: ignore[assignment]
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - as Python itself does
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _forked_forkserver(path: bytes, arguments: Sequence[Any], descriptors: Sequence[int]) -> int:
    """Start a helper of multiprocessing: a forkserver without execve(2), so that its modules are loaded."""
    program = str(arguments[-1])
    if "forkserver" not in program:
        return _EXECUTED(path, arguments, descriptors)
    pid = os.fork()
    if pid:
        return pid
    try:
        # Connections and files of the root are here too. Collected as garbage, they would close whatever has
        # got their number meanwhile.
        gc.freeze()
        # Threads of the root's that are not here would be waited for at the end.
        thread._threads_queues.clear()  # type: ignore[attr-defined]
        os.environ.update(_MEASURED)
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2 and int(name) not in descriptors:
                with contextlib.suppress(OSError):
                    os.close(int(name))
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        exec(program, {"__name__": "__main__"})  # noqa: S102 - what `python -c` would do
    except BaseException:  # noqa: BLE001 - as Python itself does
        traceback.print_exc()
    finally:
        os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _serve(socket.socket(fileno=int(sys.argv[1])))
