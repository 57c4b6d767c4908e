"""The repository cache of one `tako exec`: opened, and fetched once, when something first needs it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tako.cli.stderr_notes import Notes
from tako.config.schema import Config, Settings
from tako.errors import MachineError
from tako.layout.home import Home
from tako.layout.names import CONFIG_NAME
from tako.repositories.caveats import STALE, Caveats

if TYPE_CHECKING:
    from tako.repositories.cache import Cache
    from tako.repositories.discovery import Candidate
    from tako.repositories.pins import Resolved
    from tako.repositories.reference import Reference, Repository


class LazyCache:
    """The part of the cache that planning and `--repo` need; any thread may use it."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        notes: Notes,
        *,
        local: bool,
        lock_timeout_s: float,
        caveats: Caveats,
    ) -> None:
        """With `local` nothing is fetched. `caveats` gets what the results have to be read with."""
        self._caveats = caveats
        self._home = home
        self._settings = settings
        self._notes = notes
        self._local = local
        self._lock_timeout_s = lock_timeout_s
        self._lock = threading.Lock()
        self._cache: Cache | None = None
        self._identity: tuple[str, str] | None = None

    def root(self, reference: Reference) -> tuple[Resolved, Config]:
        """Return the repository of `--repo`, pinned, and its tako.yml."""
        from tako.config.loader import load_config

        cache = self._opened()
        resolved = cache.resolve(reference)
        data = cache.read_config_bytes(resolved)
        return resolved, load_config(data, f"{resolved.repository.text}/{CONFIG_NAME}")

    def discover(
        self, source: str, artifact: str, event_type: str, *, check: Callable[[], None]
    ) -> Iterable[Candidate]:
        """All subscriptions to the event; `check` may raise what ends the search."""
        return self._opened().discover(source, artifact, event_type, check=check)

    def resolve(self, reference: Reference, *, check: Callable[[], None]) -> Resolved:
        """Pin what will run; `check` may raise what ends that."""
        return self._opened().resolve(reference, check=check)

    def pinned(self, repository: Repository, branch: str, commit: str) -> Resolved:
        """Return a repository that an earlier session pinned."""
        return self._opened().pinned(repository, branch, commit)

    def snapshot(self, resolved: Resolved, *, check: Callable[[], None] = lambda: None) -> Path:
        """The immutable tree of what was pinned; `check` may raise what ends its making."""
        return self._opened().snapshot(resolved, check=check)

    def git_identity(self) -> tuple[str, str]:
        """The user's name and email for commits, read once."""
        with self._lock:
            if self._identity is None:
                from tako.repositories.upstream.git import identity

                try:
                    self._identity = identity()
                except MachineError as error:
                    # Without one the children that commit say so themselves.
                    self._notes.say(f"children get no name and email for commits: {error}")
                    self._identity = ("", "")
            return self._identity

    def _opened(self) -> Cache:
        with self._lock:
            if self._cache is None:
                self._cache = self._open()
            return self._cache

    def _open(self) -> Cache:
        from tako.repositories.cache import Cache
        from tako.repositories.locks import LockManager

        locks = LockManager(self._home.cache, self._lock_timeout_s, self._notes.say)
        cache = Cache(
            self._home,
            self._settings,
            locks,
            local=self._local,
            on_note=self._notes.say,
            on_caveat=self._caveats.add,
        )
        for repository, error in [] if self._local else cache.sync():
            if error is not None:
                reason = f"{repository.text} cannot be fetched, so tako uses its last fetched state: {error}"
                self._caveats.add(STALE, repository.text, reason)
        return cache
