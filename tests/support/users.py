"""Does something as an ordinary user, since nothing is closed to root."""

from __future__ import annotations

import os
import subprocess
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

NOBODY = 65534


def as_ordinary_user(directory: Path, act: Callable[[], str]) -> str:
    """Run `act` in a forked child that stands in `directory`, owns it, and is not root; give what it gives.

    Only relative paths work in there: the way to the directory may be closed to that user.
    """
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        answer = ""
        try:
            os.chdir(directory)
            if os.geteuid() == 0:
                os.chown(".", NOBODY, NOBODY)
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
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


def can_mount(unshare: Sequence[str]) -> bool:
    """Say whether this user may mount a tmpfs in a namespace made by `unshare`."""
    words = [*unshare, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
