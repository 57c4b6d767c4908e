"""What `tako exec --resume` promises, word by word as docs/recovery.md has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.git import commit
from tests.support.resumes import aged, killed, killed_whole, of_another_boot, resume, rewritten, said
from tests.support.run_processes import kill, root_of
from tests.support.runner import GENEROUS_S
from tests.support.scenes import (
    FAN_OUT,
    Mailbox,
    Scene,
    children,
    fan_out,
    kinds,
    subscription,
    tako_yml,
    workflow,
)

pytestmark = pytest.mark.forked

#: Says so when it has begun, and ends only where the file `go` of the scene's directory is.
_WAITS = "echo {word} >{mail}; [ -e {go} ] || exec sleep 600"
_HOUR_S = 3600.0


def _waits(scene: Scene, mail: Mailbox, word: str) -> tuple[str, Path]:
    go = scene.directory / "go"
    return _WAITS.format(word=word, mail=mail.path, go=go), go


# --- the key by which others can tell two attempts of one step from two steps ---


def _keys(lines: list[str]) -> dict[str, str]:
    return dict(line.split() for line in lines)


def test_both_attempts_of_a_step_have_one_idempotency_key_and_no_other_step_has_it(scene: Scene) -> None:
    mail = scene.mailbox()
    scene.settings("isolation: process\njobs: 1\n")
    waits, go = _waits(scene, mail, "cut-off $TAKO_IDEMPOTENCY_KEY")
    tells = f"echo {{}} $TAKO_IDEMPOTENCY_KEY >{mail.path}"
    scene.subscriber("acme/a-well", tells.format("well"))
    scene.subscriber("acme/b-app", tells.format("kept"), waits, tells.format("after"))
    checkout = scene.library(tells.format("root"), FAN_OUT)
    first = _keys(killed(scene, checkout, mail, lines=4))
    go.touch()
    assert resume(scene).code == 0
    second = _keys(said(mail))
    assert second.keys() == {"cut-off", "after"}
    assert second["cut-off"] == first["cut-off"]
    assert scene.tako("exec", "release", cwd=checkout).code == 0
    other = _keys(said(mail))
    assert len({*first.values(), *second.values(), *other.values()}) == 5 + 5


def test_a_step_of_the_checkout_has_its_idempotency_key_again(scene: Scene) -> None:
    mail = scene.mailbox()
    waits, go = _waits(scene, mail, "$TAKO_IDEMPOTENCY_KEY")
    before = killed(scene, scene.library(waits), mail)
    go.touch()
    assert resume(scene).code == 0
    assert said(mail) == before


# --- what a dead tako left ends before anything runs ---


@pytest.mark.parametrize("place", ["child", "root"])
def test_a_daemon_that_outlived_all_of_tako_is_gone_when_the_step_runs_again(
    scene: Scene, place: str
) -> None:
    mail = scene.mailbox()
    file = scene.directory / "daemon"
    script = (
        # A zombie has no arguments.
        f"found() {{ grep -acs sleep /proc/$(cat {file})/cmdline; }}\n"
        f"if [ -e {file} ]; then echo again $(found) >{mail.path}; exit; fi\n"
        f"setsid sleep 600 &\necho $! >{file}\necho begun >{mail.path}\nexec sleep 600\n"
    )
    scene.subscriber("acme/app", script if place == "child" else "true")
    checkout = scene.library(script if place == "root" else "true", FAN_OUT)
    killed_whole(scene, checkout, mail)
    assert Path(f"/proc/{file.read_text().strip()}/cmdline").read_bytes().startswith(b"sleep")
    ended = resume(scene)
    assert ended.code == 0, ended.stderr
    assert said(mail) in (["again 0"], ["again"])


# --- at the same commits, with what was recorded ---


def _child_yml(*steps: str) -> str:
    return tako_yml({"check": workflow(*steps)}, [subscription()])


def test_a_child_goes_on_at_its_commit_although_its_repository_moved_on(scene: Scene) -> None:
    mail = scene.mailbox()
    waits, go = _waits(scene, mail, "$(cat file) $TAKO_COMMIT")
    flows = {
        "app": ("true", waits, f"echo then $(cat file) >{mail.path}"),
        "late": (f"cat file >{mail.path}",),
    }
    made = [
        scene.git_repo(f"acme/{name}", {"tako.yml": _child_yml(*steps), "file": f"old {name}\n"})
        for name, steps in flows.items()
    ]
    for repository in made:
        assert scene.tako("cache", "add", f"acme/{repository.name}", "--from", repository).code == 0
    [begun] = killed(scene, scene.library(FAN_OUT), mail, "--jobs", "1")
    old = begun.removeprefix("old app ")
    new = {commit(repository, {"file": "new\n", "tako.yml": _child_yml("exit 7")}) for repository in made}
    assert scene.tako("cache", "sync").code == 0
    listed = scene.tako("cache", "list", "--output", "json").json
    assert {repository["commit"] for repository in listed} == new
    go.touch()
    ended = resume(scene, "--output", "json")
    assert ended.code == 0, ended.stderr
    assert sorted(said(mail)) == sorted([begun, "then old app", "old late"])
    found = children(ended.json)
    assert found["acme/app"]["commit"] == old
    assert not new & {child["commit"] for child in found.values()}


def test_a_step_that_runs_after_the_resume_sees_what_was_kept(scene: Scene) -> None:
    mail = scene.mailbox()
    waits, go = _waits(scene, mail, "waits")
    built = {
        "id": "build",
        "run": "echo version=1.2.3 >>$TAKO_OUTPUT; echo BUILT=yes >>$TAKO_ENV; echo lib >built",
        "produces": {
            "artifacts": ["built"],
            "events": [{"type": "built", "payload": {"version": "{{ .outputs.version }}"}}],
        },
    }
    tested = {
        "id": "test",
        "run": "echo tested=with-{{ .inputs.version }} >>$TAKO_OUTPUT; echo report >report",
        "produces": {"artifacts": ["report"]},
    }
    after = {
        "id": "after",
        "run": f"""{waits}
        echo {{{{ .steps.build.outputs.version }}}} {{{{ .steps.build.status }}}} $BUILT >{mail.path}
        echo {{{{ .steps.dependents.outputs["acme/app"].tested }}}} >{mail.path}
        cat $TAKO_CHILDREN/acme/app/default/report >{mail.path}""",
    }
    scene.subscriber(
        "acme/app",
        tested,
        inputs={"version": {}},
        subscribed={"inputs": {"version": "{{ .event.payload.version }}"}},
    )
    events = {"id": "dependents", "uses": "tako/fan-out@v1", "with": {"event_type": "built"}}
    killed(scene, scene.library(built, events, after), mail)
    go.touch()
    ended = resume(scene)
    assert ended.code == 0, ended.stderr
    assert said(mail) == ["waits", "1.2.3 succeeded yes", "with-1.2.3", "report"]


def test_a_child_that_goes_on_sees_what_its_parent_and_its_own_steps_made_before(scene: Scene) -> None:
    mail = scene.mailbox()
    waits, go = _waits(scene, mail, "waits")
    build = {"id": "build", "run": "echo lib >built", "produces": {"artifacts": ["built"]}}
    one = {"id": "one", "run": "echo answer=42 >>$TAKO_OUTPUT"}
    two = (
        f"{waits}\necho {{{{ .steps.one.outputs.answer }}}} $(cat $TAKO_ARTIFACTS/default/built) >{mail.path}"
    )
    scene.subscriber("acme/app", one, two)
    killed(scene, scene.library(build, FAN_OUT), mail)
    go.touch()
    ended = resume(scene)
    assert ended.code == 0, ended.stderr
    assert said(mail) == ["waits", "42 lib"]


# --- time ---


def test_an_hour_in_which_nobody_was_there_counts_for_no_timeout_and_no_duration(scene: Scene) -> None:
    """Instead of waiting, all that was recorded is moved into the past."""
    mail = scene.mailbox()
    waits, go = _waits(scene, mail, "waits")
    scene.subscriber("acme/app", "true", waits, timeout="10m")
    checkout = scene.library("true", fan_out(timeout="10m"), timeout="10m")
    killed(scene, checkout, mail)
    aged(scene.runs()[0], _HOUR_S)
    go.touch()
    ended = resume(scene, "--output", "json")
    assert ended.code == 0, ended.stderr
    app = children(ended.json)["acme/app"]
    for one in (ended.json, app, *ended.json["steps"], *app["steps"]):
        assert 0 <= one["duration_s"] < _HOUR_S / 2


@pytest.mark.parametrize("whose", ["child", "fan-out"])
def test_the_time_before_the_break_counts(scene: Scene, whose: str) -> None:
    """One second is left: the tree is an hour older than its last sign of life."""
    mail = scene.mailbox()
    limit: dict[str, Any] = {"timeout": f"{_HOUR_S + 1:.0f}s"}
    waits = f"echo waits >{mail.path}; exec sleep 600"
    scene.subscriber("acme/app", waits, **(limit if whose == "child" else {}))
    killed(scene, scene.library(fan_out(**(limit if whose == "fan-out" else {}))), mail)
    aged(scene.runs()[0], _HOUR_S, _HOUR_S)
    ended = resume(scene, "--output", "json")
    assert ended.code == (1 if whose == "child" else 124), ended.stderr
    app = children(ended.json)["acme/app"]
    assert app["status"] == "timed_out"
    assert _HOUR_S < app["duration_s"] < 2 * _HOUR_S


# --- after a reboot ---


def _reboot(run: Path) -> None:
    for journal in run.rglob("journal.jsonl"):
        rewritten(journal, of_another_boot)


def test_after_a_reboot_a_root_run_out_of_the_cache_starts_over_in_a_new_workspace(scene: Scene) -> None:
    mail = scene.mailbox()
    waits, go = _waits(scene, mail, "two")
    steps = (f"echo one >>log; echo one $(wc -l <log) >{mail.path}", waits)
    scene.subscriber("acme/app", *steps, on=["exec", "event"])
    with scene.tako.started("exec", "check", "--repo", "acme/app") as process:
        assert mail.lines(2) == ["one 1", "two"]
        kill(root_of(process.pid))
        process.wait(GENEROUS_S)
    [run] = scene.runs()
    _reboot(run)
    go.touch()
    told = resume(scene, "--explain")
    assert "the machine was restarted" in told.stdout
    ended = resume(scene)
    assert ended.code == 0, ended.stderr
    assert said(mail) == ["one 1", "two"]
    assert "WorkspaceRebuilt" in kinds(run)


@pytest.mark.parametrize("payload", ["same", "other"])
def test_children_of_a_child_that_starts_over_are_kept_if_it_comes_to_the_same_event(
    scene: Scene, payload: str
) -> None:
    mail = scene.mailbox()
    waits, go = _waits(scene, mail, "waits")
    number = "echo number=1 >>$TAKO_OUTPUT"
    if payload == "other":
        number = f"[ -e {go} ] && echo number=2 >>$TAKO_OUTPUT || echo number=1 >>$TAKO_OUTPUT"
    made = {
        "id": "made",
        "run": f"echo made >{mail.path}; {number}",
        "produces": {"events": [{"type": "more", "payload": {"number": "{{ .outputs.number }}"}}]},
    }
    more = {"id": "more", "uses": "tako/fan-out@v1", "with": {"event_type": "more"}}
    scene.subscriber("acme/app", made, more, waits)
    leaf = tako_yml(
        {"check": workflow(f"echo leaf >{mail.path}")}, [subscription("acme/app", events=["more"])]
    )
    scene.checkout("acme/leaf", {"tako.yml": leaf})
    assert killed(scene, scene.library(FAN_OUT), mail, lines=3) == ["made", "leaf", "waits"]
    _reboot(scene.runs()[0])
    go.touch()
    ended = resume(scene, "--output", "json")
    assert ended.code == 0, ended.stderr
    assert said(mail) == (["made", "waits"] if payload == "same" else ["made", "leaf", "waits"])
    [leaf_run] = children(children(ended.json)["acme/app"], "more").values()
    assert (leaf_run["status"], leaf_run["attempts"]) == ("succeeded", 1)
