"""`tako exec --resume`: what is kept, what runs again, what is refused."""

from __future__ import annotations

import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tako.journal.log import Writer
from tako.layout.home import Home
from tako.recovery.index import note_opened
from tako.system import crash_points
from tests.support.dead_runs import run_id, write_one
from tests.support.git import commit, git
from tests.support.resumes import killed as _killed
from tests.support.resumes import of_another_boot, rewritten
from tests.support.resumes import resume as _resume
from tests.support.resumes import said as _said
from tests.support.run_processes import kill, parent_of, root_of
from tests.support.runner import GENEROUS_S, command
from tests.support.scenes import (
    FAN_OUT,
    Mailbox,
    Scene,
    children,
    fan_out,
    kinds,
    records,
    subscription,
    tako_yml,
    workflow,
)
from tests.support.users import UNSHARE_MOUNTS, can_mount

pytestmark = pytest.mark.forked
_measured = partial(pytest.param, marks=pytest.mark.measured)

#: Ends well only where the file `fixed` of the library's directory is.
_UNTIL_FIXED = "echo ran >{mail}; [ -e {fixed} ]"


def _failing(scene: Scene, mail: Mailbox) -> tuple[Path, Path]:
    """A library with one child that succeeds and one that fails until a file is there; gives both."""
    fixed = scene.directory / "fixed"
    scene.subscriber("acme/app", _UNTIL_FIXED.format(mail=mail.path, fixed=fixed))
    scene.subscriber("acme/well", f"echo well >{mail.path}")
    return scene.library("true", FAN_OUT, f"echo after >{mail.path}"), fixed


def test_only_what_failed_runs_again_and_the_run_goes_on_after_it(scene: Scene) -> None:
    mail = scene.mailbox()
    checkout, fixed = _failing(scene, mail)
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    assert sorted(_said(mail)) == ["ran", "well"]
    fixed.touch()
    ended = _resume(scene)
    assert ended.code == 0, ended.stderr
    assert _said(mail) == ["ran", "after"]
    result = scene.status()
    assert (result["status"], result["attempts"], result["exit_code"]) == ("succeeded", 2, 0)
    app = children(result)["acme/app"]
    assert (app["status"], app["attempts"], app["steps"][0]["attempts"]) == ("succeeded", 2, 2)
    assert [attempt["message"] for attempt in app["steps"][0]["earlier"]] == ["exit code 1"]
    assert children(result)["acme/well"]["attempts"] == 1


def test_a_resume_that_fails_again_can_be_taken_up_again(scene: Scene) -> None:
    mail = scene.mailbox()
    checkout, fixed = _failing(scene, mail)
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    again = _resume(scene)
    assert again.code == 1
    assert "attempt 1 failed: exit code 1" in again.stderr
    fixed.touch()
    assert _resume(scene).code == 0


def test_a_resume_reaps_others_and_removes_what_they_keep_but_nothing_of_its_own(scene: Scene) -> None:
    scene.settings("isolation: process\nkeep_workspaces: {runs: 0}\n")
    fixed = scene.directory / "fixed"
    scene.subscriber("acme/app", "echo one >>log", f"cat log; [ -e {fixed} ]")
    checkout = scene.library(FAN_OUT)
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    [own] = scene.runs()
    home = Home(scene.tako.home)
    note_opened(home, run_id(1))
    other = write_one(home, 1)
    other.work.mkdir()
    fixed.touch()
    ended = scene.tako("exec", "--resume", own.name)
    assert ended.code == 0, ended.stderr
    assert f"reaped {other.run_id}" in ended.stderr
    assert f"removed the workspaces of {other.run_id}" in ended.stderr
    assert not other.work.exists()
    assert [step["attempts"] for step in children(scene.status(own.name))["acme/app"]["steps"]] == [1, 2]


