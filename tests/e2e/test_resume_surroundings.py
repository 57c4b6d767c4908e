"""`tako exec --resume` where the machine, the user or another tako is in its way."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.isolations import isolation, need
from tests.support.resumes import killed, resume, said
from tests.support.run_processes import forkserver_of, kill_whole, root_of, survivors, whole_tree
from tests.support.runner import GENEROUS_S, Finished, command, cron_environment, run_program
from tests.support.scenes import FAN_OUT, Mailbox, Scene, children, fan_out, records
from tests.support.users import NOBODY, UNSHARE_MOUNTS, can_mount

_HOUR_S = 3600.0


def _cut_off_in_a_child(scene: Scene, mail: Mailbox) -> Path:
    """A child whose second step ends once the file is there that this gives; kept is what the first did."""
    go = scene.directory / "go"
    scene.subscriber(
        "acme/app", f"echo one >{mail.path}", f"echo two >{mail.path}; [ -e {go} ] || exec sleep 600"
    )
    return go


# --- isolation levels ---


@pytest.mark.parametrize("level", ["landlock", "namespace"])
def test_after_all_of_tako_was_killed_at_once_a_sandboxed_step_goes_on(scene: Scene, level: str) -> None:
    """In a pid namespace nothing lives on, although nobody was left to end it."""
    need(level)
    first = "touch marker\nsetsid sh -c 'echo begun; exec sleep 600' &\nexec sleep 600"
    scene.subscriber("acme/app", "echo one >>log", f"if [ -e marker ]; then cat log; exit; fi\n{first}")
    checkout = scene.library(FAN_OUT)
    with scene.tako.started("exec", "release", "--isolation", level, cwd=checkout) as process:
        assert process.stderr is not None
        assert any("begun" in line for line in process.stderr)
        [run] = scene.runs()
        tree = whole_tree(process.pid)
        left = kill_whole(process.pid, run.name)
        if level == "namespace" or isolation(level).own_processes:
            assert survivors(tree, time.monotonic()) == []
    ended = resume(scene, "--output", "json")
    assert ended.code == 0, ended.stderr
    assert survivors(tree | left, 0.0) == []
    app = children(ended.json)["acme/app"]
    assert (app["isolation"], [step["attempts"] for step in app["steps"]]) == (level, [1, 2])
    assert scene.tako("logs", app["run_id"], "step-2").stdout.endswith("one\n")


# --- other takos, users, names ---


def test_a_second_resume_beside_the_first_is_refused_with_who(scene: Scene) -> None:
    mail, go = scene.mailbox(), scene.mailbox("go")
    fails = f"[ -e once ] || {{ touch once; exit 1; }}\necho again >{mail.path}; read line <{go.path}"
    checkout = scene.library(fails)
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    [run] = scene.runs()
    with scene.tako.started("exec", "--resume", run.name) as process:
        assert mail.line() == "again"
        refused = resume(scene)
        assert refused.code == 5
        assert f"process {root_of(process.pid).pid}" in refused.stderr
        go.path.write_text("go\n")
        assert process.wait(GENEROUS_S) == 0
    assert mail.is_empty()


def test_a_name_that_is_no_run_is_refused(scene: Scene) -> None:
    assert scene.tako("exec", "release", cwd=scene.library("exit 1")).code == 1
    before = scene.runs()
    for name in ("../x", "/etc", "x" * 5000, f"{before[0].name}\n", "\x1b[2J"):
        refused = scene.tako("exec", "--resume", name)
        assert (refused.code, refused.stdout) == (2, "")
        assert f"there is no run {name!r}" in refused.stderr
    assert scene.runs() == before


def test_a_child_names_the_run_that_it_is_of(scene: Scene) -> None:
    fixed = scene.directory / "fixed"
    scene.settings("isolation: process\n")
    scene.subscriber("acme/app", f"[ -e {fixed} ]")
    assert scene.tako("exec", "release", cwd=scene.library(FAN_OUT)).code == 1
    fixed.touch()
    child = children(scene.status())["acme/app"]["run_id"]
    assert scene.tako("exec", "--resume", child[-8:]).code == 0
    assert scene.status()["status"] == "succeeded"


def test_an_answer_without_a_resume_is_refused(scene: Scene) -> None:
    refused = scene.tako("exec", "release", "--rerun", "no", cwd=scene.library("true"))
    assert (refused.code, "--rerun needs --resume" in refused.stderr) == (2, True)
    assert scene.runs() == []


@pytest.mark.parametrize("more", [(), ("release",), ("--explain",)])
def test_an_empty_name_begins_no_new_run(scene: Scene, more: tuple[str, ...]) -> None:
    """As of a script whose variable is not set."""
    checkout = scene.library("true")
    refused = scene.tako("exec", "--resume", "", *more, cwd=checkout)
    assert (refused.code, "--resume needs the id of a run" in refused.stderr) == (2, True)
    assert scene.runs() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes directories of others")
def test_the_run_of_another_user_is_refused(scene: Scene) -> None:
    checkout = scene.library("exit 1")
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    [run] = scene.runs()
    before = (run / "journal.jsonl").read_bytes()
    os.chown(scene.tako.home, NOBODY, NOBODY)
    for more in ((), ("--explain",)):
        refused = resume(scene, *more)
        assert (refused.code, "belongs to user" in refused.stderr) == (4, True)
    assert (run / "journal.jsonl").read_bytes() == before


def test_a_private_directory_that_somebody_cleaned_up_costs_a_resume(scene: Scene) -> None:
    mail, go = scene.mailbox(), scene.mailbox("go")
    scene.subscriber("acme/app", f"echo app >{mail.path}")
    checkout = scene.library(f"echo first >{mail.path}; read -r _ <{go.path}", FAN_OUT)
    with scene.tako.started("exec", "release", cwd=checkout) as process:
        assert mail.line() == "first"
        [run] = scene.runs()
        private = Path(records(run)[0]["temporary"]).parent
        assert private.name.startswith("tako-")
        forkserver_of(process.pid)
        shutil.rmtree(private)
        go.path.write_text("go\n")
        _, stderr = process.communicate(timeout=GENEROUS_S)
    assert (process.returncode, "Traceback" in stderr) == (4, False), stderr
    assert f"{private}/" in stderr
    ended = resume(scene)
    assert ended.code == 0, ended.stderr
    assert said(mail) == ["app"]


def test_a_run_is_taken_up_from_crons_environment(scene: Scene) -> None:
    mail = scene.mailbox()
    go = _cut_off_in_a_child(scene, mail)
    checkout = scene.library(FAN_OUT, f"echo after >{mail.path}")
    killed(scene, checkout, mail, lines=2)
    go.touch()
    [run] = scene.runs()
    environment = cron_environment(scene.tako)
    scene.tako.home.rename(Path(environment["HOME"]) / ".tako")
    done = run_program([*command(), "exec", "--resume", run.name], environment, Path("/"))
    assert done.code == 0, done.stderr
    assert said(mail) == ["two", "after"]


def test_failed_only_leaves_out_what_was_cut_off_and_what_had_not_begun(scene: Scene) -> None:
    mail = scene.mailbox()
    go = scene.directory / "go"
    scene.subscriber("acme/a-fails", f"echo failing >{mail.path}; [ -e {go} ]")
    scene.subscriber("acme/b-runs", f"echo running >{mail.path}; [ -e {go} ] || exec sleep 600")
    scene.subscriber("acme/c-late", f"echo late >{mail.path}")
    checkout = scene.library(FAN_OUT)
    assert killed(scene, checkout, mail, "--jobs", "1", lines=2) == ["failing", "running"]
    go.touch()
    assert resume(scene, "--failed-only").code == 1
    assert said(mail) == ["failing"]
    found = {name: child["status"] for name, child in children(scene.status()).items()}
    assert found["acme/a-fails"] == "succeeded"
    assert "succeeded" not in (found["acme/b-runs"], found["acme/c-late"])
    assert resume(scene).code == 0
    assert sorted(said(mail)) == ["late", "running"]


# --- a full disk ---


@pytest.mark.skipif(not can_mount(), reason="no mount namespaces for this user here")
def test_a_resume_on_a_full_disk_says_so_and_one_with_room_goes_on(scene: Scene) -> None:
    mail, begun = scene.mailbox(), scene.mailbox("begun")
    go = scene.directory / "go"
    waits = f"echo two >{mail.path}; if [ ! -e {go} ]; then echo >{begun.path}; exec sleep 600; fi"
    scene.subscriber("acme/app", f"echo one >{mail.path}", waits)
    checkout = scene.library(FAN_OUT, f"echo after >{mail.path}")
    home, seed, full = scene.tako.home, scene.directory / "seed", scene.directory / "full"
    tako = shlex.join(command())
    lines = [
        f"cp -r {home} {seed}; mount -t tmpfs -o size=8m tmpfs {home}; cp -r {seed}/. {home}",
        f"cd {checkout}; {tako} exec release 2>/dev/null & warden=$!",
        f"read line <{begun.path}",
        "kill -KILL $(cat /proc/$warden/task/$warden/children); wait $warden || true",
        f"touch {go}; run=$(ls {home}/workspaces)",
        f"dd if=/dev/zero of={home}/ballast 2>/dev/null || true",
        f"code=0; {tako} exec --resume $run >{full} 2>&1 || code=$?",
        f"[ $code = 4 ]; {tako} status --output json >{full}.json; rm {home}/ballast",
        f"{tako} exec --resume $run --output json",
    ]
    done = scene.unshared(UNSHARE_MOUNTS, *lines)
    assert done.code == 0, (done.stderr, full.read_text())
    assert f"tako: no space left while writing {home}" in full.read_text()
    assert "Traceback" not in full.read_text()
    before, after = json.loads(Path(f"{full}.json").read_text()), json.loads(done.stdout)
    assert before["exit_code"] == 4
    for result in (before, after):
        assert children(result)["acme/app"]["steps"][0]["attempts"] == 1
    assert said(mail) == ["one", "two", "two", "after"]


# --- a clock that is set ---

#: Stands on PYTHONPATH, where Python looks for it at each start: what tako takes for the time is off by what
#: a file says. Setting the machine's clock would need root, and hurt everybody else's tests.
_CLOCK = """
import time

