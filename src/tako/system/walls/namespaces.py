"""A user, a mount and an IPC namespace of the calling process's own, and what it mounts there.

The process keeps its uid and gid and gets all capabilities over its new namespaces only; what it mounts, and
System V and POSIX queues, segments and semaphores made there, nobody else sees and are gone with the last
process in there (user_namespaces(7), mount_namespaces(7), ipc_namespaces(7)).
Must be called while the process has one thread. Every function raises `OSError`.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import ExitStack, suppress
from pathlib import Path

from tako.system.libc import allow_dumps, check, forbid_dumps

_CLONE_NEWNS = 0x00020000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWUSER = 0x10000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 32, 4096
_MS_REC, _MS_SLAVE = 0x4000, 0x80000
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
#: Generous: an inode of a tmpfs with its name takes about a KiB.
_FILE_IN_MEMORY = 4096
_FILES_MIN = 256

#: The devices of the machine that steps are shown.
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
#: What statvfs(3) tells of a mount, and mount(2) takes.
_FLAGS = (
    (os.ST_NOSUID, _MS_NOSUID), (os.ST_NODEV, _MS_NODEV), (os.ST_NOEXEC, 8), (os.ST_NOATIME, 1024),
    (os.ST_NODIRATIME, 2048), (os.ST_RELATIME, 1 << 21),
)  # fmt: skip

#: What a user has at most of it (inotify(7), fanotify(7)), and the bound of a namespace (namespaces(7)).
_COUNTED_BY_USER = (
    ("inotify/max_user_instances", "max_inotify_instances"),
    ("inotify/max_user_watches", "max_inotify_watches"),
    ("fanotify/max_user_groups", "max_fanotify_groups"),
    ("fanotify/max_user_marks", "max_fanotify_marks"),
)
#: One worker gets so much of that.
_SHARE = 8

#: What forbids user namespaces: a file, whether it must be above 0, and what to do.
_SWITCHES = (
    ("/proc/sys/user/max_user_namespaces", True, "set the sysctl user.max_user_namespaces above 0"),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        True,
        "set the sysctl kernel.unprivileged_userns_clone",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        False,
        "give bwrap and python an AppArmor profile with `userns`, or clear the sysctl of that name",
    ),
)

_libc = ctypes.CDLL(None, use_errno=True)


def enter_own_namespaces() -> None:
    """Move the calling process into new namespaces; ends not dumpable.

    The map files belong to root while a process is not dumpable (proc(5)), so that it is for these few
    instructions: the caller holds no secret yet.
    """
    uid, gid = os.geteuid(), os.getegid()
    check(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWIPC))
    allow_dumps()
    try:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    finally:
        forbid_dumps()
    # What others mount later comes in; nothing goes out.
    _mount(None, "/", None, _MS_REC | _MS_SLAVE, None)
    for name in _DEVICES:
        _hold_read_only(f"/dev/{name}")
    for counted, bound in _COUNTED_BY_USER:
        _leave_to_others(counted, bound)


def _leave_to_others(counted: str, bound: str) -> None:
    """Bound in the own user namespace what the kernel counts by user, whoever of that user takes it."""
    # Kernels differ in what they count, and where settings cannot be written nothing is bounded.
    with suppress(OSError, ValueError):
        _write(f"/proc/sys/user/{bound}", str(int(Path(f"/proc/sys/fs/{counted}").read_text()) // _SHARE))


def join_namespaces(user: int, mounts: int) -> None:
    """Move the calling process into these two, by their descriptors, and on into copies of its own.

    It has mount and IPC namespaces of its own then, and all capabilities over the user namespace (setns(2)).
    """
    check(_libc.setns(user, _CLONE_NEWUSER))
    check(_libc.setns(mounts, _CLONE_NEWNS))
    check(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWIPC))


def _hold_read_only(device: str) -> None:
    """Keep the mode of a device that the user owns, as root does; what the device is for stays possible.

    bubblewrap's own --remount-ro would forbid to open it.
    """
    with suppress(FileNotFoundError):
        if os.stat(device).st_uid == os.geteuid():
            hold_read_only(device)


def hold_read_only(path: str) -> None:
    """Lay a file over itself, read-only for the calling process and what it starts.

    A process that finds it by a running process or an open descriptor, not by its path, cannot change its
    mode, owner, times and attributes either.
    """
    _mount(path, path, None, _MS_BIND, None)
    has = os.statvfs(path).f_flag
    # A remount may clear no flag (user_namespaces(7)).
    kept = sum(flag for told, flag in _FLAGS if has & told)
    _mount(None, path, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | kept, None)


def enter_own_mounts() -> None:
    """Move the calling process, which is root, into a mount namespace: what it mounts is its own."""
    check(_libc.unshare(_CLONE_NEWNS))
    _mount(None, "/", None, _MS_REC | _MS_SLAVE, None)


def why_forbidden(error: OSError) -> str:
    """Why `enter_own_namespaces` failed, and what to do about it (user_namespaces(7))."""
    for switch, wanted, remedy in _SWITCHES:
        with suppress(OSError, ValueError):
            if (int(Path(switch).read_text()) > 0) is not wanted:
                return f"user namespaces are not allowed here: {remedy}"
    return f"user namespaces are not allowed here: {error.strerror}"


def mount_overlay(lower: Path, upper: Path, inner: Path, target: Path) -> None:
    """Show `lower` with the changes in `upper` at `target`; `inner` is the overlay's own work directory.

    `userxattr` because `trusted.*` attributes need privilege over the whole machine (overlayfs.rst). One
    upper directory must never be mounted twice at a time.

    The directories are named by descriptors, because the step can read these options in its mount table
    (proc_pid_mountinfo(5)): so they tell it nothing of the machine. They also need no escapes then.
    """
    with ExitStack() as stack:
        options = ["userxattr"]
        for name, path in (("lowerdir", lower), ("upperdir", upper), ("workdir", inner)):
            descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            options.append(f"{name}=/proc/self/fd/{descriptor}")
        _mount("overlay", str(target), "overlay", _MS_NOSUID | _MS_NODEV, ",".join(options))


def mount_veil(lower: int, empty: int, target: int) -> None:
    """Show the directory `lower` read-only at `target`; all are descriptors, `empty` is any empty directory.

    An overlay without a directory for changes needs two below it.
    """
    options = f"userxattr,lowerdir=/proc/self/fd/{lower}:/proc/self/fd/{empty}"
    flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV
    _mount("overlay", f"/proc/self/fd/{target}", "overlay", flags, options)


def bind(source: str, target: Path) -> None:
    """Show a directory at `target` too, read-only and with the other flags of the mount that it lies on."""
    _mount(source, str(target), None, _MS_BIND, None)


def mount_memory(target: Path, size: int) -> None:
    """Mount an empty tmpfs that holds at most `size` bytes, and no more files than fit (tmpfs(5)).

    An empty file is memory of the kernel's that `size` does not count.
    """
    options = f"mode=1777,size={size},nr_inodes={size // _FILE_IN_MEMORY + _FILES_MIN}"
    _mount("tmpfs", str(target), "tmpfs", _MS_NOSUID | _MS_NODEV, options)


def unmount(target: Path) -> None:
    """Take a mount away, also while it is in use, and none behind a link: umount2(2)."""
    check(_libc.umount2(os.fsencode(target), _MNT_DETACH | _UMOUNT_NOFOLLOW))


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None) -> None:
    # The options of one mount are at most a page (mount(2)).
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    check(_libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]))