def test_a_run_that_succeeded_has_nothing_left_to_do(scene: Scene) -> None:
    checkout = scene.library("true")
    assert scene.tako("exec", "release", cwd=checkout).code == 0
    [run] = scene.runs()
    before = (run / "journal.jsonl").read_bytes()
    ended = _resume(scene)
    assert (ended.code, "nothing left to do" in ended.stderr) == (0, True)
    assert (run / "journal.jsonl").read_bytes() == before
    assert _resume(scene, "--output", "json").json["status"] == "succeeded"


def test_what_was_interrupted_goes_on_after_its_last_step(scene: Scene) -> None:
    mail = scene.mailbox()
    go = scene.directory / "go"
    scene.subscriber("acme/app", "echo one >>log", f"cat log >{mail.path}; [ -e {go} ] || sleep 600")
    checkout = scene.library(FAN_OUT)
    assert _killed(scene, checkout, mail) == ["one"]
    go.touch()
    ended = _resume(scene, "--output", "json")
    assert ended.code == 0, ended.stderr
    assert _said(mail) == ["one"]
    app = children(ended.json)["acme/app"]
    assert [step["status"] for step in app["steps"]] == ["succeeded", "succeeded"]
    assert app["steps"][0]["attempts"] == 1


def test_the_isolation_level_is_that_of_the_beginning(scene: Scene) -> None:
    fixed = scene.directory / "fixed"
    scene.settings("jobs: 1\n")
    scene.subscriber("acme/app", "true", f"[ -e {fixed} ]")
    checkout = scene.library(FAN_OUT)
    assert scene.tako("exec", "release", "--isolation", "process", cwd=checkout).code == 1
    fixed.touch()
    ended = _resume(scene)
    assert ended.code == 0, ended.stderr
    app = children(scene.status())["acme/app"]
    assert (app["isolation"], [step["attempts"] for step in app["steps"]]) == ("process", [1, 2])


def test_a_run_that_failed_says_how_to_go_on(scene: Scene) -> None:
    checkout = scene.library("exit 3")
    failed = scene.tako("exec", "release", cwd=checkout)
    how = f"tako exec --resume {scene.runs()[0].name}"
    assert how in failed.stderr
    assert how in scene.tako("status").stdout
    assert how not in scene.tako("exec", "release", "--quiet", cwd=checkout).stderr


def test_a_run_stopped_by_a_signal_can_be_taken_up(scene: Scene) -> None:
    mail = scene.mailbox()
    go = scene.directory / "go"
    scene.subscriber("acme/app", f"echo begun >{mail.path}; [ -e {go} ] || exec sleep 600")
    checkout = scene.library(FAN_OUT)
    with scene.tako.started("exec", "release", cwd=checkout) as process:
        mail.line()
        process.send_signal(signal.SIGINT)
        assert process.wait(GENEROUS_S) == 130
    go.touch()
    assert _resume(scene).code == 0
    assert scene.status()["exit_code"] == 0


def test_the_event_inputs_and_commits_are_those_of_the_beginning(scene: Scene) -> None:
    mail = scene.mailbox()
    fixed = scene.directory / "fixed"
    subscriber = scene.subscriber(
        "acme/app",
        f'echo "old $(cat file) {{{{ .inputs.version }}}}" >{mail.path}; [ -e {fixed} ]',
        files={"file": "content"},
        inputs={"version": {"type": "string"}},
        subscribed={"inputs": {"version": "{{ .event.payload.version }}"}},
    )
    checkout = scene.library(FAN_OUT)
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    (subscriber / "file").write_text("changed")
    (subscriber / "tako.yml").write_text("broken")
    fixed.touch()
    assert _resume(scene).code == 0
    assert _said(mail) == ["old content 1.2.3", "old content 1.2.3"]


