"""Does something as an ordinary user, since nothing is closed to root."""

from __future__ import annotations

import os
import subprocess
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from tako.system.libc import allow_dumps

NOBODY = 65534


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
