"""The artifacts of a step, copied into its run's directory after its processes are gone.

In: the step, its workspace, how much more the run may keep. Out: for each artifact what was kept, and what
was left out with the reason. Files are opened beneath the workspace and copied once for each inode, with
their holes; links stay links. One that holds a secret is refused. Fails with `StepRefusedError`, which fails
the step, and removes what it copied.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from tako.config.schema import Step
from tako.engine.run.spec import RunSpec
from tako.engine.steps.orders import Orders
from tako.engine.steps.outputs import StepRefusedError, root_of
from tako.journal.parts import CollectedFile, LeftOut
from tako.journal.redaction.scrubber import NOTHING, Scrubber
from tako.layout.names import checked_name
from tako.system.accounting.usage import size_on_disk
from tako.system.storage.beneath import BeneathError, copy_beneath, open_beneath
from tako.system.storage.globbing import Found, find_beneath
from tako.system.storage.writing import make_private, sync_directory
from tako.system.terminal.text import named
from tako.units import format_duration
from tako.values import field, value

_CHUNK = 1 << 20
#: Seconds in which all artifacts of a step have to be collected.
WITHIN_S = 600.0
_TOLD_MAX = 20


class ArtifactsTooLargeError(StepRefusedError):
    """The copies would take more than the run may have on disk."""


class CollectionStoppedError(StepRefusedError):
    """The run is to end before everything is collected; `status` is how."""

    def __init__(self, status: str) -> None:
        super().__init__("ended while its artifacts were collected")
        self.status = status


@value
class Collected:
    """What was kept of one artifact, and what was not."""

    files: tuple[CollectedFile, ...] = ()
    links: Mapping[str, str] = field(factory=dict)
    empty_directories: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def stopping(orders: Orders, *, within_s: float = WITHIN_S) -> Callable[[], None]:
    """What raises `StepRefusedError` as soon as the end is asked for or the time is over."""
    deadline = time.monotonic() + within_s

    def check() -> None:
        orders.read()
        if orders.stop:
            raise CollectionStoppedError(orders.stop)
        if time.monotonic() > deadline:
            message = f"its artifacts took longer than {format_duration(within_s)} to collect"
            raise StepRefusedError(message)

    return check


class Collector:
    """Collects what `produces.artifacts` of one step names into the run's `artifacts/<artifact>/`."""

    def __init__(
        self,
        spec: RunSpec,
        step: Step,
        *,
        scrubber: Scrubber = NOTHING,
        room: int | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`room` is how many bytes the copies may take on disk; `check` is asked again and again."""
        self._root = root_of(spec)
        self._top = spec.paths.artifacts
        self._step = step
        self._scrubber = scrubber
        self._room = room
        self._check = check
        #: The first copy of each file, by device and inode.
        self._copies: dict[tuple[int, int], tuple[Path, str, int]] = {}
        self._placed: list[Path] = []

    def collect(self) -> dict[str, Collected]:
        """Copy everything; raises `StepRefusedError` for the step and `OSError` for the run's directory."""
        try:
            return {
                artifact: self._artifact(artifact, patterns)
                for artifact, patterns in self._step.produces.artifacts.items()
            }
        except BaseException:
            for place in self._placed:
                with suppress(OSError):
                    place.unlink()
            raise

    def _artifact(self, artifact: str, patterns: tuple[str, ...]) -> Collected:
        target = self._top / checked_name(artifact, "artifact")
        found = _together([self._matches(artifact, pattern) for pattern in patterns])
        for path in found.files if self._scrubber else ():
            self._refuse_secret(path)
        for name in (*found.empty, *(word for link in found.links.items() for word in link)):
            self._refuse_name(name)
        for place in [target / path for path in found.empty]:
            _make_directory(target, place)
        files = tuple(self._file(path, target) for path in found.files)
        for path, pointed in found.links.items():
            self._cleared(target, path).symlink_to(pointed)
        self._sync([target / path for path in (*found.files, *found.links, *found.empty)])
        return Collected(files, found.links, found.empty, tuple(self._left_out(found, target)))

    def _matches(self, artifact: str, pattern: str) -> Found:
        try:
            found = find_beneath(self._root, pattern)
        except BeneathError as error:
            message = f"artifact {artifact!r}: {error}"
            raise StepRefusedError(message) from error
        if not found.files and not found.links:
            why = "; ".join(f"{named(path)} {reason}" for path, reason in found.others[:_TOLD_MAX])
            message = f"artifact {artifact!r}: no regular file matches {pattern!r}" + (why and f" ({why})")
            raise StepRefusedError(self._scrubber.scrub_text(message))
        return found

    def _file(self, path: str, target: Path) -> CollectedFile:
        self._check()
        place = self._cleared(target, path)
        try:
            return self._copied(path, place)
        except BeneathError as error:
            message = f"artifact file {path!r}: {error}"
            raise StepRefusedError(message) from error

    def _copied(self, path: str, place: Path) -> CollectedFile:
        inode = (0, 0)

        def look(status: os.stat_result) -> None:
            nonlocal inode
            inode = status.st_dev, status.st_ino
            if inode in self._copies:
                raise _KnownError
            self._take_room(size_on_disk(status))

        try:
            sha256, size = copy_beneath(self._root, path, place, on_source=look, on_chunk=self._check)
            self._copies[inode] = place, sha256, size
        except _KnownError:
            first, sha256, size = self._copies[inode]
            os.link(first, place)
        return CollectedFile(path, sha256, size)

    def _take_room(self, size: int) -> None:
        if self._room is None:
            return
        self._room -= size
        if self._room < 0:
            message = "its artifacts are more than its limit of disk, or min_free, leaves"
            raise ArtifactsTooLargeError(message)

    def _cleared(self, target: Path, path: str) -> Path:
        """Where to put something: an attempt that died, or an earlier step, may have left another there."""
        place = target / path
        _make_directory(target, place.parent)
        place.unlink(missing_ok=True)
        self._placed.append(place)
        return place

    def _left_out(self, found: Found, target: Path) -> Iterator[LeftOut]:
        hidden = self._scrubber.scrub_text
        for path, reason in found.others:
            yield LeftOut(hidden(path), reason)
        for path, pointed in found.links.items():
            # By how links are chosen it does not lead out of the target.
            if not (target / path).exists():
                yield LeftOut(path, f"points to {pointed!r}, which is not kept")

    def _refuse_secret(self, path: str) -> None:
        """Raise `StepRefusedError` if a file, which nobody writes to any more, holds a secret."""
        self._refuse_name(path)
        try:
            if not self._scrubber.carried_by(self._pieces(path)):
                return
        except BeneathError as error:
            message = f"artifact file {path!r}: {error}"
            raise StepRefusedError(message) from error
        raise _secret(path, "holds")

    def _refuse_name(self, name: str) -> None:
        shown = self._scrubber.scrub_text(name)
        if shown != name:
            raise _secret(shown, "has in its name")

    def _pieces(self, path: str) -> Iterator[bytes]:
        with os.fdopen(open_beneath(self._root, path), "rb", buffering=0) as file:
            while piece := file.read(_CHUNK):
                self._check()
                yield piece

    def _sync(self, places: list[Path]) -> None:
        """Have these names on the disk: what is recorded next will say that they are there."""
        directories = {
            parent for place in places for parent in place.parents if parent.is_relative_to(self._top)
        }
        for directory in (*directories, self._top.parent):
            sync_directory(directory)


class _KnownError(Exception):
    """The file was copied already, under another name."""


def _together(found: list[Found]) -> Found:
    """What several patterns match, each once."""
    files = {path for one in found for path in one.files}
    links = {path: pointed for one in found for path, pointed in one.links.items()}
    empty = {path for one in found for path in one.empty}
    others = dict(other for one in found for other in one.others)
    return Found(
        tuple(sorted(files)), dict(sorted(links.items())), tuple(sorted(empty)), tuple(sorted(others.items()))
    )


def _make_directory(top: Path, directory: Path) -> None:
    """Make a directory of the copy and those above it, none of which may be a link that was kept before."""
    for place in (
        *reversed([parent for parent in directory.parents if parent.is_relative_to(top)]),
        directory,
    ):
        if place != top and place.is_symlink():
            place.unlink()
    make_private(directory)


def _secret(path: str, where: str) -> StepRefusedError:
    return StepRefusedError(
        f"artifact file {path!r} {where} the value of a secret of this run;"
        " artifacts are kept and handed on: leave it out of the file"
    )


def lines_of(artifacts: Mapping[str, Collected]) -> list[str]:
    """What a step's log says of what was left out."""
    lines = []
    for artifact, collected in artifacts.items():
        told = collected.left_out[:_TOLD_MAX]
        lines += [f"tako: artifact {artifact}: left out: {left.path!r} {left.reason}" for left in told]
        more = len(collected.left_out) - _TOLD_MAX
        if more > 0:
            lines.append(f"tako: artifact {artifact}: {more} more are left out; the journal names them")
    return lines