def test_a_child_that_could_not_be_planned_is_planned_with_what_is_there_now(scene: Scene) -> None:
    subscriber = scene.subscriber("acme/app", "true", inputs={"wanted": {"type": "string", "required": True}})
    checkout = scene.library(FAN_OUT)
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    text = (subscriber / "tako.yml").read_text()
    (subscriber / "tako.yml").write_text(text.replace('"required": true', '"default": "x"'))
    ended = _resume(scene)
    assert ended.code == 0, ended.stderr
    assert children(scene.status())["acme/app"]["status"] == "succeeded"


@pytest.mark.measured
def test_children_nobody_waited_for_are_taken_up_too(scene: Scene) -> None:
    mail = scene.mailbox()
    fixed = scene.directory / "fixed"
    scene.subscriber("acme/app", _UNTIL_FIXED.format(mail=mail.path, fixed=fixed))
    checkout = scene.library(fan_out(wait_for_children=False), "true")
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    fixed.touch()
    assert _resume(scene).code == 0
    assert _said(mail) == ["ran", "ran"]
    assert scene.status()["exit_code"] == 0


# --- choices ---


@pytest.mark.measured
def test_failed_only_leaves_out_what_had_not_begun(scene: Scene) -> None:
    mail = scene.mailbox()
    _, fixed = _failing(scene, mail)
    checkout = scene.git_repo(
        "fast/lib",
        {
            "tako.yml": tako_yml(
                {
                    "release": workflow(
                        fan_out(on_child_failure="fail_fast"), f"echo after >{mail.path}", on="exec"
                    )
                }
            )
        },
        origin="https://example.invalid/acme/lib.git",
    )
    assert scene.tako("exec", "release", "--jobs", "1", cwd=checkout).code == 1
    assert children(scene.status())["acme/well"]["status"] == "cancelled"
    fixed.touch()
    assert _resume(scene, "--failed-only").code == 1
    found = children(scene.status())
    assert (found["acme/app"]["status"], found["acme/well"]["status"]) == ("succeeded", "cancelled")
    assert _resume(scene).code == 0
    assert _said(mail) == ["ran", "ran", "well", "after"]


def test_explain_says_what_would_happen_and_changes_nothing(scene: Scene) -> None:
    mail = scene.mailbox()
    checkout, _ = _failing(scene, mail)
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    _said(mail)
    before = {path: path.read_bytes() for path in scene.tako.home.rglob("journal.jsonl")}
    told = _resume(scene, "--explain")
    assert told.code == 0, told.stderr
    lines = told.stdout.splitlines()
    assert "= step-1  kept: it succeeded" in told.stdout
    assert "↻ dependents  runs again: 1 of 2 children did not succeed" in told.stdout
    assert "kept: it succeeded" in next(line for line in lines if "acme/well" in line)
    assert "runs again: it failed" in next(line for line in lines if "acme/app" in line)
    assert "▶ step-3  runs: it had not begun" in told.stdout
    assert len(lines) == 7
    assert {path: path.read_bytes() for path in scene.tako.home.rglob("journal.jsonl")} == before
    assert mail.is_empty()
    found = _resume(scene, "--explain", "--output", "json").json
    assert [(one["step"], one["verdict"]) for one in found if one["depth"] == 0] == [
        ("step-1", "kept"),
        ("dependents", "runs again"),
        ("step-3", "runs"),
    ]


@pytest.mark.measured
def test_a_checkout_that_changed_is_told_and_has_to_be_accepted(scene: Scene) -> None:
    mail = scene.mailbox()
    checkout, fixed = _failing(scene, mail)
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    commit(checkout, {"more": "x"})
    fixed.touch()
    refused = _resume(scene)
    assert refused.code == 2
    assert "HEAD is" in refused.stderr
    assert "--accept-changes" in refused.stderr
    assert _resume(scene, "--accept-changes").code == 0
    assert records(scene.runs()[0])[-1]["kind"] == "RunSettled"


