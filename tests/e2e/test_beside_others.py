"""The tests do not take what other programs of the machine do for their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.modules import SOURCE
from tests.support.runner import GENEROUS_S
from tests.support.scenes import Mailbox, Scene

PROJECT = SOURCE.parents[1]
#: A test that lasts while others begin.
_LASTS = """
import os
def test_that_lasts():
    with open(os.environ["BEGUN"], "w") as begun:
        begun.write("begun\\n")
    with open(os.environ["GO_ON"]) as go_on:
        assert go_on.read(1)
"""
#: A pool with semaphores, temporary files and processes, in use until its stdin ends.
_POOL = """
import sys, tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
if __name__ == "__main__":
    with ProcessPoolExecutor(2, get_context("forkserver")) as pool, tempfile.NamedTemporaryFile():
        pool.submit(abs, 1).result()
        print("begun", flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def outside() -> Iterator[Path]:
    """A directory beside those of the tests."""
    with tempfile.TemporaryDirectory(dir=os.environ["PYTEST_DEBUG_TEMPROOT"]) as directory:
        yield Path(directory)


@contextmanager
def _tests_that_last(directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A pytest of its own with the same plugin, in the middle of its only test."""
    directory.mkdir()
    (directory / "test_lasts.py").write_text(_LASTS)
    begun, go_on = Mailbox(directory / "begun"), directory / "go-on"
    os.mkfifo(go_on)
    words = [
        "-q",
        "-p",
        "tests.support.leaks",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
    ]
    environment = {
        "PATH": os.environ["PATH"],
        "TMPDIR": str(directory),
        "PYTHONPATH": str(PROJECT),
        "BEGUN": str(begun.path),
        "GO_ON": str(go_on),
    }
    command = [sys.executable, "-m", "pytest", *words, f"--rootdir={directory}", str(directory)]
    with subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert begun.line() == "begun"
            yield process, go_on
        finally:
            process.kill()
            begun.close()


def _ended_well(process: subprocess.Popen[bytes], go_on: Path) -> None:
    go_on.write_text("x")
    said, _ = process.communicate(timeout=GENEROUS_S)
    assert (process.returncode, "1 passed" in said.decode()) == (0, True), said.decode()


def test_tests_pass_beside_a_pool_other_tests_and_a_live_tako(scene: Scene, outside: Path) -> None:
    mailbox = Mailbox(outside / "mailbox")
    step = f"echo begun >{mailbox.path}; cat {outside}/wait; true"
    os.mkfifo(outside / "wait")
    checkout = scene.library(step)
    pool = [sys.executable, "-c", _POOL]
    with (
        _tests_that_last(outside / "first") as (first, let_first_go_on),
        subprocess.Popen(pool, cwd=outside, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger,
        scene.tako.started("exec", "release", cwd=checkout) as live,
        _tests_that_last(outside / "second") as (second, let_second_go_on),
    ):
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == b"begun\n"
        assert mailbox.line() == "begun"
        # What began before the others ends while they live.
        _ended_well(first, let_first_go_on)
        stranger.communicate(b"")
        (outside / "wait").write_text("go on")
        assert live.wait(GENEROUS_S) == 0
        # What began while they lived ends when they are gone.
        _ended_well(second, let_second_go_on)
    mailbox.close()
