"""Finds by a pattern what lies below a directory that hostile programs could write.

In: a root directory and a pattern. Out: files, links that stay below the root, empty directories, and what
cannot be kept with the reason, which completes the sentence "NAME ...". No link is followed.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from tako.layout.names import GIT_NAME, path_problem
from tako.system.storage.beneath import KINDS, BeneathError, opened_directory, refusal
from tako.system.storage.descent import Descent
from tako.values import field, value

_FILES_MAX = 10_000
#: Bytes of all names and targets of links together: they go into a record.
_NAMES_MAX = 1 << 22
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_ANYTHING = re.compile(".*", re.DOTALL)


@value
class Found:
    """The matches of a pattern, as sorted relative paths."""

    files: tuple[str, ...] = ()
    #: What each link points to.
    links: Mapping[str, str] = field(factory=dict)
    #: Directories with nothing in them that can be kept.
    empty: tuple[str, ...] = ()
    #: What cannot be kept: path and reason.
    others: tuple[tuple[str, str], ...] = ()


def link_problem(path: str, target: str) -> str:
    """Return why a link at a relative path may lead out of the tree, or an empty text if it cannot.

    `..` is safe only in front: behind a name, which may be a link itself, its target is unknown.
    """
    parts = [part for part in target.split("/") if part not in {"", "."}]
    up = next((place for place, part in enumerate(parts) if part != ".."), len(parts))
    if target.startswith("/"):
        return "is a link with an absolute target"
    if up > path.count("/"):
        return "is a link that leads outside"
    if ".." in parts[up:]:
        return "is a link whose target has `..` behind a name"
    return ""


def find_beneath(root: Path | int, pattern: str, *, max_files: int = _FILES_MAX) -> Found:
    """Find what a pattern matches below `root`.

    `*`, `?` and `[...]` match within one component and, like a shell, no leading dot; `**` matches any
    number of directories. A trailing slash means all that lies below, empty directories too.
    Raises `BeneathError` if the pattern leads outside or matches more than `max_files`.
    """
    problem = path_problem(pattern)
    if problem:
        raise BeneathError(pattern, f"may not be read: {problem}")
    try:
        with (
            opened_directory(root) as directory,
            Descent(os.open(".", _DIRECTORY, dir_fd=directory)) as descent,
        ):
            return _Search(pattern, max_files).run(descent)
    except OSError as error:
        raise refusal(pattern, error) from error


def _component(part: str) -> re.Pattern[str] | None:
    """The expression for one component of a pattern; None stands for `**`."""
    if part == "**":
        return None
    expression = fnmatch.translate(part)
    return re.compile(expression if part.startswith(".") else rf"(?!\.){expression}")


class _Search:
    """One search. A state is the index of the component that the next name must match."""

    def __init__(self, pattern: str, max_files: int) -> None:
        parts = [part for part in pattern.split("/") if part not in {"", "."}]
        self.pattern = pattern
        self.max_files = max_files
        self.components = [_component(part) for part in parts]
        #: The state in which all that lies below matches; none for a pattern without trailing slash.
        self.all_below = len(self.components) if pattern.endswith("/") else -1
        if pattern.endswith("/"):
            self.components += [None, _ANYTHING]
        elif not parts or parts[-1] == "**":
            self.components.append(_component("*"))
        self.files: list[str] = []
        self.links: dict[str, str] = {}
        self.empty: list[str] = []
        self.others: list[tuple[str, str]] = []
        self.names = 0

    def _closed(self, states: Iterable[int]) -> frozenset[int]:
        """`**` may also stand for no directory at all."""
        found = set()
        for state in states:
            following = state
            found.add(following)
            while self.components[following] is None:
                following += 1
                found.add(following)
        return frozenset(found)

    def _below(self, states: frozenset[int], name: str) -> frozenset[int]:
        found = []
        for state in states:
            component = self.components[state]
            if component is None and (state == self.all_below or not name.startswith(".")):
                found.append(state)
            elif component is not None and state + 1 < len(self.components) and component.match(name):
                found.append(state + 1)
        return self._closed(found)

    def _is_match(self, states: frozenset[int], name: str) -> bool:
        last = self.components[-1]
        return len(self.components) - 1 in states and last is not None and last.match(name) is not None

    def _look(
        self, descent: Descent, prefix: str, states: frozenset[int]
    ) -> list[tuple[str, frozenset[int]]]:
        """Take the matches of one directory; return the directories below it that may hold more."""
        directories = []
        kept = False
        with os.scandir(descent.fd) as entries:
            for entry in entries:
                if prefix + entry.name == GIT_NAME and self.all_below in states:
                    self._leave_out(GIT_NAME, "is git's own, kept only if it is named")
                elif entry.is_dir(follow_symlinks=False):
                    below = self._below(states, entry.name)
                    directories += [(entry.name, below)] if below else []
                elif self._is_match(states, entry.name):
                    kept = self._take(descent, prefix + entry.name, entry) or kept
                self._check_size()
        if prefix and self.all_below in states and not kept and not directories:
            self.empty.append(prefix.removesuffix("/"))
        return directories

    def _take(self, descent: Descent, path: str, entry: os.DirEntry[str]) -> bool:
        self.names += len(path)
        if entry.is_symlink():
            target = os.readlink(entry.name, dir_fd=descent.fd)
            self.names += len(target)
            problem = link_problem(path, target)
            if problem:
                self._leave_out(path, problem)
            else:
                self.links[path] = target
            return not problem
        if entry.is_file(follow_symlinks=False):
            self.files.append(path)
            return True
        kind = stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
        self._leave_out(path, KINDS.get(kind, "is not a file"))
        return False

    def _leave_out(self, path: str, reason: str) -> None:
        self.others.append((path, reason))

    def _check_size(self) -> None:
        if len(self.files) + len(self.links) + len(self.empty) + len(self.others) > self.max_files:
            raise BeneathError(self.pattern, f"matches more than {self.max_files} files")
        if self.names > _NAMES_MAX:
            raise BeneathError(self.pattern, f"matches names of more than {_NAMES_MAX} bytes")

    def run(self, descent: Descent) -> Found:
        start = self._closed([0])
        levels = [("", self._look(descent, "", start))]
        while levels:
            prefix, waiting = levels[-1]
            if waiting:
                name, states = waiting.pop()
                descent.enter(name)
                levels.append((f"{prefix}{name}/", self._look(descent, f"{prefix}{name}/", states)))
                continue
            levels.pop()
            if levels:
                os.close(descent.leave())
        return Found(
            tuple(sorted(self.files)),
            dict(sorted(self.links.items())),
            tuple(sorted(self.empty)),
            tuple(sorted(self.others)),
        )