def test_tracked_files_that_changed_have_to_be_accepted(scene: Scene) -> None:
    mail = scene.mailbox()
    checkout = scene.library(f"cat file >{mail.path}; [ $(cat file) = good ]", files={"file": "bad\n"})
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    (checkout / "untracked").write_text("is no change")
    (checkout / "file").write_text("good\n")
    for options in ((), ("--explain",)):
        refused = _resume(scene, *options)
        assert refused.code == 2
        assert "is not as the run left it: its tracked files have changed\n" in refused.stderr
        assert "--accept-changes" in refused.stderr
    assert _resume(scene, "--accept-changes").code == 0
    assert _said(mail) == ["bad", "good"]


def test_what_the_runs_own_steps_changed_is_no_change(scene: Scene) -> None:
    mail = scene.mailbox()
    fixed = scene.directory / "fixed"
    scene.subscriber("acme/app", _UNTIL_FIXED.format(mail=mail.path, fixed=fixed))
    checkout = scene.library("echo 2 > VERSION; git add VERSION", FAN_OUT, files={"VERSION": "1\n"})
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    fixed.touch()
    assert _resume(scene).code == 0
    assert git(checkout, "status", "--porcelain") == "M  VERSION"


def test_a_workflow_that_was_mended_is_gone_on_with_when_it_is_accepted(scene: Scene) -> None:
    checkout = scene.library("true", "exit 3")
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    config = checkout / "tako.yml"
    config.write_text(config.read_text().replace("exit 3", "true"))
    refused = _resume(scene)
    assert (refused.code, "tako.yml has changed" in refused.stderr) == (2, True)
    assert _resume(scene, "--accept-changes").code == 0
    assert [step["attempts"] for step in scene.status()["steps"]] == [1, 2]


@pytest.mark.parametrize(
    "words",
    [("release",), ("--repo", "acme/app"), ("--root", "."), ("--inputs.a=1",)],
)
def test_what_a_run_was_begun_with_cannot_be_given_again(scene: Scene, words: tuple[str, ...]) -> None:
    assert scene.tako("exec", "--resume", "exec-20240101-000000-00000000", *words).code == 2


@pytest.mark.parametrize("option", ["--failed-only", "--explain", "--accept-changes", "--rerun=ask"])
def test_options_of_a_resume_need_one(scene: Scene, option: str) -> None:
    ended = scene.tako("exec", "release", option)
    assert (ended.code, f"{option.partition('=')[0]} needs --resume" in ended.stderr) == (2, True)


def test_a_run_that_does_not_exist_is_told(scene: Scene) -> None:
    scene.tako.home.mkdir(mode=0o700)
    ended = scene.tako("exec", "--resume", "exec-20240101-000000-00000000")
    assert (ended.code, "there is no run" in ended.stderr) == (2, True)


def test_a_run_that_another_process_executes_is_refused_with_who(scene: Scene) -> None:
    mail = scene.mailbox()
    go = scene.mailbox("go")
    checkout = scene.library(f"echo begun >{mail.path}; read line <{go.path}")
    with scene.tako.started("exec", "release", cwd=checkout) as process:
        mail.line()
        refused = _resume(scene)
        assert refused.code == 5
        assert f"process {root_of(process.pid).pid}" in refused.stderr
        go.path.write_text("go\n")
        assert process.wait(GENEROUS_S) == 0


# --- what may not run twice ---


def _interrupted_once(scene: Scene) -> Mailbox:
    """A run killed while a step ran that must not run twice; a second attempt would end at once."""
    mail = scene.mailbox()
    done = scene.directory / "done"
    step = {
        "id": "publish",
        "run": f"echo published >{mail.path}; [ -e {done} ] || exec sleep 600",
        "rerun": "never",
    }
    scene.subscriber("acme/app", step)
    assert _killed(scene, scene.library(FAN_OUT), mail) == ["published"]
    done.touch()
    return mail


