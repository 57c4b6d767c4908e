"""Checks and cleans the cache: damaged objects, damaged snapshots, and snapshots nobody needs.

In: what is known. Out: findings. Each repository is worked on under its own exclusive lock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tako.errors import ReferenceInvalidError, TakoError
from tako.layout.cache import CacheLayout
from tako.layout.names import decoded
from tako.repositories.cache import Cache
from tako.repositories.locks import LockManager
from tako.repositories.reference import Reference, Repository, parse_repository
from tako.repositories.snapshots import (
    CONTENT_PREFIX,
    commit_problem,
    content_problem,
    last_used_s,
    remove_leftovers,
    remove_snapshot,
    snapshot_keys,
)
from tako.repositories.upstream.mirror import check_objects
from tako.values import value

# Runs that still go, or may be resumed, use snapshots that no branch stands on any more.
KEEP_S = 7 * 86_400.0


@value
class CacheProblem:
    """Something about one repository: what is wrong, or what was removed."""

    repository: Repository
    message: str


def _with_snapshots(layout: CacheLayout) -> Iterator[Repository]:
    """The repositories that have snapshots, also such that are no longer known."""
    with suppress(FileNotFoundError), os.scandir(layout.snapshots) as owners:
        for owner in sorted(owners, key=lambda entry: entry.name):
            for name in sorted(entry.name for entry in Path(owner).iterdir()):
                with suppress(ReferenceInvalidError):
                    yield parse_repository(f"{decoded(owner.name)}/{decoded(name)}")


def _snapshot_problem(layout: CacheLayout, repository: Repository, key: str) -> str:
    owner, name = repository.owner_part, repository.name_part
    path = layout.snapshot(owner, name, key)
    try:
        if key.startswith(CONTENT_PREFIX):
            return content_problem(path, key)
        return commit_problem(layout.mirror(owner, name), path, key.partition("-")[0])
    except TakoError as error:
        # What cannot even be compared is damaged; the other snapshots are still checked.
        return error.message


def verify(layout: CacheLayout, locks: LockManager, cache: Cache) -> list[CacheProblem]:
    """Check the objects of every mirror (git fsck) and every snapshot against its commit or content.

    A damaged snapshot is removed, because it is made again when it is needed. Raises `MachineError`.
    """
    findings = []
    for known in cache.known():
        mirror = layout.mirror(known.repository.owner_part, known.repository.name_part)
        if mirror.is_dir():
            with locks.exclusive(known.repository):
                problem = check_objects(mirror)
            findings += (
                [CacheProblem(known.repository, f"its mirror is damaged: {problem}")] if problem else []
            )
    for repository in _with_snapshots(layout):
        with locks.exclusive(repository):
            findings += _verify_snapshots(layout, repository)
    return findings


def _verify_snapshots(layout: CacheLayout, repository: Repository) -> Iterator[CacheProblem]:
    for key in snapshot_keys(layout, repository):
        problem = _snapshot_problem(layout, repository, key)
        if problem:
            remove_snapshot(layout.snapshot(repository.owner_part, repository.name_part, key))
            yield CacheProblem(repository, f"snapshot {key} was damaged and is removed: {problem}")


def _current_keys(cache: Cache, repository: Repository) -> set[str]:
    """The pins of all branches as they are now."""
    known = cache.find(Reference(repository))
    if known is None:
        return set()
    return {cache.pin_key(known, branch) for branch in known.branches}


def prune(
    layout: CacheLayout, locks: LockManager, cache: Cache, *, dry_run: bool = False, keep_s: float = KEEP_S
) -> list[CacheProblem]:
    """Remove snapshots without a branch that nobody used for `keep_s` seconds; return the removed ones.

    With `dry_run` it removes nothing. Raises `MachineError`.
    """
    findings: list[CacheProblem] = []
    for repository in _with_snapshots(layout):
        current = _current_keys(cache, repository)
        with locks.exclusive(repository):
            findings += _prune_one(layout, repository, current, dry_run=dry_run, keep_s=keep_s)
    return findings


def _prune_one(
    layout: CacheLayout, repository: Repository, current: set[str], *, dry_run: bool, keep_s: float
) -> Iterator[CacheProblem]:
    owner, name = repository.owner_part, repository.name_part
    if not dry_run:
        remove_leftovers(layout, repository)
    for key in snapshot_keys(layout, repository):
        used = layout.snapshot_used(owner, name, key)
        if key in current or time.time() - last_used_s(used) < keep_s:
            continue
        if not dry_run:
            remove_snapshot(layout.snapshot(owner, name, key))
            used.unlink(missing_ok=True)
        yield CacheProblem(repository, f"snapshot {key}")
