"""Namespaces with the overlays of shown directories in them, made once for many workers.

    slot ──fork──▶ maker: enters own namespaces, hangs up overlays ── their descriptors ──▶ slot
    slot ──fork──▶ worker: setns(2) to them, then mount and IPC namespaces of its own

A mount namespace that is made there begins as a copy (mount_namespaces(7)): what one worker mounts reaches
neither the prepared one nor the next worker, and its IPC namespace is new. Common to them is the user
namespace, which holds nothing but one uid, and what none of them can change: overlays without an upper
directory, copies on read-only mounts. The caller is none of it; descriptors keep it alive.
"""

from __future__ import annotations

import os
import pickle
import socket
from contextlib import suppress
from typing import NoReturn

from tako.system.libc import die_with_parent
from tako.system.storage.writing import memory_file
from tako.system.walls.namespaces import join_namespaces
from tako.system.walls.veils import Hung, Veils, enter_veiled
from tako.values import value

_SPACES = ("user", "mnt")


@value
class Prepared:
    """Descriptors of a user and a mount namespace, and what hangs in there."""

    user: int
    mounts: int
    hung: Hung

    def enter(self) -> None:
        """Move the calling process, which has one thread, there and into a copy; raises `OSError`."""
        join_namespaces(self.user, self.mounts)

    def close(self) -> None:
        """Return the descriptors back."""
        os.close(self.user)
        os.close(self.mounts)


def prepare(veils: Veils) -> Prepared | None:
    """Make them in a process of its own; None where that cannot be done."""
    hear, tell = socket.socketpair()
    with hear:
        with tell:
            pid = os.fork()
            if pid == 0:
                _make(veils, tell)
        try:
            _, descriptors, _, _ = socket.recv_fds(hear, 1, len(_SPACES) + 1)
        finally:
            os.waitpid(pid, 0)
    if not descriptors:
        return None
    user, mounts, told = descriptors
    with os.fdopen(told, "rb") as file:
        return Prepared(user, mounts, pickle.load(file))  # noqa: S301 - written by our own process


def _make(veils: Veils, tell: socket.socket) -> NoReturn:  # pragma: no cover - nothing is measured here
    with suppress(BaseException):
        die_with_parent()
        hung = memory_file("hung", pickle.dumps(enter_veiled(veils)))
        spaces = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in _SPACES]
        socket.send_fds(tell, [b"\0"], [*spaces, hung])
    os._exit(0)