def test_without_a_terminal_a_step_that_may_have_taken_effect_refuses_the_resume(scene: Scene) -> None:
    mail = _interrupted_once(scene)
    refused = _resume(scene)
    assert refused.code == 2
    assert "step publish: it was interrupted" in refused.stderr
    assert "--rerun yes" in refused.stderr
    assert mail.is_empty()


def test_it_runs_again_with_leave(scene: Scene) -> None:
    mail = _interrupted_once(scene)
    assert _resume(scene, "--rerun", "yes").code == 0
    assert _said(mail) == ["published"]


def test_without_leave_it_counts_as_failed(scene: Scene) -> None:
    mail = _interrupted_once(scene)
    ended = _resume(scene, "--rerun", "no")
    assert ended.code == 1
    assert "may have taken effect" in ended.stderr
    assert mail.is_empty()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), _measured("n\n", 1)])
def test_on_a_terminal_it_is_asked(scene: Scene, answer: str, code: int) -> None:
    mail = _interrupted_once(scene)
    [run] = scene.runs()
    control, process = _asking(scene, run.name)
    os.write(control, answer.encode())
    _read_all(control)
    assert process.wait(GENEROUS_S) == code
    assert _said(mail) == (["published"] if code == 0 else [])


def _asking(scene: Scene, run: str) -> tuple[int, subprocess.Popen[bytes]]:
    """Start a resume on a terminal; gives its other side, and the process, which waits for the answer."""
    control, terminal = pty.openpty()
    process = subprocess.Popen(
        [*command(), "exec", "--resume", run],
        env=dict(scene.tako.environment),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(control, 4096)
    return control, process


def _read_all(control: int) -> None:
    try:
        while os.read(control, 65536):
            pass
    except OSError:
        # Whoever had the terminal is gone: Linux says EIO instead of end of file (pty(7)).
        os.close(control)


def test_a_worker_that_dies_does_not_run_it_again_either(scene: Scene) -> None:
    mail = scene.mailbox()
    step = {"id": "publish", "run": f"echo $$ >{mail.path}; exec sleep 600", "rerun": "never"}
    scene.subscriber("acme/app", step)
    checkout = scene.library(FAN_OUT)
    with scene.tako.started("exec", "release", cwd=checkout) as process:
        kill(parent_of(mail.line()))
        assert process.wait(GENEROUS_S) == 1
    assert mail.is_empty()
    assert "may have taken effect" in children(scene.status())["acme/app"]["steps"][0]["message"]


# --- what is lost ---


def _broken_off_in_its_second_step(scene: Scene) -> tuple[Mailbox, Path]:
    mail = scene.mailbox()
    go = scene.directory / "go"
    scene.subscriber(
        "acme/app",
        f"echo one >> log; echo one $(wc -l < log) >{mail.path}",
        f"echo two >{mail.path}; [ -e {go} ] || exec sleep 600",
    )
    checkout = scene.library(FAN_OUT)
    with scene.tako.started("exec", "release", cwd=checkout) as process:
        assert mail.lines(2) == ["one 1", "two"]
        kill(root_of(process.pid))
        process.wait(GENEROUS_S)
    go.touch()
    [run] = scene.runs()
    [child] = (run / "children").iterdir()
    return mail, child


@pytest.mark.measured
def test_after_a_reboot_a_child_starts_over_in_a_new_workspace(scene: Scene) -> None:
    mail, child = _broken_off_in_its_second_step(scene)
    for journal in (child / "journal.jsonl", child.parent.parent / "journal.jsonl"):
        rewritten(journal, of_another_boot)
    told = _resume(scene, "--explain").stdout
    assert "the machine was restarted" in told
    assert _resume(scene).code == 0
    assert _said(mail) == ["one 1", "two"]
    assert "WorkspaceRebuilt" in kinds(child)


def test_a_child_whose_workspace_was_removed_starts_over(scene: Scene) -> None:
    mail, child = _broken_off_in_its_second_step(scene)
    subprocess.run(["rm", "-r", str(child / "work")], check=True)
    assert _resume(scene).code == 0
    assert _said(mail) == ["one 1", "two"]


def test_a_child_whose_workspace_is_there_goes_on_in_it(scene: Scene) -> None:
    mail, _ = _broken_off_in_its_second_step(scene)
    assert _resume(scene).code == 0
    assert _said(mail) == ["two"]


def test_a_damaged_journal_of_a_child_fails_that_child_alone(scene: Scene) -> None:
    mail = scene.mailbox()
    checkout, fixed = _failing(scene, mail)
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    fixed.touch()
    child = children(scene.status())["acme/app"]["run_id"]
    journal = scene.runs()[0] / "children" / child / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"RunStarted", b"RunStartet", 1))
    ended = _resume(scene)
    assert ended.code == 1
    assert f"{journal}, line 1" in ended.stderr


