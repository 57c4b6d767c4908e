"""Bare mirrors of registered repositories, and what is known of each without asking git.

In: repositories and URLs. Out: registrations: URL, default branch and the commit of every branch as
it was fetched last. The registration is written whole after a fetch, so that a fetch that was
killed leaves the former state. Only the holder of the exclusive lock fetches.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tako.errors import MachineError, NotFoundError, TakoError
from tako.layout.cache import CacheLayout
from tako.layout.names import PACKS, TEMPORARY_PREFIX
from tako.layout.repository_names import branch_problem
from tako.repositories.reference import Repository, parse_repository
from tako.repositories.upstream.git import fetch_git, run_git
from tako.repositories.upstream.network import persistently, told_if_slow
from tako.repositories.upstream.urls import without_credentials
from tako.system.storage.removal import remove_tree
from tako.system.storage.writing import make_private, move, read_plain, write_whole
from tako.values import evolve, field, value

_FORMAT = 1
_PACKS_MAX = 50
_REFSPECS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_SYMREF = re.compile(r"^ref: refs/heads/(.+)\tHEAD$", re.MULTILINE)
_COMMIT = re.compile(rb"^[0-9a-f]{40,64}\t", re.MULTILINE)
# Local sources may belong to somebody else, as a checkout does that root reads inside a container.
_READING_CONFIG = b"[safe]\n\tdirectory = *\n[core]\n\tuseReplaceRefs = false\n"


@value
class Registration:
    """One registered repository; `branches` maps each branch to its commit (hex).

    `pinned_branch` is the branch the user named; it counts as the default branch then.
    """

    repository: Repository
    url: str
    default_branch: str
    branches: Mapping[str, str] = field(factory=dict)
    pinned_branch: str = ""

    def to_json(self) -> bytes:
        """The file's content."""
        record = {
            "format": _FORMAT,
            "repository": self.repository.text,
            "url": self.url,
            "default_branch": self.default_branch,
            "pinned_branch": self.pinned_branch,
            "branches": dict(sorted(self.branches.items())),
        }
        return (json.dumps(record, indent=1) + "\n").encode()


