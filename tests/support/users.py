"""Does something as an ordinary user, since nothing is closed to root."""

from __future__ import annotations

import importlib
import io
import os
import pkgutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import tako
from tako.cli.main import main
from tako.system.libc import allow_dumps
from tests.support.runner import Finished

NOBODY = 65534
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


def in_process(act: Callable[[], str]) -> str:
    """Give what `act` gives in a forked child, or the traceback of what went wrong there."""
    readable, writable = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        answer = ""
        try:
            answer = act()
        except BaseException:  # noqa: BLE001 - the parent shall see whatever went wrong
            answer = traceback.format_exc()
        finally:
            os.write(writable, answer.encode())
            os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as file:
        answer = file.read()
    os.waitpid(pid, 0)
    return answer


def become_ordinary() -> None:
    """Give up being root, for good, and be what an ordinary user's process is otherwise."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        # Who changes its user is not dumpable until it executes something (prctl(2)).
        allow_dumps()


def as_ordinary_user(directory: Path, act: Callable[[], str]) -> str:
    """Run `act` in a forked child that stands in `directory`, owns it, and is not root; give what it gives.

    Only relative paths work in there: the way to the directory may be closed to that user.
    """

    def ordinarily() -> str:
        os.chdir(directory)
        if os.geteuid() == 0:
            os.chown(".", NOBODY, NOBODY)
        become_ordinary()
        return act()

    return in_process(ordinarily)


#: Runs a program in a mount namespace of its own.
UNSHARE_MOUNTS = (
    ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--user", "--map-root-user", "--mount")
)


def can_mount(unshare: Sequence[str] = UNSHARE_MOUNTS) -> bool:
    """Say whether this user may mount a tmpfs in a namespace made by `unshare`."""
    words = [*unshare, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@cache
def load_all() -> None:
    """Import all of tako, so that nothing has to be read later: the files may be closed to the user."""
    for module in pkgutil.walk_packages(tako.__path__, "tako."):
        if module.name not in ("tako.__main__", "tako.engine.workers.preload"):
            importlib.import_module(module.name)


def tako_as_ordinary_user(directory: Path, *arguments: str) -> Finished:
    """Run a command of tako's, forked, as an ordinary user whose home is `directory`, in which it stands.

    It may start no other Python: the interpreter can be closed to that user.
    """
    load_all()
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        code = in_process(lambda: _run_tako(directory, arguments, stdout.fileno(), stderr.fileno()))
        stdout.seek(0)
        stderr.seek(0)
        return Finished(int(code), stdout.read().decode(), stderr.read().decode())


def _run_tako(directory: Path, arguments: Sequence[str], *streams: int) -> str:
    become_ordinary()
    os.chdir(directory)
    os.environ.clear()
    os.environ.update({"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "HOME": str(directory)})
    for number, stream in enumerate(streams, 1):
        os.dup2(stream, number)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8")
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace")
    sys.argv = ["tako", *arguments]
    try:
        main()
    except SystemExit as end:
        return str(end.code)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return "0"
