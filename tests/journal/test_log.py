from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import pytest

from tako.errors import DiskFullError, HeldError, MachineError, NotFoundError, WriteFailedError
from tako.journal.fold import fold
from tako.journal.log import (
    JournalDamagedError,
    Reader,
    Writer,
    line_of,
    read_ends,
    read_records,
    read_settled,
)
from tako.journal.records import Noted, Record, RunFinished, RunResumed, RunSettled, StepFinished, StepStarted
from tako.journal.run_state import RunState
from tests.support.modules import SOURCE
from tests.support.records import T0, run_started, write_journal

STORY: tuple[Record, ...] = (
    run_started(steps=("build",)),
    StepStarted(T0 + 1, "build", 1, "key"),
    Noted(T0 + 2, "ü ✓ \u2028 \x0c"),
    StepFinished(T0 + 3, "build", 1, "succeeded", outputs={"version": "1.2.3"}),
    RunFinished(T0 + 4, "succeeded", 4.0),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give where a journal is to be."""
    return tmp_path / "journal.jsonl"


def _lines(count: int) -> int:
    return sum(len(line_of(record)) for record in STORY[:count])


# --- reading ---


def test_what_was_appended_is_read_in_order(path: Path) -> None:
    write_journal(path, *STORY)
    assert tuple(read_records(path)) == STORY


def test_a_reader_gives_each_record_once_as_they_come(path: Path) -> None:
    with Writer(path) as journal:
        reader = Reader(path)
        assert list(reader.new_records()) == []
        for number, record in enumerate(STORY, 1):
            journal.append(record)
            assert list(reader.new_records()) == [record]
            assert reader.offset == _lines(number)
        assert list(reader.new_records()) == []


def test_a_reader_waits_for_the_rest_of_a_line(path: Path) -> None:
    write_journal(path, STORY[0])
    reader = Reader(path)
    assert list(reader.new_records()) == [STORY[0]]
    line = line_of(STORY[1])
    with path.open("ab", buffering=0) as file:
        file.write(line[:20])
        assert list(reader.new_records()) == []
        file.write(line[20:])
        assert list(reader.new_records()) == [STORY[1]]


def _room(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_the_reserved_room_behind_the_end_is_not_read(path: Path) -> None:
    with Writer(path) as journal:
        journal.append(STORY[0])
        assert path.stat().st_size == _lines(1)
        assert _room(path) > 32 * 1024
        assert tuple(read_records(path)) == STORY[:1]


def test_the_reserved_room_passes_from_writer_to_writer_until_the_tree_is_settled(path: Path) -> None:
    write_journal(path, *STORY)
    assert _room(path) > 32 * 1024
    with Writer(path) as journal:
        journal.append(RunSettled(T0 + 5, "succeeded", 0))
    assert _room(path) < 32 * 1024


def test_a_child_gives_its_reserved_room_back_when_it_is_finished(path: Path) -> None:
    write_journal(
        path, run_started(parent_run_id="exec-20240101-000000-00000000"), RunFinished(T0 + 4, "failed")
    )
    assert _room(path) < 32 * 1024
    with Writer(path):
        assert _room(path) < 32 * 1024


def test_no_journal_is_an_error_that_names_it(path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no journal at .*journal\.jsonl"):
        list(read_records(path))


def test_damage_is_named_with_file_and_line(path: Path) -> None:
    write_journal(path, *STORY)
    path.write_bytes(path.read_bytes().replace(b'"build"', b'"bui1d"', 2))
    with pytest.raises(JournalDamagedError, match=r"journal\.jsonl, line 1: the checksum is wrong"):
        list(read_records(path))


def test_damage_behind_what_was_read_already_is_named_with_its_line(path: Path) -> None:
    write_journal(path, *STORY[:2])
    reader = Reader(path)
    assert len(list(reader.new_records())) == 2
    with path.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(JournalDamagedError, match="line 3: the checksum is missing"):
        list(reader.new_records())


def test_a_record_of_an_unknown_kind_is_named_with_its_line(path: Path) -> None:
    body = b'{"kind":"RunPaused","at":1.0}'
    line = body[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(body)
    path.write_bytes(line_of(STORY[0]) + line)
    with pytest.raises(JournalDamagedError, match="line 2: unknown kind of record 'RunPaused'"):
        list(read_records(path))


def test_an_inert_record_of_an_unknown_kind_is_passed_over(path: Path) -> None:
    body = b'{"kind":"Measured","inert":true}'
    line = body[:-1] + b',"crc":"%08x"}\n' % zlib.crc32(body)
    path.write_bytes(line_of(STORY[0]) + line + line_of(STORY[1]))
    assert tuple(read_records(path)) == STORY[:2]


def _prefixes() -> list[RunState]:
    return [fold(STORY[:count]) for count in range(len(STORY) + 1)]


def test_cut_at_any_byte_it_tells_what_was_whole(path: Path) -> None:
    whole = b"".join(map(line_of, STORY))
    ends = [_lines(count) for count in range(len(STORY) + 1)]
    states = _prefixes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        count = sum(end <= cut for end in ends) - 1
        assert fold(read_records(path)) == states[count]


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0x07])
def test_with_any_byte_changed_it_is_refused_at_that_line_or_read_as_shorter(path: Path, mask: int) -> None:
    whole = b"".join(map(line_of, STORY))
    ends = [_lines(count) for count in range(1, len(STORY) + 1)]
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= mask
        path.write_bytes(changed)
        if position == len(whole) - 1:
            # The last newline is gone: the line counts as torn.
            assert tuple(read_records(path)) == STORY[:-1]
            continue
        line = 1 + sum(end <= position for end in ends)
        with pytest.raises(JournalDamagedError, match=f"line {line}: "):
            list(read_records(path))


# --- the ends ---


def test_the_ends_are_the_first_and_the_last_record(path: Path) -> None:
    write_journal(path, *STORY)
    assert read_ends(path) == (STORY[0], STORY[-1])


def test_of_one_record_both_ends_are_the_same(path: Path) -> None:
    write_journal(path, STORY[0])
    assert read_ends(path) == (STORY[0], STORY[0])


def test_a_torn_end_is_not_the_last_record(path: Path) -> None:
    path.write_bytes(b"".join(map(line_of, STORY))[:-3])
    assert read_ends(path) == (STORY[0], STORY[-2])


@pytest.mark.parametrize("content", [b"", b'{"kind":'])
def test_where_nothing_is_whole_there_are_no_ends(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert read_ends(path) == (None, None)


def test_no_journal_has_no_ends(path: Path) -> None:
    assert read_ends(path) == (None, None)


@pytest.mark.parametrize("bad", [0, -1])
def test_a_damaged_end_is_an_error_that_names_the_file(path: Path, bad: int) -> None:
    lines = [*map(line_of, STORY)]
    lines[bad] = lines[bad].replace(b"0", b"1")
    path.write_bytes(b"".join(lines))
    with pytest.raises(JournalDamagedError, match=r"journal\.jsonl: the checksum"):
        read_ends(path)


def test_damage_between_the_ends_is_not_seen(path: Path) -> None:
    path.write_bytes(line_of(STORY[0]) + b"rubbish\n" + line_of(STORY[-1]))
    assert read_ends(path) == (STORY[0], STORY[-1])


def test_the_end_is_found_behind_more_than_a_mebibyte(path: Path) -> None:
    write_journal(path, STORY[0], Noted(T0, "x" * (1 << 20)), STORY[-1])
    assert read_ends(path) == (STORY[0], STORY[-1])


def test_a_last_record_of_more_than_a_mebibyte_is_not_found_and_no_damage(path: Path) -> None:
    write_journal(path, STORY[0], Noted(T0, "x" * (1 << 20)))
    assert read_ends(path) == (STORY[0], None)


# --- whether a run is settled ---

SETTLED = RunSettled(T0 + 5, "failed", 1)


def _settled(path: Path) -> RunSettled | str | None:
    """Give what `read_settled` says, or that it refuses."""
    try:
        return read_settled(path)
    except JournalDamagedError:
        return "damaged"


def _is_true(path: Path) -> bool:
    """Whether it says what all records say; of a journal that is refused nothing but what was written."""
    try:
        return _settled(path) == fold(read_records(path)).settled
    except JournalDamagedError:
        return _settled(path) in (SETTLED, "damaged", None)


def test_a_run_is_settled_once_its_last_line_is_whole_and_until_it_goes_on(path: Path) -> None:
    whole = b"".join(map(line_of, (*STORY, SETTLED, RunResumed(T0 + 9, T0 + 5))))
    end = len(b"".join(map(line_of, (*STORY, SETTLED))))
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        assert read_settled(path) == (SETTLED if end <= cut < len(whole) else None), cut
        assert _is_true(path), cut


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0x07])
def test_with_any_byte_changed_a_run_is_never_settled_otherwise_than_it_was(path: Path, mask: int) -> None:
    whole = b"".join(map(line_of, (*STORY, SETTLED)))
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= mask
        path.write_bytes(changed)
        assert _is_true(path), position
        if position >= _lines(len(STORY)):
            assert _settled(path) in ("damaged", None), position


def test_a_doubled_line_settles_nothing_and_unsettles_nothing(path: Path) -> None:
    lines = [*map(line_of, (*STORY, SETTLED))]
    for last in (len(STORY), len(lines)):
        for doubled in range(last):
            path.write_bytes(b"".join([*lines[: doubled + 1], *lines[doubled:last]]))
            assert read_settled(path) == (SETTLED if last == len(lines) else None)
            assert _is_true(path)


# --- the right to write ---


def test_a_second_writer_is_refused(path: Path) -> None:
    with (
        Writer(path),
        pytest.raises(HeldError, match=r"process \d+ \(.+\) is executing this run \(.*journal"),
    ):
        Writer(path)
    Writer(path).close()


def test_a_writer_in_another_process_is_refused(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tako.journal.log import Writer; Writer(Path(sys.argv[1]))"
    )
    with Writer(path):
        done = subprocess.run(
            [sys.executable, "-c", code, path],
            env={**os.environ, "PYTHONPATH": str(SOURCE.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert "is executing this run" in done.stderr


def test_closing_a_reader_does_not_give_up_the_right_to_write(path: Path) -> None:
    with Writer(path) as journal:
        journal.append(STORY[0])
        assert len(list(read_records(path))) == 1
        assert read_ends(path)[0] == STORY[0]
        with pytest.raises(HeldError):
            Writer(path)


def test_a_writer_cuts_a_torn_line_and_goes_on_behind_the_last_whole_one(path: Path) -> None:
    path.write_bytes(b"".join(map(line_of, STORY[:2])) + line_of(STORY[2])[:-5])
    with Writer(path) as journal:
        assert tuple(journal.records) == STORY[:2]
        assert path.stat().st_size == _lines(2)
        for record in STORY[2:]:
            journal.append(record)
    assert tuple(read_records(path)) == STORY


def test_a_writer_refuses_a_damaged_journal_and_leaves_it_as_it_is(path: Path) -> None:
    damaged = line_of(STORY[0]).replace(b"acme", b"evil") + line_of(STORY[1])[:10]
    path.write_bytes(damaged)
    with pytest.raises(JournalDamagedError, match="line 1"):
        Writer(path)
    assert path.read_bytes() == damaged


def test_a_journal_is_readable_for_its_owner_alone_and_never_a_link(path: Path, tmp_path: Path) -> None:
    write_journal(path)
    assert path.stat().st_mode & 0o777 == 0o600
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(MachineError, match="symbolic links"):
        Writer(tmp_path / "link")


def test_closing_twice_is_closing_once(path: Path) -> None:
    writer = Writer(path)
    writer.append(STORY[0])
    writer.sync()
    writer.close()
    writer.close()
    assert list(read_records(path)) == [STORY[0]]


# --- where there is no room ---


def _in_subprocess(script: str, *arguments: object, launcher: tuple[str, ...] = ()) -> str:
    done = subprocess.run(
        [*launcher, sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(SOURCE.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_ON_TINY_DISK = ("unshare", "--user", "--map-root-user", "--mount", "--")


def _needs_namespaces() -> None:
    done = subprocess.run([*_ON_TINY_DISK, "true"], capture_output=True, text=True, check=False)
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")


def test_on_a_full_disk_the_final_records_still_find_room(tmp_path: Path) -> None:
    _needs_namespaces()
    (tmp_path / "disk").mkdir()
    said = _in_subprocess(
        """
        import os, subprocess, sys
        from pathlib import Path
        from tako.errors import DiskFullError
        from tako.journal.log import Writer, read_records
        from tako.journal.records import Noted, RunFinished
        disk = Path(sys.argv[1])
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=True)
        with Writer(disk / "journal.jsonl") as journal:
            journal.append(Noted(1.0, "begin"))
            try:
                with open(disk / "filler", "wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
            except OSError as error:
                print(error.strerror)
            written = 0
            try:
                while True:
                    journal.append(Noted(2.0 + written, "x" * 1000))
                    written += 1
            except DiskFullError as error:
                print(error.message.partition(str(disk))[0], error.hint.partition("(")[0])
            before = len(list(read_records(disk / "journal.jsonl")))
            assert before == written + 1
            journal.append(RunFinished(3.0, "failed", message="y" * 20_000), final=True)
            journal.append(RunFinished(4.0, "failed"), final=True)
            journal.sync()
        records = list(read_records(disk / "journal.jsonl"))
        print(len(records) - before, records[-1].at, written < 100)
        """,
        tmp_path / "disk",
        launcher=_ON_TINY_DISK,
    )
    assert said.splitlines() == [
        "No space left on device",
        "no space left while writing  free some space ",
        "2 4.0 True",
    ]


def test_on_a_full_disk_no_journal_is_begun(tmp_path: Path) -> None:
    _needs_namespaces()
    (tmp_path / "disk").mkdir()
    said = _in_subprocess(
        """
        import subprocess, sys
        from pathlib import Path
        from tako.errors import DiskFullError
        from tako.journal.log import Writer
        disk = Path(sys.argv[1])
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True)
        try:
            Writer(disk / "journal.jsonl")
        except DiskFullError as error:
            print(error.exit_code)
        """,
        tmp_path / "disk",
        launcher=_ON_TINY_DISK,
    )
    assert said == "4\n"


def test_a_line_that_was_written_short_is_cut_back(path: Path) -> None:
    said = _in_subprocess(
        """
        import resource, sys
        from pathlib import Path
        from tako.errors import DiskFullError
        from tako.journal.log import Writer, line_of, read_records
        from tako.journal.records import Noted
        path = Path(sys.argv[1])
        first, second = Noted(1.0, "a"), Noted(2.0, "b" * 500)
        with Writer(path) as journal:
            journal.append(first)
            limit = len(line_of(first)) + 100
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                journal.append(second)
            except DiskFullError as error:
                print("refused", path.stat().st_size == len(line_of(first)))
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            journal.append(second)
        print(len(list(read_records(path))))
        """,
        path,
    )
    assert said.splitlines() == ["refused True", "2"]


def test_a_file_at_its_limit_of_size_refuses_the_next_record(path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Writer(path) as journal:
        journal.append(STORY[0])
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, before[1]))
        try:
            with pytest.raises(DiskFullError, match="File too large"):
                journal.append(STORY[1])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert tuple(read_records(path)) == STORY[:1]


def test_what_a_device_refuses_is_an_error_that_names_the_journal(path: Path) -> None:
    """A terminal that was hung up refuses everything (tty(4)): EIO for writing, EINVAL for syncing."""
    master, slave = os.openpty()
    os.close(master)
    with Writer(path) as journal:
        os.dup2(slave, journal._fd, inheritable=False)
        os.close(slave)
        with pytest.raises(WriteFailedError, match=f"{path} cannot be written: Input/output error"):
            journal.append(STORY[0])
        with pytest.raises(WriteFailedError, match=f"{path} cannot be written"):
            journal.sync()


def test_a_file_system_that_cannot_reserve_is_written_without(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr("tako.journal.log.reserve", cannot)
    write_journal(path, *STORY)
    assert tuple(read_records(path)) == STORY


def test_another_error_of_reserving_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object) -> None:
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr("tako.journal.log.reserve", cannot)
    with pytest.raises(WriteFailedError, match="broken disk"):
        Writer(path)


@pytest.mark.parametrize("saved", sorted((Path(__file__).parents[1] / "journals").rglob("*.jsonl")))
def test_with_any_line_doubled_it_tells_the_same(path: Path, saved: Path) -> None:
    lines = saved.read_bytes().splitlines(keepends=True)
    whole = fold(read_records(saved))
    for position in range(len(lines)):
        path.write_bytes(b"".join([*lines[: position + 1], *lines[position:]]))
        assert fold(read_records(path)) == whole
