"""Overlays over directories of the machine: the same files, but no sockets or pipes of programs outside.

In: directories that others are shown read-only, and an empty one to hang their overlays up in. Out: where
each hangs. A socket or a FIFO in an overlay is another one than that below it, and so is a lock on a file:
they reach no program outside, at the same cost for any number of files (overlayfs.rst). A read-only mount
alone stops neither connect(2) nor open(2) of a FIFO.

Root owns the system, so that modes close nothing to a step of root's, which has no capabilities but root's
uid. An overlay reads with the rights of its maker: root makes them as somebody who owns nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tako.system.walls.gathered import gather
from tako.system.walls.namespaces import enter_own_mounts, enter_own_namespaces, mount_memory, mount_veil
from tako.values import evolve, field, value

_ROOT, _STRANGER = 0, 65534
_MEMORY = 1 << 25
_EMPTY, _GATHERED = "empty", "gathered"
_MOUNTS = "/proc/self/mountinfo"
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_OPEN = stat.S_IROTH | stat.S_IXOTH

_libc = ctypes.CDLL(None, use_errno=True)


@value
class Veils:
    """Directories to be shown behind overlays, and the directory `place` that these hang in."""

    place: str = ""
    #: What everybody is shown: root sees of it what others may, unless it is closed to them as a whole.
    machine: tuple[str, ...] = ()
    #: What the user has granted: root sees all of it.
    granted: tuple[str, ...] = ()
    #: A directory with many of `machine` in it, which share one overlay: as each costs time.
    shared: str = ""
    #: What is shown of it, files too: as a directory that holds nothing else.
    gathered: tuple[str, ...] = ()


@value
class Hung:
    """Where the overlay of each directory hangs, of those that can have one."""

    machine: Mapping[str, str] = field(factory=dict)
    granted: Mapping[str, str] = field(factory=dict)
    #: Where the directory with what is gathered stands; empty if that has to be shown one by one.
    gathered: str = ""


def behind(path: str, overlays: Mapping[str, str]) -> str:
    """Where a path of the machine is to be seen by its overlay; the path itself where there is none."""
    for top, source in overlays.items():
        if path == top or path.startswith(f"{top}/"):
            return source + path.removeprefix(top)
    return path


def enter_veiled(veils: Veils) -> Hung:
    """Enter own namespaces, and hang up an overlay of each directory in there.

    Where another file system is mounted in a directory, those in it are veiled one by one. Raises `OSError`
    if there can be no namespaces.
    """
    hung = Hung()
    if veils.place and os.geteuid() == _ROOT:
        # In a user namespace of its own it could be nobody else.
        with suppress(OSError):
            enter_own_mounts()
            hung = _hang(veils)
    enter_own_namespaces()
    if veils.place and not hung.machine:
        with suppress(OSError):
            hung = _hang(veils)
    return hung


def _hang(veils: Veils) -> Hung:
    points, place = mount_points(), Path(veils.place)
    sharing = (_sharing(path, veils.shared, points) for path in veils.machine)
    machine, granted = (
        tuple(dict.fromkeys(piece for path in paths for piece in _pieces(path, points)))
        for paths in (dict.fromkeys(sharing), veils.granted)
    )
    mount_memory(place, _MEMORY)
    (place / _EMPTY).mkdir(mode=0o755)
    hung = Hung(
        dict(_hung(machine, place, "m", strange=True)), dict(_hung(granted, place, "g", strange=False))
    )
    return evolve(hung, gathered=_gathered_at(veils, place / _GATHERED, hung.machine))


def _gathered_at(veils: Veils, place: Path, machine: Mapping[str, str]) -> str:
    if not veils.gathered:
        return ""
    try:
        gather(veils.shared, veils.gathered, lambda path: behind(path, machine), place)
    except (OSError, ValueError):
        return ""
    return str(place)


def _hung(paths: Sequence[str], place: Path, kind: str, *, strange: bool) -> Iterator[tuple[str, str]]:
    for number, path in enumerate(paths):
        target = place / f"{kind}{number}"
        target.mkdir(mode=0o755)
        with suppress(OSError):
            _veil(Path(path), place / _EMPTY, target, strange=strange)
            yield path, str(target)


def _veil(path: Path, empty: Path, target: Path, *, strange: bool) -> None:
    with ExitStack() as stack:
        # The way there may be closed to whom the overlay is made by.
        found = [os.open(one, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for one in (path, empty, target)]
        for descriptor in found:
            stack.callback(os.close, descriptor)
        if os.readlink(f"/proc/self/fd/{found[0]}") != os.path.abspath(path):
            # The path had no links when it was chosen.
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        if strange and os.geteuid() == _ROOT and os.fstat(found[0]).st_mode & _OPEN == _OPEN:
            with suppress(PermissionError):
                stack.enter_context(_as_stranger())
        mount_veil(*found)


@contextmanager
def _as_stranger() -> Iterator[None]:
    """Use files as a user who owns none: setfsuid(2). Raises `PermissionError` where root may not."""
    groups = os.getgroups()
    os.setgroups([])
    try:
        for change in (_libc.setfsgid, _libc.setfsuid):
            change(_STRANGER)
            # It tells no failure but by who it was before.
            if change(-1) != _STRANGER:
                raise PermissionError
        yield
    finally:
        _libc.setfsuid(os.geteuid())
        _libc.setfsgid(os.getegid())
        os.setgroups(groups)


def _sharing(path: str, shared: str, points: Sequence[str]) -> str:
    """The directory in whose overlay another is to be found too, or that one itself."""
    below = f"{shared}/"
    if shared and path.startswith(below) and not any(point.startswith(below) for point in points):
        return shared
    return path


def _pieces(path: str, points: Sequence[str]) -> Iterator[str]:
    """A directory, or those in it where something is mounted below it: an overlay does not show that."""
    inside = [point for point in points if point.startswith(path.rstrip("/") + "/")]
    if not inside:
        yield path
        return
    with suppress(OSError), os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                yield from _pieces(entry.path, inside)


def mount_points() -> tuple[str, ...]:
    """Where something is mounted for this process (proc_pid_mountinfo(5))."""
    fields = (line.split(b" ", 5)[4] for line in Path(_MOUNTS).read_bytes().splitlines())
    return tuple(os.fsdecode(_ESCAPED.sub(_unescaped, field)) for field in fields)


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes((int(found[1], 8),))
