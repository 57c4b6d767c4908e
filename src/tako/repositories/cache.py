"""The shared cache of repositories: what is known, which state of it runs, and trees of that state.

In: references. Out: pins (`Resolved`), the bytes of tako.yml at a pin, and immutable
snapshots. Fetching holds the repository's lock exclusively, taking a snapshot holds it shared; nothing
else needs one. Unknown names are a `NotFoundError`; git, disk and locks fail as `MachineError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tako.config.schema import Settings
from tako.errors import MachineError, NotFoundError, TakoError, UsageError
from tako.layout.cache import CacheLayout
from tako.layout.home import Home
from tako.layout.names import encoded
from tako.repositories import snapshots
from tako.repositories.caveats import INCOMPLETE, LEFT_OUT
from tako.repositories.checkouts import find_checkouts
from tako.repositories.configs import committed_config, config_in
from tako.repositories.discovery import Candidate, discover
from tako.repositories.known import Directory, KnownRepository
from tako.repositories.locks import LockManager
from tako.repositories.pins import Resolved, commit_pin
from tako.repositories.reference import Reference, Repository, parse_reference
from tako.repositories.sound_configs import SoundConfigs
from tako.repositories.upstream import mirror
from tako.repositories.upstream.mirror import Registration
from tako.repositories.upstream.urls import checked_url, is_local, url_of, without_credentials
from tako.system.storage.directory_trees import tree_signature
from tako.system.storage.writing import make_private, read_plain, write_whole
from tako.system.terminal.text import named

_FETCHES = 8
_ADD = "tako cache add OWNER/NAME --from URL-or-path"


class Cache:
    """The cache of one TAKO_HOME. With `local` nothing is fetched over a network.

    `on_note` gets messages for people that need no action, `on_caveat` the warnings about the result;
    without it `on_note` gets those too.
    """

    def __init__(
        self,
        home: Home,
        settings: Settings,
        locks: LockManager,
        *,
        local: bool,
        on_note: Callable[[str], None],
        on_caveat: Callable[[str, str, str], None] | None = None,
    ) -> None:
        self._on_caveat = on_caveat or (lambda _kind, _repository, reason: on_note(reason))
        self._layout: CacheLayout = home.cache
        self._settings = settings
        self._locks = locks
        self._local = local
        self._on_note = on_note
        self._directory: Directory | None = None
        self._sound: SoundConfigs | None = None
        #: Repositories of the settings that could not be had.
        self._missing: set[str] = set()

    @property
    def sound(self) -> SoundConfigs:
        """The tako.yml files that are known to have no mistake."""
        self._sound = self._sound or SoundConfigs(self._layout.sound_configs)
        return self._sound

    def leave_out(self, repository: str, reason: str) -> None:
        """Report that a repository that may subscribe is not looked at."""
        self._on_caveat(LEFT_OUT, repository, reason)

    def known(self) -> list[KnownRepository]:
        """Return all repositories, sorted by name; those of the settings are fetched if they are missing.

        One of the settings that cannot be fetched is left out, and not tried again.
        """
        directory = self._look()
        missing = []
        for text in self._settings.repositories:
            reference = parse_reference(text)
            if directory.find(reference.repository) is None and text not in self._missing:
                missing.append(reference)
        for reference in missing:
            try:
                self.add(reference, None)
            except TakoError as error:
                self._missing.add(reference.text)
                reason = f"{reference.text} of the settings is left out: {error.message}"
                self.leave_out(reference.repository.text, reason)
        return list((self._look() if missing else directory).by_key.values())

    def _look(self) -> Directory:
        registrations = []
        for file in mirror.registration_files(self._layout):
            try:
                registration = mirror.read_registration(file)
            except MachineError as error:
                # One that cannot be read must not keep the others from being looked at.
                self.leave_out("", f"a repository is left out: {error.message}")
                continue
            if registration:
                registrations.append((registration, self._mirror(registration.repository)))
        checkouts = find_checkouts(self._layout, partial(self.leave_out, ""))
        self._directory = Directory(checkouts, registrations)
        return self._directory

    def find(self, reference: Reference) -> KnownRepository | None:
        """Look a repository up as it is now on the disk; None if it is unknown. Fetches nothing."""
        return self._look().find(reference.repository)

    def _mirror(self, repository: Repository) -> Path:
        return self._layout.mirror(repository.owner_part, repository.name_part)

    def _find(self, reference: Reference) -> KnownRepository:
        """Find by what was seen last; look again, and ask the URL template, before saying no."""
        repository = reference.repository
        known = self._directory.named(repository) if self._directory else None
        if known is None or not known.path.is_dir():
            directory = self._look()
            known = directory.named(repository)
            if known is None and self._settings.url_template and not self._local:
                self.add(Reference(repository), None)
                known = self._look().named(repository)
            if known is None:
                raise directory.not_found(repository)
        return known

    def add(self, reference: Reference, url: str | None) -> Registration:
        """Register a repository and fetch it; `url` may be a path; None takes the settings' template.

        A branch in the reference becomes its default branch here. Raises `UsageError` for an unusable or
        missing URL, `NotFoundError` for a repository without that branch, `MachineError` if git fails.
        """
        source = self._source(reference.repository, url)
        with self._locks.exclusive(reference.repository):
            registration = mirror.fetch(
                self._layout, reference.repository, source, reference.branch or "", self._on_note
            )
        self._directory = None
        return registration

    def _source(self, repository: Repository, url: str | None) -> str:
        if url is None:
            registration = self._registration(repository)
            if registration:
                return self._allowed(registration.url)
            if not self._settings.url_template:
                message = f"{repository.text} has no URL"
                hint = "give one with --from, or set url_template in config.yml"
                raise UsageError(message, hint=hint)
            return self._allowed(url_of(repository, self._settings.url_template))
        return self._allowed(checked_url(url))

    def _allowed(self, url: str) -> str:
        if self._local and not is_local(url):
            message = f"{without_credentials(url)} is not fetched: --local uses no network"
            raise UsageError(message)
        return url

    def _registration(self, repository: Repository) -> Registration | None:
        return mirror.read_registration(
            self._layout.registration(repository.owner_part, repository.name_part)
        )

    def sync(
        self, repositories: Sequence[Repository] | None = None
    ) -> list[tuple[Repository, TakoError | None]]:
        """Fetch registered repositories again, all if None, eight at a time; errors come as values."""
        from concurrent.futures import ThreadPoolExecutor

        if repositories is None:
            repositories = [each.repository for each in self.known() if each.commits]
        else:
            repositories = [self._find(Reference(each)).repository for each in repositories]
        with ThreadPoolExecutor(max_workers=_FETCHES) as threads:
            errors = list(threads.map(self._sync_one, repositories))
        self._directory = None
        return list(zip(repositories, errors, strict=True))

    def _sync_one(self, repository: Repository) -> TakoError | None:
        try:
            registration = self._registration(repository)
            if registration is None:
                return NotFoundError(
                    f"{repository.text} was put there by hand: it is never fetched", hint=_ADD
                )
            with self._locks.exclusive(repository):
                url = self._allowed(registration.url)
                mirror.fetch(
                    self._layout, registration.repository, url, registration.pinned_branch, self._on_note
                )
        except TakoError as error:
            # One repository that cannot be fetched must not keep the others from it.
            return error
        return None

    def resolve(self, reference: Reference, *, check: Callable[[], None] = lambda: None) -> Resolved:
        """Pin what a reference means now. A checkout put there by hand is copied if it changed.

        `check` is called before each file that is copied, and ends that by raising.
        Raises `NotFoundError` if the repository or branch is unknown or has vanished.
        """
        known = self._find(reference)
        branch = reference.branch or known.default_branch
        if branch in known.checkouts:
            return self._pin_content(known.repository, branch, known.checkouts[branch], check)
        return commit_pin(known, branch)

    def pinned(self, repository: Repository, branch: str, commit: str) -> Resolved:
        """Return a pin that was recorded earlier; whether it still exists shows in `snapshot`."""
        kind = "content" if commit.startswith(snapshots.CONTENT_PREFIX) else "commit"
        resolved = Resolved(repository, branch, commit, kind)
        path = self._snapshot_path(resolved)
        return Resolved(repository, branch, commit, kind, path if path.is_dir() else None)

    def pin_key(self, known: KnownRepository, branch: str) -> str:
        """Return the key of a branch's current snapshot, as far as it is known without copying."""
        if branch in known.checkouts:
            repository = known.repository
            file = self._layout.remembered_content(
                repository.owner_part, repository.name_part, encoded(branch)
            )
            return snapshots.last_remembered_key(file)
        return commit_pin(known, branch).key

    def _snapshot_path(self, resolved: Resolved) -> Path:
        repository = resolved.repository
        return self._layout.snapshot(repository.owner_part, repository.name_part, resolved.key)

    def _used(self, resolved: Resolved) -> Path:
        repository = resolved.repository
        return self._layout.snapshot_used(repository.owner_part, repository.name_part, resolved.key)

    def _pin_content(
        self, repository: Repository, branch: str, checkout: Path, check: Callable[[], None]
    ) -> Resolved:
        owner, name = repository.owner_part, repository.name_part
        file = self._layout.remembered_content(owner, name, encoded(branch))
        taken_ns = snapshots.now_ns()
        if not checkout.is_dir():
            message = f"{repository.text}: {checkout} vanished"
            raise NotFoundError(message)
        key = snapshots.remembered_key(file, tree_signature(checkout)) if file.exists() else ""
        path = self._layout.snapshot(owner, name, key) if key else None
        if path is None or not path.is_dir():
            with self._locks.shared(repository):
                key, signature = snapshots.make_content_snapshot(
                    checkout,
                    lambda key: self._layout.snapshot(owner, name, key),
                    self._skipped(repository),
                    check=check,
                )
            snapshots.remember_key(file, signature, key, taken_ns)
            path = self._layout.snapshot(owner, name, key)
        resolved = Resolved(repository, branch, key, "content", path)
        snapshots.touch_used(self._used(resolved))
        return resolved

    def _skipped(self, repository: Repository) -> Callable[[str, str], None]:
        return lambda relative, kind: self._on_caveat(
            INCOMPLETE, repository.text, f"{repository.text}: {named(relative)} is a {kind} and is left out"
        )

    def read_config_bytes(self, resolved: Resolved) -> bytes:
        """Return the tako.yml of a pin.

        Raises `NotFoundError` if it has none, `ConfigError` if it is not a regular file or above 1 MiB.
        """
        where = f"{resolved.repository.text}:{resolved.branch}"
        if resolved.kind == "content":
            path = self._snapshot_path(resolved)
            # Without the lock where it can be: the caller may hold it (`using_snapshot`).
            return config_in(path if path.is_dir() else self.snapshot(resolved), where)
        owner, name = resolved.repository.owner_part, resolved.repository.name_part
        file = self._layout.remembered_config(owner, name, resolved.commit)
        try:
            return read_plain(file)
        except FileNotFoundError:
            data = committed_config(self._mirror(resolved.repository), resolved.commit, where)
        make_private(file.parent)
        write_whole(file, data)
        return data

    def default_config_bytes(self, known: KnownRepository) -> bytes:
        """Return the tako.yml of a repository's default branch as it is now, without making a snapshot.

        Raises as `read_config_bytes` does.
        """
        branch = known.default_branch
        if branch in known.checkouts:
            return config_in(known.checkouts[branch], f"{known.repository.text}:{branch}")
        return self.read_config_bytes(commit_pin(known, branch))

    def discover(
        self, source: str, artifact: str, event_type: str, *, check: Callable[[], None] = lambda: None
    ) -> Iterator[Candidate]:
        """Return every subscription to an event; see `discovery.discover`."""
        return discover(self, source, artifact, event_type, check=check)

    def snapshot(self, resolved: Resolved, *, check: Callable[[], None] = lambda: None) -> Path:
        """Return the immutable tree of a pin, made now if it is not there; see `using_snapshot`."""
        with self.using_snapshot(resolved, check=check) as path:
            return path

    @contextmanager
    def using_snapshot(
        self, resolved: Resolved, *, check: Callable[[], None] = lambda: None
    ) -> Iterator[Path]:
        """Return the tree of a pin while holding the shared lock, so that it cannot be pruned meanwhile.

        `check` is called several times a second while it is made, and ends that by raising.
        Raises `NotFoundError` if the pin cannot be had any more.
        """
        path = self._snapshot_path(resolved)
        with self._locks.shared(resolved.repository):
            if not path.is_dir():
                self._make(resolved, path, check)
            snapshots.touch_used(self._used(resolved))
            yield path

    def _make(self, resolved: Resolved, path: Path, check: Callable[[], None]) -> None:
        repository = resolved.repository
        where = self._mirror(repository)
        if resolved.kind == "content":
            message = f"{repository.text}: the content {resolved.commit} is no longer in the cache"
            raise NotFoundError(message, hint="it was pruned or removed; start a new run")
        registration = self._registration(repository)
        origin = without_credentials(registration.url) if registration else str(where)
        try:
            snapshots.make_commit_snapshot(
                where,
                path,
                resolved.commit,
                branch=resolved.branch,
                origin=origin,
                on_note=partial(self._on_caveat, INCOMPLETE, repository.text),
                check=snapshots.leaving_room(self._layout.path, self._settings.min_free, check),
            )
        except MachineError as error:
            if where.is_dir() and mirror.has_commit(where, resolved.commit):
                raise
            message = f"{repository.text}: commit {resolved.commit} is not in the cache"
            raise NotFoundError(message, hint=f"fetch it: tako cache sync {repository.text}") from error