@pytest.mark.measured
def test_a_run_out_of_the_cache_is_taken_up_at_its_commit(scene: Scene) -> None:
    mail = scene.mailbox()
    fixed = scene.directory / "fixed"
    script = f"cat file >{mail.path}; [ -e {fixed} ]"
    checkout = scene.subscriber("acme/app", script, on=["exec", "event"], files={"file": "old\n"})
    assert scene.tako("exec", "check", "--repo", "acme/app").code == 1
    (checkout / "file").write_text("new\n")
    fixed.touch()
    assert _resume(scene).code == 0
    assert _said(mail) == ["old", "old"]


def test_secrets_have_to_be_there_again(scene: Scene) -> None:
    scene.settings("isolation: process\n")
    checkout = scene.library({"id": "a", "run": '[ "$TOKEN" = right ]', "secrets": ["TOKEN"]})
    run = ("exec", "release")
    assert scene.tako(*run, cwd=checkout, env={"TOKEN": "wrong-value"}).code == 1
    assert _resume(scene).code == 2
    [made] = scene.runs()
    again = scene.tako("exec", "--resume", made.name, env={"TOKEN": "right"})
    assert again.code == 0, again.stderr


def test_a_journal_that_is_held_by_a_dying_worker_is_waited_for(scene: Scene) -> None:
    mail = scene.mailbox()
    checkout, fixed = _failing(scene, mail)
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    fixed.touch()
    child = scene.runs()[0] / "children" / children(scene.status())["acme/app"]["run_id"]
    with Writer(child / "journal.jsonl"):
        held = _resume(scene)
    assert held.code == 1
    assert "is executing this run" in held.stderr
    assert _resume(scene).code == 0


# --- what others do meanwhile, and what is not there any more ---


def test_a_run_whose_owner_lives_though_nobody_holds_its_lock_is_not_taken_up(scene: Scene) -> None:
    mail, go = scene.mailbox(), scene.mailbox("go")
    checkout = scene.library(f"echo begun >{mail.path}; read line <{go.path}")
    with scene.tako.started("exec", "release", cwd=checkout) as process:
        mail.line()
        copy = scene.directory / "copy"
        shutil.copytree(scene.tako.home, copy, symlinks=True)
        [run] = scene.runs()
        refused = scene.tako("exec", "--resume", run.name, env={"TAKO_HOME": str(copy)})
        assert (refused.code, "lives" in refused.stderr) == (5, True)
        assert mail.is_empty()
        go.path.write_text("go\n")
        assert process.wait(GENEROUS_S) == 0


@pytest.mark.parametrize("is_link", [True, False])
def test_a_lock_that_cannot_be_opened_is_told(scene: Scene, *, is_link: bool) -> None:
    scene.subscriber("acme/app", "false")
    assert scene.tako("exec", "release", cwd=scene.library(FAN_OUT)).code == 1
    [run] = scene.runs()
    lock = run / "lock"
    lock.rename(run / "moved")
    if is_link:
        lock.symlink_to("moved")
    else:
        lock.mkdir()
    resume = ("exec", "--resume", run.name)
    for words in (resume, (*resume, "--explain"), ("shell", run.name, "--", "true")):
        refused = scene.tako(*words)
        assert refused.code == 4, refused.stderr
        assert f"the lock of run {run.name} cannot be opened: {lock}" in refused.stderr


