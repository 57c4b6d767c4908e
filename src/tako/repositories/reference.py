"""Names of repositories: `[host/]owner[/group...]/name[:branch]`.

In: text from the command line, a tako.yml, a directory name or a git URL. Out: frozen
values whose parts are safe as directory names. What breaks the grammar is a
`ReferenceInvalidError` that quotes the text and names the rule.
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from tako.errors import ReferenceInvalidError
from tako.layout.names import encoded
from tako.values import value

_LENGTH_MAX = 200
_PART_MAX = 100
# A directory name holds 255 bytes (NAME_MAX); what tako adds to it needs some.
_DIRECTORY_MAX = 220
_PART = re.compile(r"[A-Za-z0-9_.+@-]+")
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
_GRAMMAR = "expected [host/]owner[/group...]/name[:branch]"
_BRANCH_FORBIDDEN = "~^:?*[\\"
_SCP_URL = re.compile(r"(?:[^@/:]+@)?[^/:]+:(?!//)(?P<path>.+)")


@value
class Repository:
    """One repository; `owner` may hold groups (`a/b`), `host` is empty when not given."""

    host: str
    owner: str
    name: str

    @property
    def text(self) -> str:
        """The name as it was written."""
        return "/".join(part for part in (self.host, self.owner, self.name) if part)

    @property
    def key(self) -> str:
        """The name to compare: repositories differ only by more than case."""
        return self.text.lower()

    @property
    def owner_part(self) -> str:
        """Host and owner as one directory name, lower case."""
        return encoded(self.key.rpartition("/")[0])

    @property
    def name_part(self) -> str:
        """The name as a directory name, lower case."""
        return encoded(self.name.lower())

    def matches(self, other: Repository) -> bool:
        """Return whether both name the same repository; a host that one of them lacks is not compared."""
        if self.host and other.host and self.host.lower() != other.host.lower():
            return False
        return (self.owner.lower(), self.name.lower()) == (other.owner.lower(), other.name.lower())


@value
class Reference:
    """A repository and, if named, a branch; None is the repository's default branch."""

    repository: Repository
    branch: str | None = None

    @property
    def text(self) -> str:
        """The reference as it was written."""
        return f"{self.repository.text}:{self.branch}" if self.branch else self.repository.text


def _refuse(text: str, why: str) -> ReferenceInvalidError:
    shown = text if len(text) <= _LENGTH_MAX else text[:40] + "..."
    return ReferenceInvalidError(f"{shown!r} is not a repository: {why}", hint=_GRAMMAR)


def _text_problem(text: str) -> str:
    if not text:
        return "it is empty"
    if len(text) > _LENGTH_MAX:
        return f"it is longer than {_LENGTH_MAX} characters"
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        return "it holds a control character"
    if text.startswith("/"):
        return "it is an absolute path"
    if text[0] in "~-":
        return f"it starts with {text[0]!r}"
    return ""


def _part_problem(part: str) -> str:
    if not part:
        return "it has an empty part"
    if part in {".", ".."}:
        return f"{part!r} is not a name but a path through directories"
    if part[0] in "~-":
        return f"part {part!r} starts with {part[0]!r}"
    if len(part) > _PART_MAX:
        return f"part {part[:20]!r}... is longer than {_PART_MAX} characters"
    if not _PART.fullmatch(part):
        return f"part {part!r} holds more than letters, digits, '.', '_', '-', '+' and '@'"
    return ""


def _name_problem(name: str) -> str:
    if name.lower().endswith(".git"):
        return f"name {name!r} ends with '.git' (leave that off)"
    return ""


def _split_host(parts: list[str]) -> tuple[str, list[str]]:
    if len(parts) >= 3 and ("." in parts[0] or ":" in parts[0]):
        return parts[0], parts[1:]
    return "", parts


def _host_problem(host: str) -> str:
    if host and (not _HOST.fullmatch(host) or host[0] in "-." or ".." in host):
        return f"host {host!r} is not a host name"
    return ""


def parse_repository(text: str) -> Repository:
    """Read `[host/]owner[/group...]/name`.

    The first part is a host when it holds a dot or a colon and two more parts follow.
    Raises `ReferenceInvalidError`.
    """
    problem = _text_problem(text)
    if problem:
        raise _refuse(text, problem)
    host, parts = _split_host(text.split("/"))
    if len(parts) < 2:
        raise _refuse(text, "it has no owner before its name")
    problems = [_host_problem(host), *map(_part_problem, parts), _name_problem(parts[-1])]
    repository = Repository(host, "/".join(parts[:-1]), parts[-1])
    if len(repository.owner_part) > _DIRECTORY_MAX:
        problems.append("its host and owner are too long for a directory name")
    for problem in filter(None, problems):
        raise _refuse(text, problem)
    return repository


def _component_problem(component: str) -> str:
    if not component:
        return "it has an empty part"
    if component.startswith("."):
        return "a part starts with '.'"
    if component.endswith(".lock"):
        return "a part ends with '.lock'"
    return ""


def branch_problem(branch: str) -> str:
    """Return why `branch` is no branch name for git (git-check-ref-format(1)), or an empty text."""
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
    if not branch.isprintable() or len(encoded(branch)) > _DIRECTORY_MAX:
        return "it is too long for a directory name or not printable"
    return next(filter(None, map(_component_problem, branch.split("/"))), "")


def checked_branch(branch: str) -> str:
    """Return `branch` back if it is a valid branch name, else raise `ReferenceInvalidError`."""
    if len(branch) > _LENGTH_MAX:
        why = f"it is longer than {_LENGTH_MAX} characters"
    else:
        why = branch_problem(branch)
    if why:
        message = f"{branch[:_LENGTH_MAX]!r} is not a branch name: {why}"
        raise ReferenceInvalidError(message, hint=_GRAMMAR)
    return branch


def parse_reference(text: str) -> Reference:
    """Read `[host/]owner[/group...]/name[:branch]`; raises `ReferenceInvalidError`.

    A colon before the first slash belongs to the host (`localhost:3000/owner/name`).
    """
    problem = _text_problem(text)
    if problem:
        raise _refuse(text, problem)
    colon = text.find(":", text.find("/") + 1)
    if colon < 0:
        return Reference(parse_repository(text))
    return Reference(parse_repository(text[:colon]), checked_branch(text[colon + 1 :]))


def repository_from_url(url: str) -> Repository | None:
    """Guess the repository that a git URL names; None if it names none.

    The host is left out, so that the guess agrees with `owner/name` as subscriptions write it.
    Of a path (`file://`, or a plain one) the last two parts count: what stands before is the machine's.
    """
    scp = None if "://" in url else _SCP_URL.fullmatch(url)
    if scp:
        path, local = scp["path"], False
    else:
        try:
            split = urlsplit(url)
        except ValueError:
            return None
        path, local = unquote(split.path), split.scheme in {"", "file"}
    parts = [part for part in path.removesuffix("/").removesuffix(".git").split("/") if part]
    if len(parts) < 2:
        return None
    try:
        # Read behind a host, so that an owner with a dot (`a.b/group/name`) is not taken for one.
        guess = parse_repository("/".join(["a.b", *(parts[-2:] if local else parts)]))
    except ReferenceInvalidError:
        return None
    return Repository("", guess.owner, guess.name)
