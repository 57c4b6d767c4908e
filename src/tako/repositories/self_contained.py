"""Whether a copy of a checkout would be a repository of its own, or still be a part of another one.

In: a checkout that was put into the cache by hand. Out: what of its git data leads out of it: a
linked worktree, a submodule without its repository, borrowed objects, links and settings. A commit in a copy
of such a one would move the branches of the other, or find no objects. Nothing is run in the checkout, and
no link in it is followed.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from tako.errors import UsageError
from tako.layout.names import ALTERNATES, GIT_CONFIGS, GIT_NAME, LINKED_WORKTREES
from tako.repositories.upstream.git import run_git
from tako.system.storage.beneath import BeneathError, read_beneath

_BYTES_MAX = 1 << 20
#: As deep as git follows them (config.c).
_INCLUDES_MAX = 10
_LEADING = re.compile(r"core\.(?:worktree|hookspath)|include\.path|includeif\..*\.path", re.DOTALL)
_QUOTED = re.compile(r"\\(?:([0-7]{3})|(.))")
_MAYBE_LEADING = re.compile(rb"worktree|hookspath|include", re.IGNORECASE)


class NotSelfContainedError(UsageError):
    """A checkout whose copies would still be a part of another repository."""


def check_self_contained(checkout: Path) -> None:
    """Raise `NotSelfContainedError`, naming the git data that lead out of the checkout."""
    problem = next(_problems(checkout), "")
    if problem:
        message = f"{checkout}: {problem}: in a copy, git would still use that, or find nothing there"
        hint = (
            f"put a clone of its own there (git clone --no-local), or register it:"
            f" tako cache add OWNER/NAME --from {checkout}"
        )
        raise NotSelfContainedError(message, hint=hint)


def _problems(checkout: Path) -> Iterator[str]:
    for directory, names, files in os.walk(checkout):
        relative = os.path.relpath(directory, checkout)
        at = "" if relative == "." else relative
        if GIT_NAME in files or GIT_NAME in names:
            yield from _of_git(checkout, posixpath.join(at, GIT_NAME))
        if GIT_NAME in names:
            names.remove(GIT_NAME)


def _of_git(checkout: Path, git: str) -> Iterator[str]:
    """Look at one `.git`, a directory, a file or a link."""
    path = checkout / git
    if path.is_symlink():
        yield from _link(checkout, git)
    elif path.is_dir():
        yield from _of_directory(checkout, git)
    else:
        pointed = _text(checkout, git).removeprefix("gitdir:").strip()
        if _leads_out(posixpath.dirname(git), pointed):
            linked = "/worktrees/" in pointed
            kind = "a linked worktree, of" if linked else "a checkout with its repository in"
            yield f"{git} says that it is {kind} {pointed}"


def _of_directory(checkout: Path, git: str) -> Iterator[str]:
    for directory, names, files in os.walk(checkout / git):
        at = os.path.relpath(directory, checkout)
        if at == LINKED_WORKTREES:
            # They are left out of the copy.
            names.clear()
            continue
        for name in (*names, *files):
            if Path(directory, name).is_symlink():
                yield from _link(checkout, posixpath.join(at, name))
        yield from _of_files(checkout, at, files)


def _of_files(checkout: Path, at: str, files: list[str]) -> Iterator[str]:
    git = posixpath.normpath(at)
    if "commondir" in files:
        common = _text(checkout, f"{git}/commondir").strip()
        if _leads_out(git, common):
            yield f"{git}/commondir says that it is a linked worktree, of {common}"
    if "HEAD" in files and os.path.lexists(checkout / git / ALTERNATES):
        borrowed = _text(checkout, f"{git}/{ALTERNATES}").splitlines()
        for line in borrowed:
            if line and not line.startswith("#") and _leads_out(f"{git}/objects", _unquoted(line)):
                yield f"{git}/{ALTERNATES} borrows objects from {line}"
    if "HEAD" in files:
        for name in sorted(GIT_CONFIGS & set(files)):
            yield from _of_config(checkout, git, f"{git}/{name}")


def _unquoted(line: str) -> str:
    """A path of alternates as git reads it: in quotes, a character may be its octal digits."""
    if not line.startswith('"'):
        return line
    return _QUOTED.sub(lambda found: chr(int(found[1], 8)) if found[1] else found[2], line.strip('"'))


def _of_config(checkout: Path, git: str, file: str, depth: int = 0) -> Iterator[str]:
    """Look at a configuration of the repository `git`, and at those in the checkout that it includes."""
    data = _text(checkout, file).encode("utf-8", "surrogateescape")
    if not _MAYBE_LEADING.search(data):
        return
    words = ["config", "--file", "-", "--no-includes", "--null", "--list"]
    listed = run_git(words, stdin=data, check=False).stdout.decode("utf-8", "surrogateescape")
    for entry in listed.split("\0"):
        key, _, pointed = entry.partition("\n")
        if not _LEADING.fullmatch(key):
            continue
        # Hooks count from the top of the work tree, what is included from the file that says so.
        base = posixpath.dirname(git) if key == "core.hookspath" else git
        base = posixpath.dirname(file) if key.startswith("include") else base
        if _leads_out(base, pointed):
            yield f"{file} sets {key} to {pointed}"
        elif key.startswith("include") and depth < _INCLUDES_MAX:
            yield from _of_config(checkout, git, posixpath.normpath(posixpath.join(base, pointed)), depth + 1)


def _link(checkout: Path, relative: str) -> Iterator[str]:
    pointed = str((checkout / relative).readlink())
    if _leads_out(posixpath.dirname(relative), pointed):
        yield f"{relative} is a link to {pointed}"


def _leads_out(base: str, pointed: str) -> bool:
    """Return whether a path that counts from `base`, which counts from the checkout, leads out of that."""
    reached = posixpath.normpath(posixpath.join(base, pointed))
    return pointed.startswith(("/", "~", "%(prefix)")) or reached.split("/")[0] == ".."


def _text(checkout: Path, relative: str) -> str:
    try:
        data = read_beneath(checkout, relative, _BYTES_MAX, links=False)
    except BeneathError:
        # A link, which is looked at on its own, or gone: then the checkout is copied again.
        return ""
    return data.decode("utf-8", "surrogateescape")
