"""The workspace of a run: made whole under another name, moved into place, removed by the same hand.

In: a `RunSpec`. Out: `work/` with `repo/`, `home/`, `tmp/` and the artifacts of the event's run.
Fails with `MachineError` when the machine cannot (disk full, unreadable snapshot).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from tako.engine.run.spec import RunSpec
from tako.errors import MachineError
from tako.journal.run_state import RunState
from tako.journal.statuses import SUCCEEDED
from tako.layout.cache import objects_of
from tako.layout.machine import DEV_SHM
from tako.layout.names import ALTERNATES, GIT_NAME, is_objects_of
from tako.layout.run import RunDirectory
from tako.repositories.reference import Repository, parse_repository
from tako.sandbox.mount_places import check_led
from tako.sandbox.policy import NAMESPACE
from tako.sandbox.started import SandboxFailedError
from tako.system.accounting.usage import free_on_disk
from tako.system.process.identity import boot_id
from tako.system.storage.beneath import BeneathError, read_beneath, replace_beneath
from tako.system.storage.copying import can_share_blocks
from tako.system.storage.directory_trees import copy_tree
from tako.system.storage.places import opened_place
from tako.system.storage.removal import remove_tree
from tako.system.storage.writing import cut_file, disk_full, is_full, move, size_of

#: Of the private /dev/shm, where no limit of memory is known: half a gibibyte.
_SHARED_MEMORY = 1 << 29
_ENDLESS = 1 << 62
#: Bytes of a log that stay whatever happens.
_LOG_KEPT = 1 << 16
_ALTERNATES_MAX = 64 * 1024


def prepare(spec: RunSpec, state: RunState) -> None:
    """Make the workspace if it is not in place yet, and give it what the children have produced since.

    A half-made one of a dead attempt is replaced. Raises `DiskFullError` or another `MachineError`.
    """
    draft = spec.paths.draft
    _check_kind(spec)
    try:
        remove_tree(draft.work)
        if state.rebuilds:
            # Artifacts too: an attempt that does not produce one must not hand on that of an earlier one.
            remove_tree(spec.paths.work)
            remove_tree(spec.paths.artifacts)
        if not spec.paths.work.exists():
            remove_tree(spec.paths.view)
            _make(spec, draft)
            move(draft.work, spec.paths.work)
        if state.fan_outs:
            _take_from_children(spec, state, draft)
        mount(spec)
    except OSError as error:
        if is_full(error):
            raise disk_full(error, spec.paths.work) from error
        message = f"the workspace of {spec.repository} cannot be made: {error}"
        raise MachineError(message) from error


OVERLAID, COPIED = "overlay over its snapshot", "copy of its snapshot"


def why_lost(spec: RunSpec, state: RunState) -> str:
    """Why the workspace is not what the journal says, so that the run has to start over; empty if it is.

    The user's own checkout is never ours to make anew.
    """
    if spec.in_place:
        return ""
    if not spec.paths.work.exists():
        return "its workspace was removed"
    if state.rebuilds:
        return "its workspace was about to be made anew"
    if state.identity is not None and state.identity.boot != boot_id():
        return "the machine was restarted, and what was not on its disk yet is lost"
    made = state.sandbox.enforced if state.sandbox else ()
    if (OVERLAID if not spec.overlaid else COPIED) in made:
        return "its workspace was made in another way than is possible now"
    return ""


def _check_kind(spec: RunSpec) -> None:
    """Raise `SandboxFailedError` where the workspace cannot be made as the workflow insists."""
    wanted = spec.workflow.workspace
    if spec.in_place or wanted in ("auto", "copy"):
        return
    if wanted == "overlay" and not spec.overlaid:
        message = f"`workspace: overlay` is not possible at isolation level {spec.isolation.level} here"
        raise SandboxFailedError(message, hint="`tako doctor` shows what works here")
    if wanted == "reflink" and not can_share_blocks(spec.source, spec.directory):
        message = "`workspace: reflink` is not possible here: the file system cannot share blocks of files"
        raise SandboxFailedError(message, hint="use `workspace: auto`")


def _make(spec: RunSpec, draft: RunDirectory) -> None:
    for directory in (draft.work, draft.exchange, draft.received_children):
        directory.mkdir(mode=0o700)
    if spec.received_from is not None and spec.received_from.is_dir():
        copy_tree(spec.received_from, draft.received_artifacts, hard_links=True)
    if spec.in_place:
        return
    draft.home.mkdir(mode=0o700)
    _write_git_identity(draft, spec.git_identity)
    for directory in (spec.paths.view, spec.paths.upper, spec.paths.inner, spec.paths.shared_memory):
        directory.mkdir(mode=0o700)
    if spec.overlaid:
        draft.repo.mkdir(mode=0o700)
    else:
        copy_tree(spec.source, draft.repo)


def mount(spec: RunSpec) -> None:
    """Mount what only this worker and its steps see; the snapshot itself is never written.

    Raises `OSError`. For who holds the run's journal: an upper directory is mounted once at a time.
    """
    if spec.in_namespaces:
        _mount(spec)
    _lend_objects(spec)


def _lend_objects(spec: RunSpec) -> None:
    """Have git in the repository find the mirror's objects where the steps see them now.

    TAKO_HOME may have another path than when the workspace was made. What the steps made of it is theirs.
    """
    objects = None if spec.in_place else objects_of(spec.source)
    if objects is None or not objects.is_dir():
        return
    place = f"{GIT_NAME}/{ALTERNATES}"
    with suppress(BeneathError):
        lines = os.fsdecode(read_beneath(spec.paths.repo, place, _ALTERNATES_MAX, links=False)).splitlines()
        wanted = [str(objects) if is_objects_of(line, objects.parent) else line for line in lines]
        if wanted != lines:
            replace_beneath(spec.paths.repo, place, os.fsencode("\n".join([*wanted, ""])))


def _mount(spec: RunSpec) -> None:
    from tako.system.walls.namespaces import hold_read_only, mount_memory, mount_overlay

    paths = spec.paths
    if spec.isolation.level == NAMESPACE:
        # It is the sandbox's pid 1, so that steps reach its file by /proc/1/exe.
        hold_read_only(spec.isolation.bubblewrap)
    if spec.overlaid:
        mount_overlay(spec.source, paths.upper, paths.inner, paths.repo)
    _veil_objects(spec)
    # bubblewrap puts it where the step sees it; without, that is where it has to be.
    shared = paths.shared_memory if spec.isolation.level == NAMESPACE else DEV_SHM
    mount_memory(shared, _shared_memory(spec))
    machine = spec.isolation.machine
    for cache, place in spec.tool_caches:
        if machine is not None:
            check_led(str(cache), machine.written)
        # Another process may write the lower directory meanwhile: at worst a stale file of a cache is seen.
        upper, inner = paths.cache_view(place)
        for directory in (upper, inner):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A step of an earlier segment may have put a link there, or above it.
        with opened_place(paths.home, place) as target:
            mount_overlay(cache, upper, inner, target)


def _veil_objects(spec: RunSpec) -> None:
    """Have an overlay where this worker sees the mirror's objects, so that locks of steps stay in there."""
    from tako.system.walls.namespaces import mount_veil

    objects = objects_of(spec.source)
    if objects is None or not objects.is_dir():
        return
    with ExitStack() as stack, suppress(OSError):
        found = [os.open(one, os.O_PATH | os.O_DIRECTORY) for one in (objects, spec.paths.shared_memory)]
        for descriptor in found:
            stack.callback(os.close, descriptor)
        mount_veil(found[0], found[1], found[0])


