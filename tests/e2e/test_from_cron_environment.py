"""Started by cron or by another program: poor environment, pipes for everything, readers that leave."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.runner import GENEROUS_S, command, cron_environment, run_program
from tests.support.scenes import FAN_OUT, Scene, children

_OUTPUT = "seq 1 20000"


def _shell(scene: Scene, checkout: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line of sh in which `"$@"` is tako."""
    return subprocess.run(
        ["sh", "-c", line, "sh", *command()],
        cwd=checkout,
        env=dict(scene.tako.environment),
        capture_output=True,
        text=True,
        timeout=GENEROUS_S,
        check=False,
    )


def _loud(scene: Scene) -> Path:
    scene.subscriber("acme/web", _OUTPUT)
    return scene.library(_OUTPUT, FAN_OUT, _OUTPUT)


def _all_succeeded(scene: Scene) -> None:
    result = scene.status()
    assert (result["status"], result["exit_code"]) == ("succeeded", 0)
    assert [step["status"] for step in result["steps"]] == ["succeeded"] * len(result["steps"])
    assert children(result)["acme/web"]["status"] == "succeeded"


def test_crons_environment_is_enough(scene: Scene) -> None:
    environment = cron_environment(scene.tako)
    home = Path(environment["HOME"])
    scene.tako.home.symlink_to(home / ".tako")
    (home / ".tako").mkdir()
    scene.subscriber("acme/web", 'echo "$PATH"; git --version')
    checkout = scene.library("tty && exit 1; true", FAN_OUT)
    done = run_program([*command(), "exec", "release", "--output", "json"], environment, checkout)
    assert done.code == 0, done.stderr
    assert children(done.json)["acme/web"]["status"] == "succeeded"
    assert "\x1b" not in done.stderr + done.stdout
    assert len(list((home / ".tako" / "workspaces").iterdir())) == 1


def test_without_a_locale_nothing_is_lost(scene: Scene) -> None:
    scene.subscriber("acme/web", "printf 'gr\\303\\274n \\377\\n'")
    done = scene.tako(
        "exec", "release", cwd=scene.library(FAN_OUT), env={"LANG": "C", "LC_ALL": "POSIX", "PYTHONUTF8": "0"}
    )
    assert done.code == 0, done.stderr
    _all_succeeded(scene)


def test_a_closed_stdout_does_not_hurt_the_run(scene: Scene) -> None:
    done = _shell(scene, _loud(scene), 'exec "$@" exec release >&-')
    assert done.returncode == 0, done.stderr
    _all_succeeded(scene)


def test_a_closed_stderr_does_not_hurt_the_run(scene: Scene) -> None:
    done = _shell(scene, _loud(scene), 'exec "$@" exec release 2>&-')
    assert done.returncode == 0
    _all_succeeded(scene)
    assert "acme/web" in done.stdout


def test_all_streams_closed_do_not_hurt_the_run(scene: Scene) -> None:
    done = _shell(scene, _loud(scene), 'exec "$@" exec release <&- >&- 2>&-')
    assert done.returncode == 0
    _all_succeeded(scene)


def test_a_full_disk_behind_the_output_does_not_hurt_the_run(scene: Scene) -> None:
    done = _shell(scene, _loud(scene), 'exec "$@" exec release 2>/dev/full')
    assert done.returncode == 0, done.stderr
    _all_succeeded(scene)


def test_a_result_that_cannot_be_written_is_exit_code_4_and_not_lost(scene: Scene) -> None:
    done = _shell(scene, _loud(scene), 'exec "$@" exec release --output json >/dev/full')
    assert done.returncode == 4
    assert "the result cannot be written to stdout: No space left on device" in done.stderr
    _all_succeeded(scene)


def test_a_version_that_nobody_hears_is_no_traceback(scene: Scene) -> None:
    done = _shell(scene, scene.directory, 'exec "$@" version >&-')
    assert (done.returncode, done.stderr) == (0, "")


@contextmanager
def _pipe_whose_reader_leaves() -> Iterator[int]:
    """Give the write end of a pipe without a reader."""
    read, write = os.pipe()
    os.close(read)
    try:
        yield write
    finally:
        os.close(write)


def test_a_reader_that_has_left_does_not_hurt_the_run(scene: Scene) -> None:
    checkout = _loud(scene)
    with _pipe_whose_reader_leaves() as nobody:
        done = subprocess.run(
            [*command(), "exec", "release"],
            cwd=checkout,
            env=dict(scene.tako.environment),
            stdin=subprocess.DEVNULL,
            stdout=nobody,
            stderr=nobody,
            timeout=GENEROUS_S,
            check=False,
        )
    _all_succeeded(scene)
    assert done.returncode in {0, 1}


def test_a_reader_that_leaves_in_the_middle_of_a_full_pipe_does_not_hurt_the_run(scene: Scene) -> None:
    """The pipe is full when its reader goes: tako hangs in a write, which then fails."""
    checkout = _loud(scene)
    read, write = os.pipe()
    process = subprocess.Popen(
        [*command(), "exec", "release"],
        cwd=checkout,
        env=dict(scene.tako.environment),
        stdin=subprocess.DEVNULL,
        stdout=write,
        stderr=write,
    )
    os.close(write)
    with process:
        assert os.read(read, 1)
        os.close(read)
        process.wait(GENEROUS_S)
    _all_succeeded(scene)


def test_a_pager_that_is_left_early_ends_a_listing_quietly(scene: Scene) -> None:
    checkout = _loud(scene)
    assert scene.tako("exec", "release", "-q", cwd=checkout).code == 0
    done = _shell(scene, checkout, '"$@" logs "" step-1 | head -n 1')
    assert done.stdout == "1\n"
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_steps_do_not_see_what_tako_reads_from(scene: Scene) -> None:
    scene.subscriber("acme/web", "cat")
    checkout = scene.library("cat", FAN_OUT)
    done = _shell(scene, checkout, 'echo secret | "$@" exec release; cat')
    assert done.returncode == 0, done.stderr
    assert scene.tako("logs", "", "step-1").stdout == ""
