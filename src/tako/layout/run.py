"""Where everything of one run lies: journal, logs, artifacts, workspace, children."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

from tako.layout.names import RUN_ID, checked_name, checked_run_id, encoded
from tako.values import value


@value
class RunDirectory:
    """One run's directory: what belongs to tako, and `work/`, the only part steps see."""

    path: Path

    @property
    def run_id(self) -> str:
        """The run's id is its directory's name."""
        return self.path.name

    @property
    def is_child(self) -> bool:
        """Whether this is a child run's directory, which lies in its parent's."""
        return self.path.parent.name == "children"

    @property
    def root(self) -> RunDirectory:
        """The directory of the root run of its tree."""
        return self.parent.root if self.is_child else self

    @property
    def parent(self) -> RunDirectory:
        """Of a child run: the directory of the run whose event it answers."""
        return RunDirectory(self.path.parent.parent)

    @cached_property
    def journal(self) -> Path:
        """The append-only record."""
        return self.path / "journal.jsonl"

    @cached_property
    def lock(self) -> Path:
        """Held by the root process of a root run from its first to its last moment."""
        return self.path / "lock"

    @property
    def logs(self) -> Path:
        """One file for each step."""
        return self.path / "logs"

    def log(self, step: str) -> Path:
        """The output of one step, all attempts."""
        return self.logs / f"{checked_name(step, 'step')}.log"

    @property
    def values(self) -> Path:
        """In a root run's directory: the large values that journals of its tree refer to."""
        return self.path / "values"

    def value(self, sha256: str) -> Path:
        """One of these values, by the SHA-256 (hex) of its bytes."""
        return self.values / f"{sha256}.json"

    def unfinished_values(self) -> list[Path]:
        """Leftovers of values whose writers were killed before they got their names."""
        try:
            return sorted(self.values / name for name in os.listdir(self.values) if name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []

    @property
    def artifacts(self) -> Path:
        """The files that the run's steps produced, by artifact."""
        return self.path / "artifacts"

    @cached_property
    def children(self) -> Path:
        """The run directories of its child runs."""
        return self.path / "children"

    def child(self, run_id: str) -> RunDirectory:
        """The directory of one child run."""
        return RunDirectory(self.children / checked_run_id(run_id))

    def child_directories(self) -> list[RunDirectory]:
        """The directories of all child runs that were made, in no order."""
        try:
            names = os.listdir(self.children)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [self.child(name) for name in names if RUN_ID.fullmatch(name)]

    @property
    def draft(self) -> Draft:
        """Where a workspace is built before it is moved into place."""
        return Draft(self.path)

    @property
    def git_config(self) -> Path:
        """The git configuration that a child's steps see as the user's."""
        return self.home / ".gitconfig"

    def script(self, step: str) -> Path:
        """The script of one step as it was run last, beside its log."""
        return self.logs / f"{checked_name(step, 'step')}.sh"

    @property
    def work(self) -> Path:
        """The workspace."""
        return self.path / "work"

    @property
    def view(self) -> Path:
        """The layers of the workspace's copy-on-write view; never visible to a step."""
        return self.path / "view"

    @property
    def workspace(self) -> tuple[Path, ...]:
        """All that clean-up may remove while the run is remembered."""
        return self.work, self.view, self.draft.work

    @property
    def upper(self) -> Path:
        """The steps' changes to the snapshot: the overlay's upper directory."""
        return self.view / "upper"

    @property
    def inner(self) -> Path:
        """The overlay's own work directory."""
        return self.view / "inner"

    def cache_view(self, place: str) -> tuple[Path, Path]:
        """Upper and inner directory of the overlay over a tool cache, by its place below the user's home."""
        name = encoded(place)
        return self.view / f"cache-{name}", self.view / f"inner-{name}"

    @property
    def shared_memory(self) -> Path:
        """Where the steps' private /dev/shm is mounted."""
        return self.view / "shm"

    @property
    def repo(self) -> Path:
        """The repository's files inside the workspace."""
        return self.work / "repo"

    @property
    def home(self) -> Path:
        """HOME of the steps of a child."""
        return self.work / "home"

    @property
    def exchange(self) -> Path:
        """Where `$TAKO_OUTPUT` and `$TAKO_ENV` files lie."""
        return self.work / "tmp"

    def step_outputs(self, step: str) -> Path:
        """`$TAKO_OUTPUT` of one step."""
        return self.exchange / f"{checked_name(step, 'step')}.outputs"

    def step_environment(self, step: str) -> Path:
        """`$TAKO_ENV` of one step."""
        return self.exchange / f"{checked_name(step, 'step')}.env"

    @property
    def received_artifacts(self) -> Path:
        """`$TAKO_ARTIFACTS`: what the run that emitted the event produced."""
        return self.work / "artifacts"

    @property
    def received_children(self) -> Path:
        """`$TAKO_CHILDREN`: what the children produced, by repository and artifact."""
        return self.work / "children"


@value
class Draft(RunDirectory):
    """A run's directory whose workspace is not in place yet."""

    @property
    def work(self) -> Path:
        """The unfinished workspace."""
        return self.path / ".new"


@value
class SeenDirectory(RunDirectory):
    """A run's directory as its steps see it at level `namespace`."""

    home_seen: Path = Path("/workspace/home")

    @property
    def work(self) -> Path:
        """The workspace."""
        return Path("/workspace")

    @property
    def home(self) -> Path:
        """HOME, at the path in the password file."""
        return self.home_seen

    @property
    def temporary(self) -> Path:
        """TMPDIR."""
        return Path("/tmp")  # noqa: S108 - private to the sandbox

    def script(self, step: str) -> Path:
        """The script of one step."""
        return Path("/tako") / f"{checked_name(step, 'step')}.sh"