def _shared_memory(spec: RunSpec) -> int:
    """The bytes that fit into /dev/shm: what a step may have in memory that declares nothing."""
    return min(spec.limits.memory or _SHARED_MEMORY, spec.quota.mem_limit or _ENDLESS)


def _write_git_identity(draft: RunDirectory, identity: tuple[str, str]) -> None:
    """Let `git commit` work: the user's name and email, and nothing else of the user's configuration."""
    name, email = (text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") for text in identity)
    lines = [f'\tname = "{name}"'] if name else []
    lines += [f'\temail = "{email}"'] if email else []
    if lines:
        draft.git_config.write_text("\n".join(["[user]", *lines, ""]))


def _take_from_children(spec: RunSpec, state: RunState, draft: RunDirectory) -> None:
    """Put what succeeded children produced under `$TAKO_CHILDREN/<owner>/<name>/<artifact>/`.

    Built anew and moved into place as a whole: whatever the steps made of the directory before, nothing
    is written through it.
    """
    draft.work.mkdir(mode=0o700)
    draft.received_children.mkdir(mode=0o700)
    awaited = (fan_out for fan_out in state.fan_outs.values() if fan_out.emitted.wait_for_children)
    planned = [
        (child, parse_repository(child.plan.repository))
        for fan_out in awaited
        for child in fan_out.children.values()
    ]
    # Those of another host last: one that has the owner and name of a repository here takes no place of it.
    planned.sort(key=lambda found: found[1].host != "")
    taken = {place for _, named in planned for place in _places(named)}
    for child, named in planned:
        if child.finished and child.finished.status == SUCCEEDED:
            _take(spec.paths.child(child.plan.run_id), named, draft, taken)
    remove_tree(spec.paths.received_children)
    move(draft.received_children, spec.paths.received_children)
    draft.work.rmdir()


def _places(repository: Repository) -> Iterator[str]:
    """Where the artifacts of a repository are put, and the directories above."""
    parts = (*repository.owner.split("/"), repository.name)
    return ("/".join(parts[:count]) for count in range(1, len(parts) + 1))


def _take(child: RunDirectory, repository: Repository, draft: RunDirectory, taken: Collection[str]) -> None:
    produced = sorted(child.artifacts.iterdir()) if child.artifacts.is_dir() else []
    if not produced:
        return
    *_, own = _places(repository)
    target = draft.received_children / own
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for artifact in produced:
        # A second run of the same repository must not hide what the first one produced, nor lose its own. And
        # nothing of an artifact may be where another repository's are looked for: `x` of a/b, and a/b/x.
        is_taken = f"{own}/{artifact.name}" in taken or (target / artifact.name).exists()
        place = target / (f"{artifact.name}.{child.run_id}" if is_taken else artifact.name)
        copy_tree(artifact, place, hard_links=True)


def changing(spec: RunSpec) -> tuple[Path, ...]:
    """Where what is changed in the workspace is kept, while nothing of it is mounted."""
    return (spec.paths.upper if spec.overlaid else spec.paths.repo, spec.paths.home, spec.paths.exchange)


def unmount(spec: RunSpec) -> None:
    """Take down what `mount` has mounted."""
    if spec.in_namespaces:
        from tako.system.walls import namespaces
        from tako.system.walls.veils import mount_points

        # By where they are now: a step may have moved the directory that one lies in.
        home = os.path.realpath(spec.paths.home)
        points = mount_points() if spec.tool_caches else ()
        caches = [Path(point) for point in points if point.startswith(f"{home}/")]
        own = (*reversed(caches), spec.paths.repo, spec.paths.shared_memory)
        objects = objects_of(spec.source)
        for mounted in own if objects is None else (*own, objects):
            with suppress(OSError):
                namespaces.unmount(mounted)


def leave(spec: RunSpec) -> None:
    """Take down what this worker has mounted, and remove the workspace."""
    unmount(spec)
    dispose(spec)


def make_room(spec: RunSpec) -> None:
    """Remove what a failed run keeps until the disk has its reserve again: artifacts, then ends of logs."""
    wanted = (spec.limits.min_free or 0) * 5 // 4
    if free_on_disk(spec.directory) < wanted:
        # A run that has failed gives them to nobody.
        remove_tree(spec.paths.artifacts)
    logs = sorted(spec.paths.logs.iterdir(), key=size_of, reverse=True) if spec.paths.logs.is_dir() else []
    for log in logs:
        missing = wanted - free_on_disk(spec.directory)
        size = size_of(log)
        if missing > 0 and size > _LOG_KEPT:
            cut_file(
                log, max(_LOG_KEPT, size - missing), b"\ntako: cut here, because the disk was too full\n"
            )


def dispose(spec: RunSpec) -> None:
    """Remove a workspace that nobody has mounted any more; one that is gone already is no error."""
    for directory in spec.paths.workspace:
        remove_tree(directory)


def give_back(spec: RunSpec) -> None:
    """Remove the workspace of a failed run, and make room; what cannot be removed is left to the clean-up."""
    with suppress(OSError, MachineError):
        dispose(spec)
    with suppress(OSError, MachineError):
        make_room(spec)
