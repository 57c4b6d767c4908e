"""Finds the checkouts that users put into the cache by hand: `repos/<owner>/<name>/<branch>/`.

In: a directory. Out: values. Owner, name and branch are percent-encoded directory names
(`feature%2Fx`, `github.com%2Facme`), matched without regard to case. What does not follow the
grammar is told to `on_note` and left alone. Nothing is read inside a checkout, and git never runs there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from tako.errors import ReferenceInvalidError
from tako.layout.cache import CacheLayout
from tako.layout.names import CONFIG_NAME, decoded
from tako.repositories.reference import Repository, checked_branch, parse_repository
from tako.values import value


@value
class Checkout:
    """One branch of one repository, put there by hand."""

    repository: Repository
    branch: str
    path: Path


def _directories(path: Path) -> list[str]:
    """The names of the directories in a directory, or links to such, but hidden ones; sorted."""
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError), os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    return []


def _branches(repository: Repository, directory: Path, on_note: Callable[[str], None]) -> Iterator[Checkout]:
    if os.path.lexists(directory / CONFIG_NAME):
        on_note(f"{directory} is not used: put it one level deeper, into a directory named like its branch")
        return
    for name in _directories(directory):
        try:
            yield Checkout(repository, checked_branch(decoded(name)), directory / name)
        except ReferenceInvalidError as error:
            on_note(f"{directory / name} is not used: {error.message}")


def find_checkouts(layout: CacheLayout, on_note: Callable[[str], None]) -> list[Checkout]:
    """Return all checkouts, sorted by repository and branch; each repository and branch only once."""
    found: dict[tuple[str, str], Checkout] = {}
    for owner in _directories(layout.repos):
        for name in _directories(layout.repos / owner):
            directory = layout.repos / owner / name
            try:
                repository = parse_repository(f"{decoded(owner)}/{decoded(name)}")
            except ReferenceInvalidError as error:
                on_note(f"{directory} is not used: {error.message}")
                continue
            for checkout in _branches(repository, directory, on_note):
                first = found.setdefault((repository.key, checkout.branch), checkout)
                if first is not checkout:
                    on_note(f"{checkout.path} is not used: {first.path} is the same repository and branch")
    return [found[key] for key in sorted(found)]
