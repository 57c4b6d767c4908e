from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tako.engine.run.journals import Journals
from tako.errors import DiskFullError, HeldError
from tako.journal.log import Writer, read_records
from tako.journal.records import Noted, Record, RunFinished
from tako.layout.run import RunDirectory
from tests.support.modules import SOURCE
from tests.support.records import T0, run_id, run_started, write_journal

LATE = Noted(T0 + 1, "late")


@pytest.fixture
def paths(tmp_path: Path) -> RunDirectory:
    """Give a run that has begun."""
    made = RunDirectory(tmp_path / run_id(0))
    write_journal(made.journal, run_started())
    return made


@pytest.fixture
def told() -> list[DiskFullError]:
    """Give what was told of a full disk."""
    return []


@pytest.fixture
def journals(paths: RunDirectory, told: list[DiskFullError]) -> Iterator[Journals]:
    """Give the journals of a tree; the run's is closed at the end."""
    made = Journals(told.append)
    yield made
    made.close(paths)


def _records(paths: RunDirectory) -> list[Record]:
    return list(read_records(paths.journal))


def test_between_segments_the_root_writes_at_once_and_holds_the_right(
    journals: Journals, paths: RunDirectory
) -> None:
    journals.record(paths, LATE)
    assert _records(paths) == [run_started(), LATE]
    with pytest.raises(HeldError):
        Writer(paths.journal)
    journals.sync()
    journals.close(paths)
    journals.close(paths)
    Writer(paths.journal).close()


def test_while_a_worker_holds_the_journal_what_comes_waits(journals: Journals, paths: RunDirectory) -> None:
    journals.record(paths, LATE)
    journals.hand_over(paths)
    worker = Writer(paths.journal)
    journals.record(paths, Noted(T0 + 2, "later"))
    assert journals.waits_for(paths)
    worker.append(RunFinished(T0 + 3, "succeeded"))
    worker.close()
    journals.worker_gone(paths)
    state = journals.take_back(paths)
    assert not journals.waits_for(paths)
    assert state.status == "succeeded"
    assert [note.message for note in state.notes] == ["late", "later"]
    assert [type(record).__name__ for record in _records(paths)] == [
        "RunStarted",
        "Noted",
        "RunFinished",
        "Noted",
    ]


def test_taking_back_cuts_what_the_worker_tore(journals: Journals, paths: RunDirectory) -> None:
    with paths.journal.open("ab") as file:
        file.write(b'{"kind":"StepSta')
    assert journals.take_back(paths).started == run_started()
    journals.record(paths, LATE)
    assert _records(paths) == [run_started(), LATE]


def test_a_lock_that_is_being_given_back_is_waited_for(journals: Journals, paths: RunDirectory) -> None:
    code = (
        "import sys; from pathlib import Path; from tako.journal.log import Writer;"
        " w = Writer(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, paths.journal],
        env={"PYTHONPATH": str(SOURCE.parent)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert holder.stdin is not None
        holder.stdin.close()
        assert journals.take_back(paths).started == run_started()


def test_a_lock_that_is_never_given_back_is_an_error(
    journals: Journals, paths: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tako.engine.run.journals._LOCK_WITHIN_S", 0.05)
    with Writer(paths.journal), pytest.raises(HeldError):
        journals.take_back(paths)


def test_on_a_full_disk_it_is_told_once_and_the_reserved_room_is_used(
    journals: Journals, paths: RunDirectory, told: list[DiskFullError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_writer: Writer, _length: int) -> None:
        message = "no space left"
        raise DiskFullError(message)

    journals.take_back(paths)
    monkeypatch.setattr(Writer, "_keep_room", full)
    journals.record(paths, LATE)
    journals.record(paths, Noted(T0 + 2, "later"))
    journals.record(paths, RunFinished(T0 + 3, "failed"), final=True)
    assert [error.message for error in told] == ["no space left"]
    assert len(_records(paths)) == 4
