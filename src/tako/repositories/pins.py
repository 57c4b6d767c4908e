"""Which state of a repository runs: a commit of its mirror, or the content of a hand-made checkout."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tako.errors import NotFoundError
from tako.repositories.known import KnownRepository
from tako.repositories.reference import Repository
from tako.values import value


@value
class Resolved:
    """The exact source of a run: a commit of a mirror, or the content of a checkout put there by hand.

    `commit` is a git commit (hex) or `content-<sha256>`. `snapshot` is set once the tree exists.
    """

    repository: Repository
    branch: str
    commit: str
    kind: str
    snapshot: Path | None = None

    @property
    def key(self) -> str:
        """The name of its snapshot: a commit's tree also has a branch checked out."""
        if self.kind == "content":
            return self.commit
        return f"{self.commit}-{hashlib.sha256(self.branch.encode()).hexdigest()[:8]}"


def commit_pin(known: KnownRepository, branch: str) -> Resolved:
    """Return the commit of a branch of the mirror; raises `NotFoundError` without that branch."""
    if branch in known.commits:
        return Resolved(known.repository, branch, known.commits[branch], "commit")
    names = ", ".join(known.branches[:10])
    fetch = f"; if it is new: tako cache sync {known.repository.text}" if known.url else ""
    message = f"{known.repository.text} has no branch {branch!r} in the cache"
    raise NotFoundError(message, hint=f"it has: {names}{fetch}")
