"""Processes that live elsewhere may change the user's own checkout while artifacts are collected from it.

Whatever they swap, nothing from outside the checkout is collected, and what is collected is what is recorded.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tako.config.schema import Produces, Step
from tests.support.segments import run, run_spec

CANARY = "the canary outside"
_TRIES = 6


def _rename(place: Path, made: Path) -> None:
    with contextlib.suppress(OSError):
        made.rename(place)


def _swap_file(directory: Path, secret: Path) -> None:
    """A file, a link that leads out, a FIFO, a file that shrinks: each in place of the one before."""
    place, made = directory / "dist" / "p", directory / "made"
    made.write_text("one\n" * 20_000)
    _rename(place, made)
    made.symlink_to(secret)
    _rename(place, made)
    os.mkfifo(made)
    _rename(place, made)
    made.write_text("two\n" * 20_000)
    _rename(place, made)
    with contextlib.suppress(OSError):
        os.truncate(place, 5)


def _swap_directory(directory: Path, secret: Path) -> None:
    """The directory above it becomes a link out, and back."""
    place, aside = directory / "dist", directory / "aside"
    with contextlib.suppress(OSError):
        place.rename(aside)
    with contextlib.suppress(OSError):
        place.symlink_to(secret.parent)
    with contextlib.suppress(OSError):
        place.unlink()
    with contextlib.suppress(OSError):
        aside.rename(place)


@contextlib.contextmanager
def _elsewhere(swap: Callable[[Path, Path], None], directory: Path, secret: Path) -> Iterator[None]:
    """Swap all the time, in a process that is none of the run's."""
    pid = os.fork()
    if pid == 0:
        while True:
            with contextlib.suppress(OSError):
                swap(directory, secret)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("swap", [_swap_file, _swap_directory])
def test_nothing_from_outside_is_collected_and_what_is_collected_is_recorded(
    tmp_path: Path, swap: Callable[[Path, Path], None]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "p").write_text(CANARY)
    produces = Produces(artifacts={"dist": ("dist/p",)})
    undisturbed = 0
    for number in range(_TRIES):
        source = tmp_path / "source"
        shutil.rmtree(source, ignore_errors=True)
        (source / "dist").mkdir(parents=True)
        (source / "dist" / "p").write_text("one\n" * 20_000)
        step = Step(id="step-1", run="true", produces=produces)
        spec = run_spec(tmp_path, step, number=number, in_place=True)
        with _elsewhere(swap, source, outside / "p") if number != undisturbed else contextlib.nullcontext():
            ran = run(spec)
        assert ran.state.artifacts or number != undisturbed
        assert ran.step().status in ("succeeded", "failed"), ran.step()
        assert ran.step().status == "succeeded" or ran.step().message
        found = [path for path in spec.paths.artifacts.rglob("*") if path.is_file()]
        assert not any(CANARY in path.read_text() for path in found)
        recorded = {
            file.path: (file.sha256, file.size)
            for artifact in ran.state.artifacts.values()
            for file in artifact.files
        }
        for path, (digest, size) in recorded.items():
            data = (spec.paths.artifacts / "dist" / path).read_bytes()
            assert (hashlib.sha256(data).hexdigest(), len(data)) == (digest, size)
