"""What cannot be used (home, cache, run, limit) is exit code 4: where, and the command that mends it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from tako.system.storage.removal import remove_tree
from tests.support.runner import Finished, command, run_program
from tests.support.scenes import FAN_OUT, Scene, children
from tests.support.strace import needs_strace, traced
from tests.support.users import NOBODY, tako_as_ordinary_user

_CONFIG = """
version: 0.1.0
workflows:
  good: {steps: [{id: one, run: echo hi}]}
  bad: {steps: [{id: one, run: 'false'}]}
"""


@frozen
class World:
    """A home of an ordinary user's, with a run that failed, and one more that is let alone."""

    directory: Path
    run: str

    @property
    def home(self) -> Path:
        """`TAKO_HOME`."""
        return self.directory / ".tako"

    def tako(self, *words: str) -> Finished:
        """Run a command, RUN standing for the run that failed."""
        return tako_as_ordinary_user(self.directory, *(self.run if word == "RUN" else word for word in words))


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    """Give it, below a directory that everybody may pass, with a copy of its home beside it."""
    directory = Path(tempfile.mkdtemp(prefix="u", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
    try:
        (directory / "tako.yml").write_text(_CONFIG)
        if os.geteuid() == 0:
            os.chown(directory, NOBODY, NOBODY)
        assert tako_as_ordinary_user(directory, "exec", "good").code == 0
        assert tako_as_ordinary_user(directory, "exec", "bad").code == 1
        world = World(directory, tako_as_ordinary_user(directory, "runs").stdout.split()[1])
        (world.home / "config.yml").write_text("jobs: 1\n")
        (world.home / "cache").mkdir()
        world.home.rename(directory / "saved")
        yield world
    finally:
        remove_tree(directory)


@pytest.fixture
def world(made: World) -> Iterator[World]:
    """Give it as it was made."""
    shutil.copytree(made.directory / "saved", made.home, symlinks=True)
    for path in (made.home, *made.home.rglob("*")):
        os.chown(path, made.directory.stat().st_uid, -1)
    yield made
    remove_tree(made.home)


_COMMANDS = (
    ("runs",), ("status",), ("status", "RUN"), ("logs", "RUN"), ("exec", "good"), ("exec", "--resume", "RUN"),
    ("exec", "--resume", "RUN", "--explain"), ("reap",), ("workspace", "clean", "--all", "--yes"),
    ("shell", "RUN", "--", "true"), ("cache", "list"), ("cache", "verify"),
)  # fmt: skip
#: Of each place, in a home: the commands that need it.
_NEEDED = {
    ".": _COMMANDS,
    "config.yml": _COMMANDS,
    "workspaces": _COMMANDS[:10],
    "index/unsettled": (("exec", "good"), ("exec", "--resume", "RUN")),
    "cache": _COMMANDS[10:],
    "workspaces/RUN": (("status", "RUN"), ("logs", "RUN"), ("exec", "--resume", "RUN"), ("status",)),
    "workspaces/RUN/journal.jsonl": (("status", "RUN"), ("logs", "RUN"), ("exec", "--resume", "RUN")),
    "workspaces/RUN/lock": (("status", "RUN"), ("exec", "--resume", "RUN"), ("shell", "RUN", "--", "true")),
    "workspaces/RUN/logs": (("logs", "RUN"), ("exec", "--resume", "RUN")),
}


@pytest.mark.parametrize("whose", ["mode", "owner"])
@pytest.mark.parametrize("place", _NEEDED)
def test_what_is_closed_is_exit_code_4_and_told_with_what_mends_it(
    world: World, place: str, whose: str
) -> None:
    path = world.home / place.replace("RUN", world.run)
    if whose == "owner":
        if os.geteuid() != 0:
            pytest.skip("only root gives files away")
        os.chown(path, NOBODY - 1, -1)
        path.chmod(0o700)
        mends = f"sudo chown -R {NOBODY} {path}"
    else:
        path.chmod(0)
        mends = f"chmod u+{'rwx' if path.is_dir() else 'rw'} {path}"
    for words in _NEEDED[place]:
        done = world.tako(*words)
        assert done.code == 4, (words, done.stderr)
        assert mends in done.stderr, (words, done.stderr)
        assert "bug" not in done.stderr


@pytest.mark.parametrize("place", ["", "journal.jsonl"])
def test_runs_lists_the_others_beside_a_run_that_is_closed(world: World, place: str) -> None:
    (world.home / "workspaces" / world.run / place).chmod(0)
    done = world.tako("runs")
    assert done.code == 0, done.stderr
    closed, other = done.stdout.splitlines()
    assert "Permission denied; make it usable for yourself: chmod u+rw" in closed
    assert "good" in other
    assert world.tako("status", other.split()[1][-8:]).code == 0


def test_a_run_that_is_closed_keeps_no_other_from_being_reaped_or_cleaned(world: World) -> None:
    (world.home / "workspaces" / world.run).chmod(0)
    assert world.tako("exec", "good", "--keep").code == 0
    for words in (("reap",), ("workspace", "clean", "--all", "--yes")):
        done = world.tako(*words)
        assert done.code == 1
        assert f"chmod u+rwx {world.home / 'workspaces' / world.run}" in done.stderr
    assert "all were asked for" in done.stdout


@pytest.mark.parametrize("what", ["/dev/null", "/etc/passwd", "/etc/passwd/below"])
@pytest.mark.parametrize("words", [("exec", "release"), ("exec", "release", "--repo", "acme/app")])
def test_a_cache_that_is_no_directory_is_wrong_use(scene: Scene, words: tuple[str, ...], what: str) -> None:
    checkout = scene.library("true", FAN_OUT)
    done = scene.tako(*words, "--cache-dir", what, cwd=checkout)
    assert done.code == 2, done.stderr
    assert f"--cache-dir {what}" in done.stderr
    assert scene.runs() == []
    listed = scene.tako("cache", "--cache-dir", what, "list")
    assert (listed.code, f"--cache-dir {what}" in listed.stderr) == (2, True)


def test_a_path_that_is_no_text_can_be_fetched_from(scene: Scene) -> None:
    source = scene.git_repo("acme/app", {"tako.yml": "version: 0.1.0\n"})
    odd = scene.directory / os.fsdecode(b"r\xff")
    shutil.copytree(source, odd)
    done = _executed(scene, "cache", "add", "acme/app", "--from", str(odd))
    assert done.code == 0, done.stderr
    assert "r%FF" in scene.tako("cache", "list").stdout


@pytest.mark.parametrize(
    "words",
    [
        ("cache", "add", "acme/app", "--from", "https://host/\udcff"),
        ("cache", "add", "\udcff/app"),
        ("exec", "release", "--repo", "\udcff/app"),
        ("shell", "\udcff", "--", "true"),
        ("exec", "--resume", "\udcff"),
    ],
)
def test_arguments_that_are_no_text_are_exit_code_2(scene: Scene, words: tuple[str, ...]) -> None:
    checkout = scene.library("true")
    done = _executed(scene, *words, cwd=checkout)
    assert done.code == 2, done.stderr
    assert "Traceback" not in done.stderr


def _executed(scene: Scene, *words: str, cwd: Path | None = None) -> Finished:
    return run_program([*command(), *words], scene.tako.environment, cwd or scene.directory)


@pytest.mark.parametrize(("limit", "code"), [(8, 4), (40, 4), (64, 0)])
def test_few_open_files_are_enough_or_named(scene: Scene, limit: int, code: int) -> None:
    scene.settings("isolation: process\n")
    for number in range(4):
        scene.subscriber(f"acme/app{number}", "true")
    checkout = scene.library("true", FAN_OUT)
    limited = ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *command()]
    done = run_program([*limited, "exec", "release", "--jobs", "8"], scene.tako.environment, checkout)
    assert done.code == code, done.stderr
    if code:
        assert f"no more than {limit} files" in done.stderr
        assert scene.runs() == []
    else:
        assert "jobs 2 instead of 8: no more than 64 files may be open" in done.stderr
        assert len(children(scene.status())) == 4


@pytest.mark.parametrize("quiet", [(), ("-q",)])
@pytest.mark.parametrize("moved", ["home", "run"])
def test_a_directory_that_was_moved_away_during_a_run_is_named(
    scene: Scene, moved: str, quiet: tuple[str, ...]
) -> None:
    home, aside = scene.tako.home, scene.directory / "aside"
    away = '"$TAKO_HOME"/workspaces/"$TAKO_ROOT_RUN_ID"' if moved == "run" else '"$TAKO_HOME"'
    checkout = scene.library(f"mv {away} {aside}", "echo two")
    done = scene.tako("exec", "release", *quiet, cwd=checkout, env={"TAKO_HOME": str(home)})
    assert done.code == 4, done.stderr
    assert f"{home if moved == 'home' else home / 'workspaces'}" in done.stderr
    assert "vanished while run exec-" in done.stderr
    assert "move it back, then: tako exec --resume exec-" in done.stderr
    assert "bug" not in done.stderr
    assert aside.is_dir()


@needs_strace
@pytest.mark.parametrize("fault", ["error=ENOLCK", "retval=0"])
def test_without_working_locks_nothing_is_executed(scene: Scene, fault: str) -> None:
    checkout = scene.library("touch ran")
    options = ["-o", os.devnull, "-e", "trace=flock", "-e", f"inject=flock:{fault}"]
    done = traced(scene.tako, "exec", "release", options=options, cwd=checkout)
    assert done.code == 4, done.stderr
    assert "locks" in done.stderr
    assert not (checkout / "ran").exists()
