"""Where everything of `TAKO_HOME` lies, and which directory that is."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

from tako.errors import NotFoundError, ReferenceInvalidError
from tako.layout.cache import CacheLayout
from tako.layout.names import RUN_ID, TEMPORARY_PREFIX, checked_run_id
from tako.layout.run import RunDirectory
from tako.values import value


@value
class Home:
    """`$TAKO_HOME`."""

    path: Path
    cache_dir: Path | None = None

    @property
    def config(self) -> Path:
        """The user's settings."""
        return self.path / "config.yml"

    @property
    def cache(self) -> CacheLayout:
        """The shared cache, or that of `--cache-dir`."""
        return CacheLayout(self.cache_dir or self.path / "cache")

    @property
    def isolation_probed(self) -> Path:
        """Which isolation levels were seen to work, in which boot."""
        return self.path / "isolation-probed.json"

    @cached_property
    def workspaces(self) -> Path:
        """The run directories of root runs."""
        return self.path / "workspaces"

    @cached_property
    def unsettled(self) -> Path:
        """An empty file for each root run that may not be settled: where to look, never what is true."""
        return self.path / "index" / "unsettled"

    @cached_property
    def kept(self) -> Path:
        """A file for each settled root run with workspaces: when it ended and how many bytes they have."""
        return self.path / "index" / "kept"

    @cached_property
    def veils(self) -> Path:
        """An empty directory, on which each worker mounts what only it and its steps see."""
        return self.path / "index" / "veils"

    @cached_property
    def trash(self) -> Path:
        """Removed directories on their way to deletion."""
        return self.path / "trash"

    def run(self, run_id: str) -> RunDirectory:
        """The directory of one root run."""
        return RunDirectory(self.workspaces / checked_run_id(run_id))

    def making(self, run_id: str) -> RunDirectory:
        """The directory of a root run until its lock is held."""
        return RunDirectory(self.workspaces / f"{TEMPORARY_PREFIX}{checked_run_id(run_id)}")

    def run_ids(self) -> list[str]:
        """The ids of all root runs, in no order."""
        try:
            return [name for name in os.listdir(self.workspaces) if RUN_ID.fullmatch(name)]
        except FileNotFoundError:
            return []


def absolute(path: str) -> Path:
    """Return `path` as seen from the working directory, without following links.

    Raises `NotFoundError` if that directory was removed.
    """
    try:
        return Path(os.path.abspath(path))
    except FileNotFoundError:
        message = "the directory you are in does not exist any more"
        raise NotFoundError(message, hint="change to another directory") from None


def home_from(environment: dict[str, str], cache_dir: str = "") -> Home:
    """Find `$TAKO_HOME` (default `~/.tako`), both made absolute.

    Raises `ReferenceInvalidError` if neither TAKO_HOME nor HOME is set.
    """
    text = environment.get("TAKO_HOME") or ""
    if not text:
        user_home = environment.get("HOME") or ""
        if not user_home:
            message = "neither TAKO_HOME nor HOME is set"
            raise ReferenceInvalidError(message)
        text = os.path.join(user_home, ".tako")
    return Home(absolute(text), absolute(cache_dir) if cache_dir else None)
