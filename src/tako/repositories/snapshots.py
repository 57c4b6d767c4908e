"""Immutable trees of the cache: made once under a temporary name, then moved into place.

In: pins (a commit of a mirror, or a checkout put into the cache by hand). Out: directories that
nobody writes again. What is in place is whole and on the disk. Callers hold the repository's lock:
shared to make one, exclusive to remove.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tako.config.schema import MinFree
from tako.errors import MachineError, NotFoundError
from tako.layout.cache import CacheLayout
from tako.layout.names import (
    ALTERNATES,
    GIT_NAME,
    HEAD,
    INDEX,
    LINKED_WORKTREES,
    OBJECTS,
    SUBMODULES_NAME,
    TEMPORARY_PREFIX,
    objects_from,
)
from tako.repositories.reference import Repository
from tako.repositories.self_contained import check_self_contained
from tako.repositories.upstream.git import run_git
from tako.system.accounting.usage import disk_size, free_on_disk
from tako.system.storage.directory_trees import (
    TreeChangedError,
    TreeSignature,
    copy_tree_hashed,
    tree_signature,
)
from tako.system.storage.removal import remove_tree
from tako.system.storage.writing import make_private, move, read_plain, write_whole
from tako.system.terminal.text import named
from tako.units import format_bytes
from tako.values import value

CONTENT_PREFIX = "content-"
_KEY = re.compile(r"content-[0-9a-f]{64}")
#: What reading a file raises that is not as it was written.
_FORGOTTEN = (OSError, ValueError, KeyError, TypeError, RecursionError)
_TRIES = 3
# A change within one tick of the file system's clock (10 ms at worst) may leave no trace in a signature.
_TICK_NS = 50_000_000
# What git may believe of a copy: size and mtime, which `copy_tree` keeps.
_CLONE_OPTIONS = ("core.checkStat=minimal", "core.trustctime=false", "gc.auto=0", "maintenance.auto=false")


@contextmanager
def _built(final: Path) -> Iterator[Path]:
    """Return a temporary directory's name beside `final`; what is left of it at the end is removed."""
    make_private(final.parent)
    temporary = final.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{os.urandom(4).hex()}")
    try:
        yield temporary
    finally:
        remove_tree(temporary)


def _publish(temporary: Path, final: Path) -> None:
    """Move a whole tree into place, its bytes first; a faster process made the same tree."""
    from tako.system.libc import sync_file_system

    descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync_file_system(descriptor)
    finally:
        os.close(descriptor)
    try:
        move(temporary, final)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise


def make_commit_snapshot(
    mirror: Path,
    final: Path,
    commit: str,
    *,
    branch: str,
    origin: str,
    on_note: Callable[[str], None],
    check: Callable[[], None] = lambda: None,
) -> None:
    """Make the tree of a commit, with a `.git` that reads its objects from the mirror.

    `branch` is checked out there and `origin` (without credentials) is its remote. No hook, filter or
    config but tako's takes part: LFS pointers stay pointers, submodules stay empty. Raises `MachineError`.
    `check` is called several times a second, and ends the work by raising.
    """
    with _built(final) as temporary:
        options = [f"--config={option}" for option in _CLONE_OPTIONS]
        clone = ["clone", "--quiet", "--shared", "--no-checkout", "--template=", *options]
        run_git([*clone, "--", str(mirror), str(temporary)])
        git_dir = temporary / GIT_NAME
        # git writes an absolute path, which would not move with TAKO_HOME.
        (git_dir / ALTERNATES).write_text(f"{objects_from(final, mirror)}\n")
        run_git(
            ["checkout", "--quiet", "--force", "-B", branch, commit, "--"],
            git_dir=git_dir,
            work_tree=temporary,
            meanwhile=check,
        )
        run_git(["config", "remote.origin.url", origin], git_dir=git_dir)
        if (temporary / SUBMODULES_NAME).is_file():
            on_note(f"{origin}: submodules are left empty")
        _publish(temporary, final)


def leaving_room(place: Path, min_free: MinFree, check: Callable[[], None]) -> Callable[[], None]:
    """Return `check` with one more: a small pack can hold a tree that fills the disk of `place`.

    Half of the reserve, or of what is free now, has to stay. Raises `MachineError`.
    """
    least = min(min_free.of(disk_size(place)), free_on_disk(place)) // 2

    def both() -> None:
        check()
        if free_on_disk(place) < least:
            message = (
                f"its files do not fit: the disk of {place} would have less free than {format_bytes(least)}"
            )
            raise MachineError(message, hint="`min_free` of config.yml is what has to stay free")

    return both


def make_content_snapshot(
    checkout: Path,
    place: Callable[[str], Path],
    on_skipped: Callable[[str, str], None],
    *,
    check: Callable[[], None] = lambda: None,
) -> tuple[str, TreeSignature]:
    """Copy a checkout, without running git in it; return its key and the signature it had.

    `place` returns the path for the snapshot of a key. A checkout that changes while it is copied is
    copied again, up to three times. Raises `NotFoundError` if it vanished, `NotSelfContainedError` if a copy
    would be a part of another repository, else `MachineError`. `check` ends the copy by raising.
    """
    for _ in range(_TRIES):
        with suppress(TreeChangedError):
            made = _attempt(checkout, place, check)
            if made:
                for relative, kind in made.skipped:
                    on_skipped(relative, kind)
                return made.key, made.signature
        if not checkout.is_dir():
            message = f"{checkout} vanished"
            raise NotFoundError(message)
    message = f"{checkout} changes all the time while it is copied"
    raise MachineError(message, hint="stop what writes there, then run it again")


