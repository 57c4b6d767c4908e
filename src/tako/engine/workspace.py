"""The workspace of a run: made whole under another name, moved into place, removed by the same hand.

In: a `RunSpec`. Out: `work/` with `repo/`, `home/`, `tmp/` and the artifacts of the event's run.
Fails with `MachineError` when the machine cannot (disk full, unreadable snapshot).
"""

from __future__ import annotations

import os
from pathlib import Path

from tako.engine.segment import RunSpec
from tako.errors import MachineError
from tako.journal.fold import RunState
from tako.layout import RunDirectory
from tako.repositories.reference import parse_repository
from tako.system.files import disk_full, is_full
from tako.system.removal import remove_tree
from tako.system.tree import copy_tree


def prepare(spec: RunSpec) -> None:
    """Make the workspace if it is not in place yet; a half-made one of a dead attempt is replaced."""
    if spec.paths.work.exists():
        return
    draft = RunDirectory(spec.directory / ".new")
    try:
        remove_tree(draft.path)
        _make(spec, draft)
        os.replace(draft.work, spec.paths.work)
        draft.path.rmdir()
    except OSError as error:
        if is_full(error):
            raise disk_full(error, spec.paths.work) from error
        message = f"the workspace of {spec.repository} cannot be made: {error}"
        raise MachineError(message) from error


def _make(spec: RunSpec, draft: RunDirectory) -> None:
    draft.path.mkdir(mode=0o700)
    for directory in (draft.work, draft.exchange, draft.received_children):
        directory.mkdir(mode=0o700)
    if spec.received_from is not None and spec.received_from.is_dir():
        copy_tree(spec.received_from, draft.received_artifacts)
    if spec.in_place:
        return
    draft.home.mkdir(mode=0o700)
    _write_git_identity(draft.home, spec.git_identity)
    copy_tree(spec.source, draft.repo)


def _write_git_identity(home: Path, identity: tuple[str, str]) -> None:
    """Let `git commit` work: the user's name and email, and nothing else of the user's configuration."""
    name, email = (text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") for text in identity)
    lines = [f'\tname = "{name}"'] if name else []
    lines += [f'\temail = "{email}"'] if email else []
    if lines:
        (home / ".gitconfig").write_text("\n".join(["[user]", *lines, ""]))


def take_from_children(spec: RunSpec, state: RunState) -> None:
    """Copy what succeeded children produced to `$TAKO_CHILDREN/<owner>/<name>/<artifact>/`."""
    for fan_out in state.fan_outs.values():
        for child in fan_out.children.values():
            if child.finished and child.finished.status == "succeeded":
                _take(spec.paths, child.plan.repository, child.plan.run_id)


def _take(paths: RunDirectory, repository: str, run_id: str) -> None:
    produced = paths.child(run_id).artifacts
    if not produced.is_dir():
        return
    named = parse_repository(repository)
    target = paths.received_children.joinpath(*named.owner.split("/"), named.name)
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for artifact in sorted(produced.iterdir()):
        if not (target / artifact.name).exists():
            copy_tree(artifact, target / artifact.name)


def dispose(spec: RunSpec) -> None:
    """Remove the workspace and the scripts; what is gone already is no error."""
    remove_tree(spec.paths.work)
    remove_tree(spec.paths.scripts)
