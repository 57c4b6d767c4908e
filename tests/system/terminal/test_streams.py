from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

from tako.system.terminal import streams

_REPORT = (
    "import os, sys; from tako.system.terminal.streams import ensure_open; ensure_open();"
    "import tempfile; first = tempfile.TemporaryFile();"
    "print('said'); print('told', file=sys.stderr); sys.stdin.read();"
    "os._exit(first.fileno())"
)


def test_missing_streams_are_made_so_that_no_file_takes_their_place() -> None:
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", _REPORT], check=False
        )
        assert done.returncode > 2, closed


def test_a_working_stream_is_written_to() -> None:
    stream = io.StringIO()
    assert streams.say(stream, "hello\n")
    assert stream.getvalue() == "hello\n"


def test_a_stream_that_failed_once_fails_no_more() -> None:
    with Path("/dev/full").open("w") as stream:
        assert not streams.say(stream, "x")
        assert streams.say(stream, "y")


def test_a_stream_whose_reader_left_is_flushed_without_failing() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        stream.write("nobody hears this")
        assert not streams.flush_or_discard(stream)


def test_a_closed_stream_is_no_error() -> None:
    stream = io.StringIO()
    stream.close()
    assert not streams.say(stream, "x")