@value
class _Made:
    key: str
    signature: TreeSignature
    skipped: list[tuple[str, str]]


def _attempt(checkout: Path, place: Callable[[str], Path], check: Callable[[], None]) -> _Made | None:
    """Copy once; None if the checkout was another one afterwards."""
    skipped: list[tuple[str, str]] = []
    with _built(place(CONTENT_PREFIX)) as temporary:
        before = tree_signature(checkout)
        check_self_contained(checkout)
        digest = copy_tree_hashed(
            checkout,
            temporary,
            on_skipped=lambda *what: skipped.append(what),
            left_out=frozenset((LINKED_WORKTREES,)),
            check=check,
        )
        if tree_signature(checkout) != before:
            return None
        key = CONTENT_PREFIX + digest
        if not place(key).is_dir():
            _publish(temporary, place(key))
    return _Made(key, before, skipped)


def remembered_key(file: Path, signature: TreeSignature) -> str:
    """The content key that a tree with this signature had; empty if that is not known."""
    with suppress(*_FORGOTTEN):
        record = json.loads(read_plain(file))
        if record["signature"] == signature.hex and record["self_contained"]:
            return _key_in(record)
    return ""


def last_remembered_key(file: Path) -> str:
    """The content key that was remembered last, whether or not it is still that; empty if there is none."""
    with suppress(*_FORGOTTEN):
        return _key_in(json.loads(read_plain(file)))
    return ""


def _key_in(record: Mapping[str, str]) -> str:
    """What is remembered becomes a path: anything but a key is forgotten."""
    return record["content"] if _KEY.fullmatch(record["content"]) else ""


def remember_key(file: Path, signature: TreeSignature, key: str, taken_ns: int) -> None:
    """Remember the content key of a tree, with its signature taken at `taken_ns` (ns since the epoch).

    What changed just before is remembered without: its next change might not show in the signature.
    """
    safe = signature.newest_ns < taken_ns - _TICK_NS
    make_private(file.parent)
    record = {"signature": signature.hex if safe else "", "content": key, "self_contained": True}
    write_whole(file, json.dumps(record).encode())


def touch_used(file: Path) -> None:
    """Note that a snapshot is used now, for `prune`."""
    with suppress(OSError):
        file.touch(mode=0o600)


def remove_snapshot(path: Path) -> None:
    """Take a snapshot out of its place in one move, then remove it."""
    aside = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{os.urandom(4).hex()}")
    with suppress(FileNotFoundError):
        move(path, aside)
    remove_tree(aside)


def snapshot_keys(layout: CacheLayout, repository: Repository) -> list[str]:
    """The keys of all snapshots of a repository, sorted."""
    with suppress(FileNotFoundError):
        entries = os.scandir(layout.snapshots_of(repository.owner_part, repository.name_part))
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    return []


def remove_leftovers(layout: CacheLayout, repository: Repository) -> None:
    """Remove what killed makers of snapshots left; the caller holds the exclusive lock."""
    directory = layout.snapshots_of(repository.owner_part, repository.name_part)
    for left in directory.glob(f"{TEMPORARY_PREFIX}*"):
        remove_tree(left)


def last_used_s(file: Path) -> float:
    """When a snapshot was used last, seconds since the epoch; 0 if never."""
    with suppress(OSError):
        return file.stat().st_mtime
    return 0.0


def now_ns() -> int:
    """The clock that file systems stamp changes with, ns since the epoch."""
    return time.time_ns()


def content_problem(path: Path, key: str) -> str:
    """Return how a content snapshot differs from its key; empty if it does not."""
    with _built(path) as temporary:
        digest = copy_tree_hashed(path, temporary, on_skipped=lambda *_: None)
    return "" if key == CONTENT_PREFIX + digest else "its content does not match its key"


def commit_problem(mirror: Path, path: Path, commit: str) -> str:
    """Return which files of a commit's snapshot differ from the commit; empty if none.

    The snapshot's own `.git` is not believed: a fresh index of the mirror is compared.
    """
    with _built(path) as temporary:
        temporary.mkdir(mode=0o700)
        git = partial(run_git, git_dir=mirror, work_tree=path, index=temporary / commit)
        git(["read-tree", commit])
        git(["update-index", "-q", "--really-refresh"], check=False)
        changed = git(["diff-files", "--name-only", "-z"]).stdout
        added = git(["ls-files", "--others", "-z"]).stdout
        compare = ["diff-index", "--cached", "--quiet", commit]
        staged = git(compare, index=path / GIT_NAME / INDEX, check=False)
    names = [named(name.decode(errors="replace")) for name in (changed + added).split(b"\0") if name]
    if names:
        return f"it differs from its commit in {', '.join(names[:5])}"
    return "its index is not that of its commit" if staged.returncode else _git_problem(mirror, path, commit)


def _git_problem(mirror: Path, path: Path, commit: str) -> str:
    """Return why git in a copy of a commit's snapshot would not find the commit, or an empty text."""
    git_dir = path / GIT_NAME
    try:
        branch = (git_dir / HEAD).read_text().removeprefix("ref:").strip()
        if (git_dir / branch).read_text().strip() != commit:
            return "its HEAD is not its commit"
        borrowed = (git_dir / ALTERNATES).read_text().splitlines()
        found = {os.path.realpath(git_dir / OBJECTS / line) for line in borrowed}
        if os.path.realpath(mirror / OBJECTS) not in found:
            return "it does not find the objects of its mirror"
    except (OSError, ValueError) as error:
        return f"its .git is not whole: {error}"
    return ""
