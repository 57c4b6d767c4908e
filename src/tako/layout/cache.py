"""Where everything of the repository cache lies."""

from __future__ import annotations

from pathlib import Path

from tako.values import value


@value
class CacheLayout:
    """The shared repository cache."""

    path: Path

    @property
    def repos(self) -> Path:
        """Checkouts put there by hand: `<owner>/<name>/<branch>/`."""
        return self.path / "repos"

    @property
    def git(self) -> Path:
        """Bare mirrors and what is registered: `<owner>/<name>.git`, `<owner>/<name>.json`."""
        return self.path / "git"

    @property
    def snapshots(self) -> Path:
        """Immutable trees: `<owner>/<name>/<key>/`."""
        return self.path / "snapshots"

    @property
    def index(self) -> Path:
        """The memory that saves time; may be deleted at any time."""
        return self.path / "index"

    @property
    def locks(self) -> Path:
        """One lock for each repository; never unlinked."""
        return self.path / "locks"

    def mirror(self, owner: str, name: str) -> Path:
        """The bare mirror of a repository, whose parts are encoded already (here and below)."""
        return self.git / owner / f"{name}.git"

    def registration(self, owner: str, name: str) -> Path:
        """Where a repository is fetched from and what was fetched last."""
        return self.git / owner / f"{name}.json"

    def snapshots_of(self, owner: str, name: str) -> Path:
        """All snapshots of one repository."""
        return self.snapshots / owner / name

    def snapshot(self, owner: str, name: str, key: str) -> Path:
        """One immutable tree."""
        return self.snapshots_of(owner, name) / key

    def snapshot_used(self, owner: str, name: str, key: str) -> Path:
        """A file whose mtime is the last use of a snapshot."""
        return self.snapshots_of(owner, name) / f"{key}.used"

    def remembered_config(self, owner: str, name: str, commit: str) -> Path:
        """The tako.yml of a commit."""
        return self.index / "configs" / owner / name / commit

    @property
    def sound_configs(self) -> Path:
        """The digests of tako.yml files without mistakes."""
        return self.index / "sound-configs"

    def remembered_content(self, owner: str, name: str, branch: str) -> Path:
        """The signature of a checkout put there by hand, and the content that it had."""
        return self.index / "contents" / owner / name / branch

    def lock(self, owner: str, name: str) -> Path:
        """The reader/writer lock of one repository."""
        return self.locks / owner / f"{name}.lock"

    @property
    def git_config(self) -> Path:
        """The config with which git reads local repositories that are fetched from."""
        return self.index / "reading.gitconfig"

    @property
    def locks_probed(self) -> Path:
        """On which file system and in which boot locks were seen to work."""
        return self.index / "locks-probed"


def objects_of(source: Path) -> Path | None:
    """The mirror's objects, from which the snapshot of a commit reads; None for what is no snapshot."""
    repository, owner, snapshots = source.parents[0], source.parents[1], source.parents[2]
    cache = CacheLayout(snapshots.parent)
    return cache.mirror(owner.name, repository.name) / "objects" if snapshots == cache.snapshots else None
