from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.support import leaks
from tests.support.processes import descendants, end

_PRINT_READY = "import time; print('ready', flush=True); time.sleep(600)"
# The process in the middle ends at once, so that the last one is nobody's child that we know of.
_ORPHAN = (
    "import subprocess, sys;"
    "last = subprocess.Popen([sys.executable, '-c', sys.argv[1]], stdout=sys.stdout, start_new_session=True)"
)


@pytest.fixture
def before() -> leaks.Snapshot:
    return leaks.snapshot()


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("tests.support.processes.GRACE_S", 0.05)
    yield
    end(descendants())


def test_a_test_that_leaves_nothing_passes(before: leaks.Snapshot, tmp_path: Path) -> None:
    subprocess.run(["sh", "-c", "true"], check=True, cwd=tmp_path)
    assert leaks.left_since(before, tmp_path) == []


def test_a_child_left_running_is_named_and_killed(before: leaks.Snapshot, short_grace: None) -> None:
    with subprocess.Popen([sys.executable, "-c", _PRINT_READY], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        left = leaks.left_since(before, None)
        assert any(line.startswith(f"process {process.pid} ") for line in left)
        assert process.stdout.read() == b""


def test_an_orphan_is_found_by_the_directory_in_its_environment(
    before: leaks.Snapshot, tmp_path: Path, short_grace: None
) -> None:
    middle = subprocess.Popen(
        [sys.executable, "-c", _ORPHAN, _PRINT_READY],
        stdout=subprocess.PIPE,
        env={**os.environ, "TAKO_HOME": str(tmp_path / "tako-home")},
    )
    with middle:
        assert middle.stdout is not None
        assert middle.stdout.readline() == b"ready\n"
        assert middle.wait() == 0
        left = leaks.left_since(before, tmp_path)
        assert [line for line in left if "time.sleep(600)" in line]
        # End of file is the proof that the orphan is dead.
        assert middle.stdout.read() == b""


def test_an_open_descriptor_is_named_with_its_target(before: leaks.Snapshot, short_grace: None) -> None:
    with Path("/dev/zero").open("rb") as file:
        assert leaks.left_since(before, None) == [f"file descriptor {file.fileno()} (/dev/zero)"]


def test_a_temporary_directory_left_is_named_and_removed(before: leaks.Snapshot, short_grace: None) -> None:
    directory = tempfile.mkdtemp(prefix="tako-")
    assert leaks.left_since(before, None) == [directory]
    assert not Path(directory).exists()


def test_a_semaphore_does_not_count_while_a_process_holds_it(
    before: leaks.Snapshot, short_grace: None
) -> None:
    held = get_context("forkserver").Semaphore()
    assert _semaphores_of_this_worker()
    assert leaks.left_since(before, None) == []
    del held


def _semaphores_of_this_worker() -> list[Path]:
    return list(Path("/dev/shm").glob(f"sem.{Path(tempfile.gettempdir()).name}-*"))


@pytest.fixture
def only_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask nobody else: a tako of another test that an ordinary user may not ask counts as one that holds."""
    monkeypatch.setattr(leaks, "_runs_as_us", lambda entry: entry.name == str(os.getpid()))


def test_a_semaphore_that_nobody_holds_is_named_and_removed(
    before: leaks.Snapshot, short_grace: None, only_this_process: None
) -> None:
    left = Path(f"/dev/shm/sem.{Path(tempfile.gettempdir()).name}-left")
    left.write_bytes(b"")
    assert leaks.left_since(before, None) == [f"semaphore {left}"]
    assert not left.exists()


def test_a_semaphore_of_another_program_does_not_count(
    before: leaks.Snapshot, short_grace: None, tmp_path: Path
) -> None:
    # With a name as CPython gives it, of a program that was killed: it stays for good.
    orphaned = Path(f"/dev/shm/sem.mp-{uuid.uuid4().hex[:8]}")
    orphaned.write_bytes(b"")
    try:
        assert leaks.left_since(before, tmp_path) == []
        assert orphaned.exists()
    finally:
        orphaned.unlink()


def test_a_semaphore_of_a_tako_is_ours_by_its_private_directory_or_our_journals(
    before: leaks.Snapshot, short_grace: None, only_this_process: None, tmp_path: Path
) -> None:
    private = Path(tempfile.gettempdir()) / f"tako-{os.getpid():012x}"
    semaphore = Path(f"/dev/shm/sem.{private.name}-x")
    semaphore.write_bytes(b"")
    # As one of a tako that another worker has started.
    assert leaks.left_since(before, tmp_path) == []
    private.mkdir()
    assert leaks.left_since(before, None) == [str(private), f"semaphore {semaphore}"]
    semaphore.write_bytes(b"")
    (tmp_path / "journal.jsonl").write_text(str(private))
    assert leaks.left_since(before, tmp_path) == [f"semaphore {semaphore}"]
    assert not semaphore.exists()


def test_every_worker_has_a_temporary_directory_of_its_own() -> None:
    assert Path(tempfile.gettempdir()).name.startswith("t")
    assert os.environ["TMPDIR"] == tempfile.gettempdir()
