"""All repositories of the cache, and how one is found by name.

In: checkouts and registrations. Out: `KnownRepository` values. Pure. A name without host
finds a repository with one, and the other way round, as long as only one fits.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

from tako.errors import NotFoundError, UsageError
from tako.repositories.checkouts import Checkout
from tako.repositories.reference import Repository
from tako.repositories.upstream.mirror import Registration, likely_default
from tako.repositories.upstream.urls import host_of
from tako.values import field, value


@value
class KnownRepository:
    """One repository of the cache. `source` is `checkout` (put there by hand) or `registered` (fetched).

    A repository can be both: then its checkouts serve their branches, and the mirror the others.
    `path` is that of the default branch's checkout, or the mirror's.
    """

    repository: Repository
    source: str
    branches: tuple[str, ...]
    default_branch: str
    path: Path
    checkouts: Mapping[str, Path] = field(factory=dict)
    commits: Mapping[str, str] = field(factory=dict)
    url: str = ""


def _known(
    repository: Repository, checkouts: Mapping[str, Path], registration: Registration | None, mirror: Path
) -> KnownRepository:
    commits = registration.branches if registration else {}
    default = registration.default_branch if registration else likely_default(checkouts)
    return KnownRepository(
        repository=repository,
        source="checkout" if default in checkouts else "registered",
        branches=tuple(sorted({*checkouts, *commits})),
        default_branch=default,
        path=checkouts.get(default, mirror),
        checkouts=checkouts,
        commits=commits,
        url=registration.url if registration else "",
    )


class Directory:
    """The known repositories at one moment, by key and by owner and name."""

    def __init__(
        self, checkouts: Iterable[Checkout], registrations: Iterable[tuple[Registration, Path]]
    ) -> None:
        registered = {each.repository.key: (each, mirror) for each, mirror in registrations}
        by_hand: dict[str, dict[str, Path]] = {}
        names = {key: each.repository for key, (each, _) in registered.items()}
        for checkout in checkouts:
            key = checkout.repository.key
            by_hand.setdefault(key, {})[checkout.branch] = checkout.path
            names.setdefault(key, checkout.repository)
        self.by_key: dict[str, KnownRepository] = {}
        self._by_short: dict[str, list[str]] = {}
        for key in sorted(names):
            registration, mirror = registered.get(key, (None, Path()))
            self.by_key[key] = _known(names[key], by_hand.get(key, {}), registration, mirror)
            self._by_short.setdefault(_short(names[key]), []).append(key)

    def find(self, repository: Repository) -> KnownRepository | None:
        """Return the one that a name means; raises `UsageError` if it may mean several."""
        exact = self.by_key.get(repository.key)
        if exact:
            return exact
        fitting = [
            self.by_key[key]
            for key in self._by_short.get(_short(repository), ())
            if self.by_key[key].repository.matches(repository)
        ]
        if len(fitting) > 1:
            names = ", ".join(each.repository.text for each in fitting)
            message = f"{repository.text} may be any of {names}"
            raise UsageError(message, hint="write it with its host")
        return fitting[0] if fitting else None

    def named(self, repository: Repository) -> KnownRepository | None:
        """Return the one that a person names: as `find`, but not one that may be of another host.

        Raises `UsageError` as that does.
        """
        found = self.find(repository)
        if found is None or found.repository.host or not repository.host:
            return found
        return found if host_of(found.url) == repository.host.lower() else None

    def not_found(self, repository: Repository) -> NotFoundError:
        """The error for a name that means nothing here."""
        other = self.find(repository)
        if other is not None:
            # Found by everything but its host.
            message = (
                f"repository {repository.text} is not in the cache, {other.repository.text} may be another"
            )
            hint = f"name it as it is there, or: tako cache add {repository.text} --from URL-or-path"
            return NotFoundError(message, hint=hint)
        near = difflib.get_close_matches(repository.key, self.by_key, 1)
        meant = f"did you mean {self.by_key[near[0]].repository.text}? " if near else ""
        return NotFoundError(
            f"repository {repository.text} is not in the cache",
            hint=f"{meant}add it: tako cache add {repository.text} --from URL-or-path",
        )


def _short(repository: Repository) -> str:
    return f"{repository.owner}/{repository.name}".lower()