_time = time.time

def shifted():
    with open({file!r}) as file:
        return _time() + float(file.read() or 0)

time.time = shifted
"""


def _clock(scene: Scene) -> tuple[dict[str, str], Path]:
    """Give the environment in which the time is off by what a file says, and that file."""
    modules, file = scene.directory / "modules", scene.directory / "offset"
    modules.mkdir()
    file.write_text("0")
    (modules / "sitecustomize.py").write_text(_CLOCK.format(file=str(file)))
    paths = [str(modules), *filter(None, [scene.tako.environment.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}, file


def _durations(value: Any) -> Iterator[float]:  # noqa: ANN401 - JSON
    """Give every `duration_s` in a result."""
    if isinstance(value, dict):
        if value.get("duration_s") is not None:
            yield value["duration_s"]
        value = list(value.values())
    for one in value if isinstance(value, list) else ():
        yield from _durations(one)


def test_a_clock_that_is_set_back_between_break_and_resume_harms_nothing(scene: Scene) -> None:
    environment, file = _clock(scene)
    mail = scene.mailbox()
    go = _cut_off_in_a_child(scene, mail)
    checkout = scene.library(FAN_OUT, f"echo after >{mail.path}", timeout="30m")
    with scene.tako.started("exec", "release", cwd=checkout, env=environment) as process:
        assert mail.lines(2) == ["one", "two"]
        root_of(process.pid).kill()
        assert process.wait(GENEROUS_S) == 4
    file.write_text(str(-_HOUR_S))
    go.touch()
    [run] = scene.runs()
    assert scene.tako("status", env=environment).code == 0
    ended = scene.tako("exec", "--resume", run.name, "--output", "json", env=environment)
    assert ended.code == 0, ended.stderr
    assert said(mail) == ["two", "after"]
    times = _times_make_sense(scene, ended, environment)
    assert times[-1] < times[0] - _HOUR_S / 2, "the clock was not set back"


def test_a_clock_that_is_set_back_during_a_run_harms_nothing(scene: Scene) -> None:
    environment, file = _clock(scene)
    scene.settings("isolation: process\n")
    scene.subscriber("acme/app", f"echo {-_HOUR_S} >{file}.new; mv {file}.new {file}", "true", timeout="30m")
    checkout = scene.library("true", fan_out(timeout="30m"), "true", timeout="30m")
    ended = scene.tako("exec", "release", "--output", "json", cwd=checkout, env=environment)
    assert ended.code == 0, ended.stderr
    assert file.read_text() == str(-_HOUR_S) + "\n"
    times = _times_make_sense(scene, ended, environment)
    # The time of day is read once: what was recorded later stands later.
    assert times == sorted(times)


def _times_make_sense(scene: Scene, ended: Finished, environment: dict[str, str]) -> list[float]:
    """Look at all that tells times; gives those of the root run's records."""
    [run] = scene.runs()
    durations = list(_durations(ended.json))
    assert len(durations) >= 6
    assert [found for found in durations if not 0 <= found < _HOUR_S / 2] == []
    [listed] = scene.tako("runs", "--output", "json", env=environment).json
    assert listed["status"] == "succeeded"
    assert not re.search(r"\s-\d", scene.tako("status", env=environment).stdout)
    return [record["at"] for record in records(run)]