@pytest.mark.skipif(not can_mount(), reason="no mount namespaces for this user here")
def test_a_home_that_is_read_only_is_told(scene: Scene) -> None:
    assert scene.tako("exec", "release", cwd=scene.library("false")).code == 1
    [run] = scene.runs()
    home = shlex.quote(str(scene.tako.home))
    for option in ("", "--explain"):
        script = (
            f"mount --bind {home} {home} && mount -o remount,bind,ro {home} &&"
            f" exec {shlex.join(command())} exec --resume {run.name} {option}"
        )
        refused = scene.unshared(UNSHARE_MOUNTS, script)
        assert refused.code == 4, refused.stderr
        assert f"{run / 'lock'}: Read-only file system" in refused.stderr


def test_a_run_that_was_taken_up_while_a_question_was_open_is_looked_at_again(scene: Scene) -> None:
    mail = _interrupted_once(scene)
    [run] = scene.runs()
    control, process = _asking(scene, run.name)
    assert _resume(scene, "--rerun", "yes").code == 0
    assert _said(mail) == ["published"]
    os.write(control, b"y\n")
    _read_all(control)
    assert process.wait(GENEROUS_S) == 5
    assert mail.is_empty()


def test_of_a_tako_yml_that_was_mended_all_subscriptions_run(scene: Scene) -> None:
    broken = scene.checkout("acme/app", {"tako.yml": "version: 0.1.0\n# acme/lib\nsubscriptions: 1\n"})
    checkout = scene.library(FAN_OUT)
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    flows = {"one": workflow("true"), "two": workflow("true")}
    mended = tako_yml(flows, [subscription(name="one"), subscription(name="two")])
    (broken / "tako.yml").write_text(mended)
    assert _resume(scene).code == 0
    [fan_out_step] = [step for step in scene.status()["steps"] if step["id"] == "dependents"]
    ran = [(child["workflow"], child["status"]) for child in fan_out_step["fan_out"]["children"]]
    assert ran == [("one", "succeeded"), ("two", "succeeded")]


@pytest.mark.measured
def test_a_child_that_nobody_wants_any_more_is_skipped(scene: Scene) -> None:
    broken = scene.checkout("acme/app", {"tako.yml": "version: 0.1.0\n# acme/lib\nsubscriptions: 1\n"})
    checkout = scene.library(FAN_OUT)
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    (broken / "tako.yml").write_text("version: 0.1.0\nworkflows: {}\n")
    ended = _resume(scene)
    assert ended.code == 0, ended.stderr
    assert scene.status()["exit_code"] == 0


@pytest.mark.parametrize(
    "lenient", [{**FAN_OUT, "continue_on_error": True}, fan_out(on_child_failure="ignore")]
)
def test_children_that_were_stopped_run_again_although_their_failure_would_be_tolerated(
    scene: Scene, lenient: dict[str, Any]
) -> None:
    mail, go = scene.mailbox(), scene.directory / "go"
    scene.subscriber("acme/app", f"echo begun >{mail.path}; [ -e {go} ] || exec sleep 600")
    checkout = scene.library(lenient, "true")
    with scene.tako.started("exec", "release", cwd=checkout) as process:
        mail.line()
        process.send_signal(signal.SIGINT)
        assert process.wait(GENEROUS_S) == 130
    assert scene.status()["steps"][0]["status"] == "cancelled"
    go.touch()
    assert _resume(scene).code == 0
    assert mail.line() == "begun"
    assert children(scene.status())["acme/app"]["status"] == "succeeded"


