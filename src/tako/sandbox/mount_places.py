"""The places of mounts in directories that steps may write: made and checked before the wall is built.

In: mounts, in order. Out: those that are needed. What builds a wall finds places by their paths, outside of
that wall: a link that a step left there would lead it anywhere, to make directories or to mount over them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tako.sandbox.policy import Mount
from tako.sandbox.started import SandboxFailedError
from tako.system.storage.links import led_out_of
from tako.system.storage.places import make_place


def placed(mounts: Iterable[Mount]) -> tuple[Mount, ...]:
    """Make the places that lie in writable mounts; for while no process of a step is left.

    What such a mount shows already at the same place is left out. Raises `SandboxFailedError` for a place
    that is behind a link, or is something else than what is to be shown there.
    """
    done: list[tuple[str, Mount]] = []
    for mount in mounts:
        target = mount.target
        below = next((one for prefix, one in reversed(done) if target.startswith(prefix)), None)
        if below is None or not below.writable or _make(below, mount):
            done.append((f"{target}/", mount))
    return tuple(mount for _, mount in done)


def check_led(path: str, written: tuple[str, ...]) -> None:
    """Raise `SandboxFailedError` if a step has put a link in the way of what tako shows by itself."""
    if out := led_out_of(path, written):
        message = f"{path} cannot be shown: a link leads it out of {out}, which steps may write"
        raise SandboxFailedError(message, hint="remove that link, or the right to write there")


def _make(below: Mount, mount: Mount) -> bool:
    """Make one place; False if the same is to be seen there without a mount."""
    relative = os.path.relpath(mount.target, below.target)
    if mount.source == f"{below.source}/{relative}":
        return False
    try:
        make_place(Path(below.source), relative, directory=Path(mount.source).is_dir())
    except OSError as error:
        message = f"{mount.target} cannot be shown: a step has put something else there: {error.strerror}"
        raise SandboxFailedError(
            message, hint="no step may replace this path or a directory above it"
        ) from error
    return True
