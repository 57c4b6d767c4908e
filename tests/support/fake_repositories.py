"""A cache of repositories as the planner of fan-outs asks it, without git."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import field, frozen

from tako.config.loader import load_config_file
from tako.repositories.discovery import Candidate
from tako.repositories.pins import Resolved
from tako.repositories.reference import Reference, Repository, parse_repository
from tests.support.git import write_files

NOW = "1" * 40
"""The commit of everything that is resolved now."""


@frozen
class FakeRepositories:
    """Repositories that subscribe as `candidates` say, with snapshots below `directory`."""

    candidates: list[Candidate] = field(factory=list)
    directory: Path = Path("/snapshots")
    #: What resolving a repository raises, and what making its snapshot raises.
    vanished: dict[str, Exception] = field(factory=dict)
    broken: dict[str, Exception] = field(factory=dict)
    #: What was searched for: source, artifact, type of event.
    asked: list[tuple[str, str, str]] = field(factory=list)

    def discover(
        self, source: str, artifact: str, event_type: str, *, check: Callable[[], None]
    ) -> Iterator[Candidate]:
        """Yield all candidates."""
        check()
        self.asked.append((source, artifact, event_type))
        yield from self.candidates

    def resolve(self, reference: Reference, *, check: Callable[[], None]) -> Resolved:
        """Pin a repository to `NOW`."""
        check()
        if reference.repository.text in self.vanished:
            raise self.vanished[reference.repository.text]
        return Resolved(reference.repository, reference.branch or "main", NOW, "commit")

    def pinned(self, repository: Repository, branch: str, commit: str) -> Resolved:
        """Return what was pinned before."""
        return Resolved(repository, branch, commit, "commit")

    def snapshot(self, resolved: Resolved, *, check: Callable[[], None]) -> Path:
        """Return the place of a snapshot, which `has` fills."""
        check()
        if resolved.repository.text in self.broken:
            raise self.broken[resolved.repository.text]
        return self.directory / resolved.repository.text / resolved.commit

    def has(self, name: str, commit: str, config: str) -> None:
        """Put a snapshot there."""
        write_files(self.directory / name / commit, {"tako.yml": config})

    def subscribes(self, name: str, config: str) -> None:
        """Let a repository have this tako.yml now."""
        self.has(name, NOW, config)
        loaded = load_config_file(self.directory / name / NOW / "tako.yml")
        self.candidates.extend(
            Candidate(parse_repository(name), "main", loaded, None, one) for one in loaded.subscriptions
        )
