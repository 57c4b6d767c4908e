"""Attacks on what is shown of the machine: credentials, what only root may read, who answers there."""

from __future__ import annotations

import contextlib
import os

from tako.sandbox.policy import LANDLOCK
from tests.sandbox.attacks.shot import SUCCESS, Attack, Shot, connected, python, read_it, said_so
from tests.sandbox.attacks.targets import Range

_TABLES = f"""
tables = [f"/proc/{{name}}" for name in os.listdir("/proc") if not name.isdigit()]
tables = [path for path in tables if os.path.isfile(path) and not os.path.islink(path)]
for path in tables:
    # What is reserved to those with a capability says so, whoever asks.
    if not os.stat(path).st_mode & 0o004:
        try:
            with open(path, "rb") as file:
                if os.path.basename(path) != "kmsg" and file.read(16):
                    print("{SUCCESS}", path)
        except OSError:
            pass
"""

_PIPE = f"""
os.write(os.open(os.environ["PIPE"], os.O_WRONLY | os.O_NONBLOCK), b"{SUCCESS}")
"""
_SOCKET = """
import socket
socket.socket(socket.AF_UNIX).connect(os.environ["SHOWN_SOCKET"])
"""


def _heard(scene: Range, _: Shot) -> bool:
    """Something came through the pipe."""
    with contextlib.suppress(BlockingIOError):
        return bool(os.read(scene.heard, 64))
    return False


ATTACKS = (
    Attack("read a credential below a tool that is shown", 'cat "$CREDENTIAL"', read_it),
    Attack(
        "read tables of the kernel that are closed to others (/proc)",
        python(_TABLES),
        said_so,
        by_namespaces=(LANDLOCK,),
    ),
    Attack(
        "read a file below a shown directory that only root may read",
        'cat "$CLOSED"',
        read_it,
        by_namespaces=(LANDLOCK,),
    ),
    Attack(
        "connect to a socket below a shown directory",
        python(_SOCKET),
        connected(lambda scene: scene.sockets.shown),
        by_namespaces=(LANDLOCK,),
    ),
    Attack("write to a pipe (FIFO) below a shown directory", python(_PIPE), _heard),
)
