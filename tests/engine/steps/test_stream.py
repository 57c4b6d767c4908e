from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tako.config.schema import Produces, Step
from tako.engine.run.spec import secrets_of
from tako.engine.steps.stream import CHUNK, Log, OutputTooLargeError, Stream
from tako.errors import DiskFullError, WriteFailedError
from tako.sandbox.policy import Limits
from tests.support.segments import Ran, run, run_spec


def _produces(**outputs: str) -> Produces:
    return Produces(outputs=outputs)


def test_no_byte_of_the_output_is_lost(tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000 + b"\n\xff\xfe no newline at the end"
    (tmp_path / "data").write_bytes(data)
    spec = run(run_spec(tmp_path, f"cat '{tmp_path}/data'")).spec
    assert spec.paths.log("step-1").read_bytes() == data + b"\n"


def test_invalid_text_is_shown_as_such_in_the_last_lines(tmp_path: Path) -> None:
    assert run(run_spec(tmp_path, "printf 'caf\\351\\n'; false")).step().last_lines == ("caf\ufffd",)


def test_only_the_last_lines_are_kept_for_the_report(tmp_path: Path) -> None:
    lines = (
        run(run_spec(tmp_path, "seq 100000; head -c 2000 /dev/zero | tr '\\0' x; false")).step().last_lines
    )
    assert lines[:-1] == tuple(map(str, range(99982, 100001)))
    assert lines[-1] == "x" * 500


def test_a_step_may_close_its_streams_and_work_on(tmp_path: Path) -> None:
    ran = run(run_spec(tmp_path, "echo before; exec > /dev/null 2>&1 >&- 2>&-; sleep 0.1; exit 5"))
    assert (ran.step().exit_code, ran.log()) == (5, "before\n")


def test_lines_of_both_streams_stay_whole(tmp_path: Path) -> None:
    script = """
        (for i in $(seq 300); do printf aaaa; printf 'aaaa\\n'; done) &
        for i in $(seq 300); do printf bbbb >&2; printf 'bbbb\\n' >&2; done
        wait
    """
    lines = run(run_spec(tmp_path, script)).log().splitlines()
    assert sorted(set(lines)) == ["aaaaaaaa", "bbbbbbbb"]
    assert len(lines) == 600


def test_a_step_that_prints_a_lot_costs_its_worker_no_memory(tmp_path: Path) -> None:
    # The peak of the worker stands in its own status; the step is its child.
    peak = "grep VmHWM /proc/$PPID/status >> $TAKO_WORKSPACE/peak"
    loud = Step(
        id="b", run="head -c 100000000 /dev/zero | tr '\\0' x; seq 100000", produces=_produces(o="(99999)")
    )
    ran = run(run_spec(tmp_path, peak, loud, peak, keep=True))
    assert ran.end.status == "succeeded", ran.end.message
    assert ran.spec.paths.log("b").stat().st_size > 100_000_000
    before, after = (int(line.split()[1]) for line in (ran.spec.paths.work / "peak").read_text().splitlines())
    assert after - before < 20_000


def test_what_comes_after_the_shell_has_ended_is_still_logged(tmp_path: Path) -> None:
    ran = run(run_spec(tmp_path, "head -c 60000 /dev/zero | tr '\\0' x; printf end"))
    assert ran.log().endswith("xend\n")


def test_a_step_whose_output_is_larger_than_its_limit_fails_alone(tmp_path: Path) -> None:
    ran = run(run_spec(tmp_path, "yes", "true", limits=Limits(file_size=1 << 20)))
    assert (ran.step().status, ran.end.machine_fault) == ("failed", False)
    assert ran.step().message == "its output is larger than its limit of file size"
    assert ran.spec.paths.log("step-1").stat().st_size <= 1 << 20


# --- without a process ---


@contextlib.contextmanager
def _pipe(log: Log, *, keep: bool = True, keep_end: bool = False) -> Iterator[tuple[Stream, int]]:
    readable, writable = os.pipe()
    try:
        yield Stream(readable, log, keep=keep, keep_end=keep_end), writable
    finally:
        os.close(readable)
        os.close(writable)


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_however_the_output_is_cut_up_the_log_gets_it_all(pieces: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        log = Log(Path(directory) / "log")
        with _pipe(log) as (stream, writable):
            for piece in pieces:
                os.write(writable, piece)
                while stream.read():
                    pass
                written = (Path(directory) / "log").read_bytes()
                assert written == written[: written.rfind(b"\n") + 1]
            stream.finish()
        log.close()
        whole = b"".join(pieces)
        assert stream.kept == whole
        ending = b"" if whole[-1:] in {b"", b"\n"} else b"\n"
        assert (Path(directory) / "log").read_bytes() == whole + ending


def test_a_line_that_has_no_end_is_not_kept_back_for_ever(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    with _pipe(log) as (stream, writable):
        os.write(writable, b"x" * CHUNK)
        assert stream.read()
        assert not stream.read()
        assert (tmp_path / "log").stat().st_size == CHUNK
    log.close()


def test_a_stream_is_at_its_end_when_nobody_can_write_to_it(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    readable, writable = os.pipe()
    stream = Stream(readable, log, keep=False)
    os.write(writable, b"no newline")
    os.close(writable)
    assert stream.read()
    assert not stream.read()
    assert not stream.open
    stream.finish()
    assert ((tmp_path / "log").read_bytes(), stream.kept, stream.end) == (b"no newline\n", b"", b"")
    os.close(readable)
    log.close()


def test_of_too_long_an_output_nothing_is_kept_and_of_its_end_a_mebibyte(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    with _pipe(log, keep_end=True) as (stream, writable):
        for number in range(80):
            os.write(writable, b"%02d" % number * (CHUNK // 2))
            stream.read()
        assert stream.kept is None
        assert (len(stream.end), stream.end[-2:]) == (1 << 20, b"79")
    log.close()


def test_a_log_is_appended_to_and_is_its_owners_alone(tmp_path: Path) -> None:
    for text in (b"one\n", b"two\n"):
        log = Log(tmp_path / "log")
        log.write(text)
        log.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    assert log.last_lines() == ("two",)


def test_a_log_is_never_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        Log(tmp_path / "log")


def test_a_log_that_cannot_be_made_for_want_of_room_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tako.engine.steps.stream.os.open", full)
    with pytest.raises(DiskFullError, match="no space left while writing"):
        Log(tmp_path / "log")


def test_after_a_full_disk_nothing_more_is_written_but_the_end_is_known() -> None:
    log = Log(Path(os.devnull).with_name("full"))
    log.write(b"one\n")
    log.write(b"two\n")
    assert isinstance(log.failure, DiskFullError)
    assert log.last_lines() == ("one", "two")
    log.close()


def test_a_log_on_a_device_that_fails_is_named(tmp_path: Path) -> None:
    """A terminal that was hung up gives EIO (tty(4))."""
    master, slave = os.openpty()
    os.close(master)
    log = Log(tmp_path / "log")
    os.dup2(slave, log._fd, inheritable=False)
    os.close(slave)
    log.write(b"x\n")
    assert isinstance(log.failure, WriteFailedError)
    assert log.failure.message == f"{tmp_path / 'log'} cannot be written: Input/output error"
    log.close()


SECRET = secrets_of({"TOKEN": "first-line-of-it\nsecond-line-of-it"})


def _with_secret(tmp_path: Path, script: str, **changes: Any) -> Ran:  # noqa: ANN401
    step = Step(id="step-1", run=script, secrets=("TOKEN",), **changes)
    return run(run_spec(tmp_path, step), secrets=SECRET)


def test_a_secret_that_is_written_byte_by_byte_is_in_no_sink(tmp_path: Path) -> None:
    script = 'printf "<%s>" "$TOKEN" | dd bs=1 2>/dev/null; printf "<%s" "$TOKEN" >&2'
    produces = _produces(out="from_stdout", err="from_stderr", end="(<.*>)")
    ran = _with_secret(tmp_path, script, produces=produces)
    assert ran.outputs() == {"out": "<***>", "err": "<***", "end": "<***>"}
    assert sorted(ran.log().splitlines()) == ["<***", "<***>"]


def test_a_secret_is_in_no_line_of_a_failure(tmp_path: Path) -> None:
    ran = _with_secret(tmp_path, 'echo "$TOKEN"; echo second-line-of-it; printf first-line; exit 3')
    assert ran.step().last_lines == ("***", "***", "first-line")
    assert ran.log() == "***\n***\nfirst-line\n"


def test_a_secret_that_crosses_the_chunks_of_a_long_line_is_replaced(tmp_path: Path) -> None:
    script = f'head -c {CHUNK - 5} /dev/zero | tr "\\0" x; printf "%s\n" "$TOKEN"'
    assert _with_secret(tmp_path, script).log() == "x" * (CHUNK - 5) + "***\n"


def test_lines_come_as_they_are_written_also_with_secrets(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    spec = run_spec(tmp_path, "true")
    script = f"""
        echo at once
        while ! grep -q 'at once' '{spec.paths.log("step-1")}'; do sleep 0.01; done
        touch '{seen}'
    """
    assert _with_secret(tmp_path, script, timeout_s=30.0).step().status == "succeeded"
    assert seen.exists()


def test_half_of_the_reserve_of_free_disk_is_left_to_journals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 10 * CHUNK
    monkeypatch.setattr("tako.engine.steps.stream.free_on_disk", lambda _: free)
    log = Log(tmp_path / "log", min_free=16 * CHUNK)
    try:
        log.write(bytes(CHUNK))
        free = 8 * CHUNK
        log.write(b"a line\n")
        refused = log.failure
        assert refused is None
        log.write(bytes(CHUNK))
        failure: object = log.failure
        assert isinstance(failure, OutputTooLargeError)
        assert (failure.limit, failure.most) == ("min_free", 16 * CHUNK)
    finally:
        log.close()
    assert (tmp_path / "log").stat().st_size == CHUNK + 7
