"""The grammar of repositories: `[host/]owner[/group...]/name[:branch]`, for every text that names one.

In: texts from the command line, a tako.yml, config.yml, a directory or a git URL. Out: their parts, or the
problem as the end of a sentence, empty if there is none. What passes here is safe as names of directories.
"""

from __future__ import annotations

import re

from tako.layout.names import encoded

LENGTH_MAX = 200
_PART_MAX = 100
# A directory name holds 255 bytes (NAME_MAX); what tako adds to it needs some.
_DIRECTORY_MAX = 220
_PART = re.compile(r"[A-Za-z0-9_.+@-]+")
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
_BRANCH_FORBIDDEN = "~^:?*[\\"
#: Characters that stand for one encoded byte.
_ENCODED_BYTE = 3
#: Parts of a name with a host: the host, an owner, a name.
_WITH_HOST = 3


def split_host(text: str) -> tuple[str, str]:
    """The host, empty if there is none, and the rest.

    The first part is a host when it holds a dot or a colon and two more parts follow.
    """
    first, _, rest = text.partition("/")
    is_host = ("." in first or ":" in first) and "/" in rest
    return (first, rest) if is_host else ("", text)


def split_suffix(text: str) -> tuple[str, str | None]:
    """What stands before and after the colon (a branch or an artifact); None without a colon.

    A colon before the first slash belongs to the host (`localhost:3000/owner/name`).
    """
    colon = text.find(":", text.find("/") + 1)
    return (text, None) if colon < 0 else (text[:colon], text[colon + 1 :])


def text_problem(text: str) -> str:
    """Say why a text can name no repository, with or without a branch; empty if it may."""
    if not text:
        return "it is empty"
    if len(text) > LENGTH_MAX:
        return f"it is longer than {LENGTH_MAX} characters"
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        return "it holds a control character"
    if text.startswith("/"):
        return "it is absolute"
    if text[0] in "~-":
        return f"it starts with {text[0]!r}"
    return ""


def repository_problem(text: str) -> str:
    """Say why `[host/]owner[/group...]/name` cannot be used; empty if it can."""
    problem = text_problem(text)
    if problem:
        return problem
    host, rest = split_host(text)
    parts = rest.split("/")
    if len(parts) < _WITH_HOST - 1:
        return "an owner and a name are needed"
    problems = [_host_problem(host), *map(_part_problem, parts), _name_problem(parts[-1])]
    problem = next(filter(None, problems), "")
    if not problem and _is_too_long(text.rpartition("/")[0].lower()):
        return "its host and owner are too long for a directory name"
    return problem


def branch_problem(branch: str) -> str:
    """Say why git would not take `branch` as a branch name (git-check-ref-format(1)); empty if it would."""
    if not branch:
        return "it is empty"
    if any(ord(character) <= 32 or ord(character) == 127 for character in branch):
        return "it holds a space or control character"
    for character in _BRANCH_FORBIDDEN:
        if character in branch:
            return f"it holds {character!r}"
    for sequence in ("..", "@{"):
        if sequence in branch:
            return f"it holds {sequence!r}"
    if branch.startswith("-") or branch.endswith(".") or branch in {"@", "HEAD"}:
        return "git does not allow it"
    if not branch.isprintable() or _is_too_long(branch):
        return "it is too long for a directory name or not printable"
    return next(filter(None, map(_component_problem, branch.split("/"))), "")


def named_branch_problem(branch: str) -> str:
    """Say why a text may not name a branch in a reference; empty if it may."""
    if len(branch) > LENGTH_MAX:
        return f"it is longer than {LENGTH_MAX} characters"
    return branch_problem(branch)


def reference_problem(text: str) -> str:
    """Say why `[host/]owner[/group...]/name[:branch]` cannot be used; empty if it can."""
    repository, branch = split_suffix(text)
    problem = text_problem(text) or repository_problem(repository)
    if problem or branch is None:
        return problem
    problem = named_branch_problem(branch)
    return f"{branch!r} is not a branch name: {problem}" if problem else ""


def _is_too_long(name: str) -> bool:
    # Most are so short that there is no need to load what encodes them.
    return len(name.encode()) * _ENCODED_BYTE > _DIRECTORY_MAX and len(encoded(name)) > _DIRECTORY_MAX


def _host_problem(host: str) -> str:
    if host and (not _HOST.fullmatch(host) or host[0] in "-." or ".." in host):
        return f"{host!r} is not a host"
    return ""


def _part_problem(part: str) -> str:
    if not part:
        return "it has an empty part"
    if part == "..":
        return "it leads out with '..'"
    if part == ".":
        return "'.' is not a name"
    if part[0] in "~-":
        return f"the part {part!r} starts with {part[0]!r}"
    if len(part) > _PART_MAX:
        return f"the part {part[:20]!r}... is longer than {_PART_MAX} characters"
    if not _PART.fullmatch(part):
        return f"the part {part!r} holds more than letters, digits, '.', '_', '-', '+' and '@'"
    return ""


def _name_problem(name: str) -> str:
    return "leave '.git' off" if name.lower().endswith(".git") else ""


def _component_problem(component: str) -> str:
    if not component:
        return "it has an empty part"
    if component.startswith("."):
        return "a part starts with '.'"
    if component.endswith(".lock"):
        return "a part ends with '.lock'"
    return ""
