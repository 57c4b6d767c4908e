"""Makes real git repositories, with nothing of the person who runs the tests in them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada Author",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Carl Committer",
    "GIT_COMMITTER_EMAIL": "carl@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    # One date for all: the same content gives the same commit.
    "GIT_AUTHOR_DATE": "2024-01-02T03:04:05Z",
    "GIT_COMMITTER_DATE": "2024-01-02T03:04:05Z",
}

Files = Mapping[str, str | bytes]
"""Contents by path; what starts with `#!` becomes executable."""


def git(directory: Path, *arguments: str) -> str:
    """Run git in `directory` and give what it printed, without the last newline."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(directory), **IDENTITY}
    done = subprocess.run(
        ["git", *arguments], cwd=directory, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.removesuffix("\n")


def write_files(directory: Path, files: Files) -> None:
    """Write `files` below `directory`."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(data)
        if data.startswith(b"#!"):
            path.chmod(0o755)


def commit(directory: Path, files: Files, message: str = "change") -> str:
    """Write and commit `files`; gives the commit's hash."""
    write_files(directory, files)
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--allow-empty", "-m", message)
    return git(directory, "rev-parse", "HEAD")


@frozen
class Repositories:
    """Makes repositories below `directory`, each at `<owner>/<name>`."""

    directory: Path

    def __call__(self, name: str, files: Files, *, branch: str = "main", origin: str | None = None) -> Path:
        """Make the repository `name` (`owner/name`) with one commit.

        `origin` is the URL of its remote: where tako reads the repository's own name from. By
        default one of that name which nothing answers; empty for none.
        """
        path = self.directory / name
        path.mkdir(parents=True)
        git(path, "init", "--quiet", f"--initial-branch={branch}")
        url = f"https://example.invalid/{name}.git" if origin is None else origin
        if url:
            git(path, "remote", "add", "origin", url)
        commit(path, files, "first")
        return path
