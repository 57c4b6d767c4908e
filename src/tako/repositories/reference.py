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
from tako.layout.repository_names import (
    LENGTH_MAX,
    named_branch_problem,
    repository_problem,
    split_host,
    split_suffix,
)
from tako.values import value

_GRAMMAR = "expected [host/]owner[/group...]/name[:branch]"
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


def parse_repository(text: str) -> Repository:
    """Read `[host/]owner[/group...]/name` (layout.repository_names); raises `ReferenceInvalidError`."""
    problem = repository_problem(text)
    if problem:
        shown = text if len(text) <= LENGTH_MAX else text[:40] + "..."
        message = f"{shown!r} is not a repository: {problem}"
        raise ReferenceInvalidError(message, hint=_GRAMMAR)
    host, rest = split_host(text)
    owner, _, name = rest.rpartition("/")
    return Repository(host, owner, name)


def checked_branch(branch: str) -> str:
    """Give `branch` back if it is a valid branch name, else raise `ReferenceInvalidError`."""
    problem = named_branch_problem(branch)
    if problem:
        message = f"{branch[:LENGTH_MAX]!r} is not a branch name: {problem}"
        raise ReferenceInvalidError(message, hint=_GRAMMAR)
    return branch


def parse_reference(text: str) -> Reference:
    """Read `[host/]owner[/group...]/name[:branch]`; raises `ReferenceInvalidError`."""
    if len(text) > LENGTH_MAX:
        # Of the whole, whatever its parts are.
        parse_repository(text)
    repository, branch = split_suffix(text)
    return Reference(parse_repository(repository), None if branch is None else checked_branch(branch))


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