def test_what_failed_only_leaves_out_of_children_nobody_waited_for_stays_a_failure(scene: Scene) -> None:
    mail = scene.mailbox()
    scene.subscriber("acme/app", f"echo begun >{mail.path}; exec sleep 600")
    checkout = scene.library(fan_out(wait_for_children=False))
    with scene.tako.started("exec", "release", cwd=checkout) as process:
        mail.line()
        process.send_signal(signal.SIGINT)
        assert process.wait(GENEROUS_S) == 130
    assert _resume(scene, "--failed-only").code == 1
    assert mail.is_empty()


@pytest.mark.measured
@pytest.mark.parametrize("killed", [False, True])
def test_a_clean_retry_waits_for_children_nobody_else_waits_for(scene: Scene, killed: bool) -> None:
    """Also if the worker that asked for it dies with these words."""
    points = scene.directory / "points"
    points.mkdir()
    if killed:
        label = "worker acme/app 1.1 after append RunRestarted failing #1"
        (points / "kill.0").write_text(json.dumps({"label": label}))
    mail, go = scene.mailbox(), scene.mailbox("go")
    once = scene.directory / "once"
    emits = fan_out(wait_for_children=False)
    emits["with"]["event_type"] = "used"
    failing = {
        "id": "failing",
        "run": f"if [ ! -e {once} ]; then touch {once}; echo failing >{mail.path}; exit 1; fi",
        "retry": {"max_attempts": 2, "clean": True, "backoff": "10ms"},
    }
    scene.subscriber("acme/app", emits, failing)
    leaf = tako_yml(
        {"check": workflow(f"echo leaf >{mail.path}; read line <{go.path}")},
        [subscription("acme/app", events=["used"])],
    )
    scene.checkout("acme/leaf", {"tako.yml": leaf})
    checkout, crash = scene.library(FAN_OUT), {crash_points.VARIABLE: str(points)}
    with scene.tako.started("exec", "release", "--jobs", "2", cwd=checkout, env=crash) as process:
        assert sorted(mail.lines(2)) == ["failing", "leaf"]
        if killed:
            [app] = (scene.runs()[0] / "children").iterdir()
            deadline = time.monotonic() + GENEROUS_S
            while "WorkerDied" not in kinds(app):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            # Longer than the pause before another worker.
            time.sleep(0.5)
            assert "worker acme/app 1.2" not in (points / "passed").read_text()
        go.path.write_text("go\n")
        _, stderr = process.communicate(timeout=GENEROUS_S)
    assert process.returncode == 0, stderr
    app = children(scene.status())["acme/app"]
    assert [(step["id"], step["attempts"]) for step in app["steps"]][1] == ("failing", 2)
    assert app["attempts"] == 1 + killed
    # It answered the same event once.
    assert mail.is_empty()


@pytest.mark.parametrize(("answer", "code"), [_measured("ask", 2), ("yes", 0), _measured("no", 1)])
def test_a_child_that_would_start_over_with_what_must_not_be_repeated(
    scene: Scene, answer: str, code: int
) -> None:
    mail = scene.mailbox()
    go = scene.directory / "go"
    once = {"id": "publish", "run": f"echo published >{mail.path}", "rerun": "never"}
    scene.subscriber("acme/app", once, f"echo two >{mail.path}; [ -e {go} ] || exec sleep 600")
    checkout = scene.library(FAN_OUT)
    with scene.tako.started("exec", "release", cwd=checkout) as process:
        assert mail.lines(2) == ["published", "two"]
        kill(root_of(process.pid))
        process.wait(GENEROUS_S)
    go.touch()
    [child] = (scene.runs()[0] / "children").iterdir()
    subprocess.run(["rm", "-r", str(child / "work")], check=True)
    ended = _resume(scene, "--rerun", answer)
    assert ended.code == code, ended.stderr
    assert _said(mail) == (["published", "two"] if code == 0 else [])
    if code:
        assert "publish" in ended.stderr