def read_registration(path: Path) -> Registration | None:
    """Read what is registered; None if nothing is. Raises `MachineError` if the file is damaged."""
    try:
        return _registration(json.loads(read_plain(path)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, TakoError) as error:
        message = f"{path} cannot be read: {error}"
        raise MachineError(
            message, hint="remove it and run `tako cache add` for that repository again"
        ) from error


def _registration(record: Mapping[str, Any]) -> Registration:
    """Take a record apart; raises what its parts do that are not as `to_json` writes them."""
    if record.get("format") != _FORMAT:
        message = f"its format is {record.get('format')!r}, not {_FORMAT}: written by another tako?"
        raise ValueError(message)
    read = Registration(
        parse_repository(_text(record["repository"])),
        _text(record["url"]),
        _text(record["default_branch"]),
        {_branch(branch): _commit(commit) for branch, commit in record["branches"].items()},
        _text(record.get("pinned_branch", "")),
    )
    if read.default_branch not in read.branches:
        message = f"its default branch {read.default_branch!r} is none of its branches"
        raise ValueError(message)
    return read


def _text(value: object) -> str:
    if not isinstance(value, str):
        message = f"expected a text, got {value!r:.100}"
        raise TypeError(message)
    return value


def _branch(value: str) -> str:
    if problem := branch_problem(value):
        message = f"{value!r:.100} is not a branch: {problem}"
        raise ValueError(message)
    return value


def _commit(value: object) -> str:
    if not re.fullmatch(r"[0-9a-f]{40,64}", _text(value)):
        message = f"expected a commit, got {value!r:.100}"
        raise ValueError(message)
    return _text(value)


def registration_files(layout: CacheLayout) -> list[Path]:
    """The files of all registrations, sorted."""
    found: list[Path] = []
    with suppress(FileNotFoundError):
        for owner in os.scandir(layout.git):
            if owner.is_dir():
                with os.scandir(owner) as entries:
                    found += [
                        Path(entry.path)
                        for entry in entries
                        if entry.name.endswith(".json") and not entry.name.startswith(TEMPORARY_PREFIX)
                    ]
    return sorted(found)


def _temporary(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{os.urandom(4).hex()}-{path.name}")


def _ensure_mirror(mirror: Path) -> None:
    if mirror.is_dir():
        return
    make_private(mirror.parent)
    temporary = _temporary(mirror)
    try:
        run_git(["init", "--quiet", "--bare", "--template=", str(temporary)])
        move(temporary, mirror)
    finally:
        remove_tree(temporary)


def _reading_config(layout: CacheLayout) -> Path:
    path = layout.git_config
    with suppress(OSError):
        # Another version may have written another one.
        if read_plain(path) == _READING_CONFIG:
            return path
    make_private(path.parent)
    write_whole(path, _READING_CONFIG)
    return path


def _branches(mirror: Path) -> dict[str, str]:
    listed = run_git(
        ["for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/heads"], git_dir=mirror
    )
    lines = listed.stdout.decode(errors="replace").splitlines()
    pairs = (line.split(" ", 1) for line in lines)
    return {branch: commit for commit, branch in pairs if not branch_problem(branch)}


def likely_default(branches: Mapping[str, object]) -> str:
    """Guess the default branch of a mirror without one: main, else master, else the first by name."""
    return next((name for name in ("main", "master") if name in branches), min(branches, default=""))


def _repack_if_many(mirror: Path) -> None:
    """Every fetch leaves a pack; many make each look-up slow. No object is ever dropped."""
    packs = list((mirror / PACKS).glob("*.pack"))
    if len(packs) > _PACKS_MAX:
        run_git(["repack", "--quiet", "-a", "-d", "--keep-unreachable"], git_dir=mirror)


def fetch(
    layout: CacheLayout,
    repository: Repository,
    url: str,
    pinned_branch: str = "",
    on_note: Callable[[str], None] = lambda _message: None,
) -> Registration:
    """Fetch all branches and tags into the mirror and register what came; a network gets three attempts.

    The caller holds the exclusive lock. Raises `MachineError` if git fails and `NotFoundError` if the
    repository has no branch, or not the pinned one.
    """
    owner, name = repository.owner_part, repository.name_part
    mirror, file = layout.mirror(owner, name), layout.registration(owner, name)
    wanted = Registration(repository, url, "", {}, pinned_branch)
    try:
        what = f"fetching {repository.text}"
        registration = told_if_slow(
            lambda: persistently(lambda: _fetch(layout, mirror, wanted), what, on_note),
            f"{what} from {without_credentials(url)}",
            on_note,
        )
    except BaseException:
        if not file.exists():
            remove_tree(mirror)
        raise
    write_whole(file, registration.to_json(), sync=True)
    return registration


def _fetch(layout: CacheLayout, mirror: Path, wanted: Registration) -> Registration:
    """Fetch, and fill in what came."""
    config = _reading_config(layout)
    _ensure_mirror(mirror)
    listed = fetch_git(["ls-remote", "--symref", "--", wanted.url, "HEAD"], wanted.url, mirror, config)
    options = ("--quiet", "--prune", "--force", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
    command = ["fetch", *options, "--", wanted.url, *_REFSPECS]
    fetch_git(command, wanted.url, mirror, config)
    _repack_if_many(mirror)
    branches = _branches(mirror)
    found = _SYMREF.search(listed.stdout.decode(errors="replace"))
    default = found[1] if found and found[1] in branches else likely_default(branches)
    default = wanted.pinned_branch or default
    if default not in branches:
        if not branches and _COMMIT.search(listed.stdout):
            raise _shallow(wanted)
        raise _no_branch(wanted.repository, wanted.url, wanted.pinned_branch, branches)
    return evolve(wanted, default_branch=default, branches=branches)


def _shallow(wanted: Registration) -> MachineError:
    # git says nothing: it leaves out what has no whole history (git-fetch(1), --update-shallow).
    where = f"{wanted.repository.text} ({without_credentials(wanted.url)})"
    return MachineError(
        f"git fetched nothing from {where}, although it has commits: a shallow clone?",
        hint="git fetch --unshallow there, or take the repository it was cloned from",
    )


def _no_branch(
    repository: Repository, url: str, pinned: str, branches: Mapping[str, object]
) -> NotFoundError:
    where = f"{repository.text} ({without_credentials(url)})"
    if not branches:
        return NotFoundError(f"{where} has no commit on any branch", hint="push a first commit to it")
    names = ", ".join(sorted(branches)[:10])
    return NotFoundError(f"{where} has no branch {pinned!r}", hint=f"it has: {names}")


def read_blob(mirror: Path, commit: str, name: str, most: int) -> tuple[str, bytes | None] | None:
    """Return mode (`100644`, `120000` for a link, ...) and bytes of a file at the top of a commit, or None.

    A directory or submodule has no bytes; None stands for more than `most` bytes, which are not read: a pack
    of a few KiB can hold gigabytes. Raises `MachineError` if the commit is not in the mirror.
    """
    listed = run_git(["ls-tree", "-z", "-l", "--full-tree", commit, "--", name], git_dir=mirror).stdout
    if not listed:
        return None
    mode, kind, blob, size = listed.split(b"\t", 1)[0].decode().split()
    if kind != "blob":
        return mode, b""
    if int(size) > most:
        return mode, None
    return mode, run_git(["cat-file", "blob", blob], git_dir=mirror).stdout


def has_commit(mirror: Path, commit: str) -> bool:
    """Return whether a commit is in the mirror; raises `MachineError` if git cannot tell."""
    arguments = ["rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"]
    return run_git(arguments, git_dir=mirror, absent=1).returncode == 0


def check_objects(mirror: Path) -> str:
    """Run git fsck; return its complaints, or an empty text."""
    ended = run_git(["fsck", "--full", "--no-dangling", "--no-progress"], git_dir=mirror, check=False)
    return (ended.stdout + ended.stderr).decode(errors="replace").strip() if ended.returncode else ""
