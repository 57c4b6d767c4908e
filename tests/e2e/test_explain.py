"""`tako exec --resume RUN --explain`: every step and child, what becomes of it and why; nothing is run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tako.journal.log import line_of, read_records
from tako.journal.records import FanOutPlanned, Record
from tests.support.dead_runs import bytes_below
from tests.support.git import commit
from tests.support.run_processes import kill, root_of
from tests.support.runner import GENEROUS_S, Finished
from tests.support.scenes import FAN_OUT, Scene, children, fan_out, subscription, tako_yml, workflow

pytestmark = pytest.mark.forked

_ID = re.compile(r"exec-\d{8}-\d{6}-[0-9a-f]{8}")


def _emits(**options: object) -> dict[str, object]:
    """Give a step `more` that says `used`, which `_leaf` subscribes to."""
    return {"id": "more", "uses": "tako/fan-out@v1", "with": {"event_type": "used", "payload": {}, **options}}


def _resume(scene: Scene, *options: str) -> Finished:
    [run] = scene.runs()
    return scene.tako("exec", "--resume", run.name, *options)


def _explained(scene: Scene, *options: str) -> list[str]:
    """Give the lines, ids left out; they change nothing of what is there."""
    before = bytes_below(scene.tako.home)
    told = _resume(scene, "--explain", *options)
    assert told.code == 0, told.stderr
    assert bytes_below(scene.tako.home) == before
    return [_ID.sub("ID", line) for line in told.stdout.splitlines()]


def _leaf(scene: Scene, script: str = "true") -> None:
    """Put `acme/leaf` into the cache, which answers what `acme/app` says."""
    flows = {"check": workflow(script)}
    scene.checkout("acme/leaf", {"tako.yml": tako_yml(flows, [subscription("acme/app", events=["used"])])})


def _cut(run: Path, last: type[Record]) -> None:
    """Leave a journal as if its writer had been killed after its last record of this kind."""
    records = list(read_records(run / "journal.jsonl"))
    end = max(number for number, record in enumerate(records) if isinstance(record, last)) + 1
    (run / "journal.jsonl").write_bytes(b"".join(map(line_of, records[:end])))


@pytest.mark.measured
def test_kept_children_are_told_with_all_below_them(scene: Scene) -> None:
    tidy = {"id": "tidy", "run": "true"}
    _leaf(scene)
    scene.subscriber("acme/app", "true", _emits())
    scene.subscriber("acme/odd", {"id": "never", "run": "true", "if": "false"})
    after = {"id": "after", "run": "exit 3", "on_failure": [tidy, {"id": "unused", "run": "true"}]}
    guarded = {"id": "guarded", "run": "true", "on_failure": [{"id": "sweep", "run": "true"}]}
    late = {"id": "late", "run": "true", "on_failure": [{"id": "mourn", "run": "true"}]}
    assert scene.tako("exec", "release", cwd=scene.library(guarded, FAN_OUT, after, late)).code == 1
    assert _explained(scene) == [
        "= guarded  kept: it succeeded",
        "- sweep  left out: it runs only if guarded fails",
        "= dependents  kept: it succeeded",
        "  = acme/app  ID  kept: it succeeded",
        "    = step-1  kept: it succeeded",
        "    = more  kept: it succeeded",
        "      = acme/leaf  ID  kept: it succeeded",
        "        = step-1  kept: it succeeded",
        "  = acme/odd  ID  kept: it succeeded",
        "    = never  kept: it was skipped",
        "↻ after  runs again: exit code 3",
        "? tidy  runs on failure: only if after fails",
        "? unused  runs on failure: only if after fails",
        "▶ late  runs: it had not begun",
        "? mourn  runs on failure: only if late fails",
    ]
    told = _resume(scene, "--explain", "--output", "json").json
    assert [one["verdict"] for one in told].count("kept") == 9
    [leaf] = [one for one in told if one["repository"] == "acme/leaf" and not one["step"]]
    assert (leaf["depth"], leaf["why"], leaf["forbidden"]) == (3, "it succeeded", False)


def test_children_that_ended_before_their_parent_heard_of_it_are_told_as_they_ended(scene: Scene) -> None:
    """The root is killed before it could record the end of either."""
    _leaf(scene)
    scene.subscriber("acme/app", _emits())
    scene.subscriber("acme/bad", "exit 3")
    assert scene.tako("exec", "release", cwd=scene.library(FAN_OUT, "true")).code == 1
    [run] = scene.runs()
    _cut(run, FanOutPlanned)
    told = _explained(scene)
    assert told == [
        "↻ dependents  runs again: its children had not all ended",
        "  = acme/app  ID  kept: it succeeded",
        "    = more  kept: it succeeded",
        "      = acme/leaf  ID  kept: it succeeded",
        "        = step-1  kept: it succeeded",
        "  ↻ acme/bad  ID  runs again: it failed",
        "    ↻ step-1  runs again: exit code 3",
        "▶ step-2  runs: it had not begun",
    ]
    assert scene.tako("reap").code == 0
    assert _explained(scene) == told


@pytest.mark.measured
def test_what_a_killed_run_was_doing_runs_again_and_nothing_does_yet(scene: Scene) -> None:
    mail = scene.mailbox()
    go = scene.directory / "go"
    scene.subscriber("acme/app", "true", f"echo ran >{mail.path}; [ -e {go} ] || exec sleep 600", "true")
    scene.subscriber("acme/late", "true")
    checkout = scene.library(FAN_OUT)
    with scene.tako.started("exec", "release", "--jobs", "1", cwd=checkout) as process:
        assert mail.line() == "ran"
        kill(root_of(process.pid))
        assert process.wait(GENEROUS_S) == 4
    go.touch()
    told = [
        "↻ dependents  runs again: its children had not all ended",
        "  ↻ acme/app  ID  runs again: it was interrupted",
        "    = step-1  kept: it succeeded",
        "    ↻ step-2  runs again: it was interrupted",
        "    ▶ step-3  runs: it had not begun",
        "  ▶ acme/late  ID  runs: it had not begun",
        "    ▶ step-1  runs: it had not begun",
    ]
    assert _explained(scene) == told
    assert scene.status()["status"] == "interrupted"
    assert scene.tako("reap").code == 0
    assert _explained(scene) == told
    assert mail.is_empty()
    assert _explained(scene, "--failed-only") == [
        told[0],
        "  - acme/app  ID  left out: it was interrupted, and --failed-only leaves it out",
        "    = step-1  kept: it succeeded",
        "    - step-2  left out: interrupted",
        "    - step-3  left out: it had not begun",
        "  - acme/late  ID  left out: it had not begun, and --failed-only leaves it out",
    ]


def test_a_child_whose_own_children_failed_unawaited_goes_on_for_them(scene: Scene) -> None:
    _leaf(scene, "exit 3")
    scene.subscriber("acme/app", _emits(wait_for_children=False))
    assert scene.tako("exec", "release", cwd=scene.library(FAN_OUT)).code == 1
    assert _explained(scene)[1:] == [
        "  ↻ acme/app  ID  runs again: it succeeded, but not all of its children did",
        "    = more  kept: it succeeded",
        "      ↻ acme/leaf  ID  runs again: it failed",
        "        ↻ step-1  runs again: exit code 3",
    ]


def test_children_whose_failure_was_ignored_are_left_out(scene: Scene) -> None:
    scene.subscriber("acme/app", "exit 3")
    step = {"id": "odd", "run": "exit 4", "continue_on_error": True}
    checkout = scene.library(fan_out(on_child_failure="ignore"), step, "exit 5")
    assert scene.tako("exec", "release", cwd=checkout).code == 1
    assert _explained(scene)[:4] == [
        "= dependents  kept: it succeeded",
        "  - acme/app  ID  left out: it failed, and dependents is not repeated",
        "    - step-1  left out: exit code 3",
        "= odd  kept: its failure was tolerated",
    ]


@pytest.mark.measured
def test_a_run_that_succeeded_is_told_as_kept(scene: Scene) -> None:
    scene.subscriber("acme/app", "true")
    checkout = scene.library(FAN_OUT, "true")
    assert scene.tako("exec", "release", cwd=checkout).code == 0
    commit(checkout, {"more": "x"})
    assert _explained(scene) == [
        "= dependents  kept: it succeeded",
        "  = acme/app  ID  kept: it succeeded",
        "    = step-1  kept: it succeeded",
        "= step-2  kept: it succeeded",
    ]
    told = _resume(scene, "--explain", "--output", "json")
    assert "nothing left to do" in told.stderr
    assert {one["verdict"] for one in told.json} == {"kept"}


@pytest.mark.measured
def test_what_must_not_run_twice_is_marked(scene: Scene) -> None:
    swept = {"id": "undo", "run": "exit 5", "rerun": "never"}
    once = {"id": "publish", "run": "exit 3", "rerun": "never", "on_failure": [swept]}
    tested = {"id": "test", "run": "true", "on_failure": [{"id": "log", "run": "true"}]}
    scene.subscriber("acme/app", once, tested)
    assert scene.tako("exec", "release", cwd=scene.library(FAN_OUT)).code == 1
    assert _explained(scene)[2:] == [
        "    ↻ publish  runs again: exit code 3; `rerun: never`",
        "    ? undo  runs on failure: only if publish fails; `rerun: never`",
        "    ▶ test  runs: it had not begun",
        "    ? log  runs on failure: only if test fails",
    ]
    told = _resume(scene, "--explain", "--output", "json").json
    assert [one["step"] for one in told if one["forbidden"]] == ["publish", "undo"]
    assert _explained(scene, "--rerun", "no")[2:] == [
        "    - publish  left out: exit code 3, and counts as failed; `rerun: never`",
        "    - undo  left out: exit code 5; `rerun: never`",
        "    - test  left out: the run ends at publish",
        "    - log  left out: it runs only if test fails",
    ]
    refused = _resume(scene)
    assert (refused.code, "step publish: exit code 3" in refused.stderr) == (2, True)
    assert "step undo: only if publish fails" in refused.stderr


@pytest.mark.measured
def test_after_a_step_that_counts_as_failed_its_clean_up_runs(scene: Scene) -> None:
    mail = scene.mailbox()
    once = {
        "id": "publish",
        "run": f"echo begun >{mail.path}; exec sleep 600",
        "rerun": "never",
        "on_failure": [{"id": "undo", "run": f"echo undone >{mail.path}"}],
    }
    with scene.tako.started("exec", "release", cwd=scene.library(once)) as process:
        assert mail.line() == "begun"
        kill(root_of(process.pid))
        process.wait(GENEROUS_S)
    assert _explained(scene, "--rerun", "no") == [
        "- publish  left out: it was interrupted, and counts as failed; `rerun: never`",
        "▶ undo  runs: publish counts as failed",
    ]
    assert _resume(scene, "--rerun", "no").code == 1
    assert mail.line() == "undone"


@pytest.mark.measured
def test_what_may_not_start_over_is_left_out_with_the_reason(scene: Scene) -> None:
    once = {"id": "publish", "run": "true", "rerun": "never"}
    scene.subscriber("acme/app", once, FAN_OUT, "exit 3")
    assert scene.tako("exec", "release", cwd=scene.library(FAN_OUT)).code == 1
    child = children(scene.status())["acme/app"]["run_id"]
    shutil.rmtree(scene.runs()[0] / "children" / child / "work")
    why = "its workspace was removed"
    assert [line for line in _explained(scene) if why in line] == [
        f"    ↻ publish  runs again: {why}; `rerun: never`",
        f"    ↻ dependents  runs again: {why}",
        f"    ↻ step-3  runs again: {why}",
    ]
    refused = [line for line in _explained(scene, "--rerun", "no") if why in line]
    assert len(refused) == 3
    assert all("left out" in line and "forbids" in line for line in refused)


def test_a_child_whose_snapshot_was_pruned_cannot_run(scene: Scene) -> None:
    subscriber = scene.subscriber("acme/app", "exit 3")
    assert scene.tako("exec", "release", cwd=scene.library(FAN_OUT)).code == 1
    shutil.rmtree(subscriber)
    assert scene.tako("cache", "prune", "--keep", "0s").code == 0
    told = _explained(scene)
    assert told[1].startswith("  - acme/app  ID  left out: it cannot run: acme/app: the content")
    assert told[2] == "    - step-1  left out: exit code 3"
    assert _resume(scene).code == 1
    [error] = scene.status()["failures"]
    assert (error["repository"], error["kind"]) == ("acme/app", "not_found")


@pytest.mark.measured
def test_of_a_tako_yml_that_was_mended_each_subscription_is_told(scene: Scene) -> None:
    broken = scene.checkout("acme/app", {"tako.yml": "version: 0.1.0\n# acme/lib\nsubscriptions: 1\n"})
    assert scene.tako("exec", "release", cwd=scene.library(FAN_OUT)).code == 1
    two = [subscription(name="one"), subscription(name="two")]
    (broken / "tako.yml").write_text(tako_yml({"one": workflow("true"), "two": workflow("true")}, two))
    # The first look takes the new content into the cache.
    assert _resume(scene, "--explain").code == 0
    assert _explained(scene)[1:] == [
        "  ▶ acme/app  ID  runs: it had not begun",
        "    ▶ step-1  runs: it had not begun",
        "  ▶ acme/app  runs: its tako.yml could not be read before, and has this subscription too",
    ]
    (broken / "tako.yml").write_text("version: 0.1.0\nworkflows: {}\n")
    assert _resume(scene, "--explain").code == 0
    assert _explained(scene)[1:] == ["  - acme/app  ID  left out: it does not subscribe any more"]


@pytest.mark.measured
def test_a_child_with_a_damaged_journal_is_told(scene: Scene) -> None:
    scene.subscriber("acme/app", "exit 3")
    assert scene.tako("exec", "release", cwd=scene.library(FAN_OUT)).code == 1
    child = scene.runs()[0] / "children" / children(scene.status())["acme/app"]["run_id"]
    journal = child / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"RunStarted", b"RunStartet", 1))
    [_, told] = _explained(scene)
    assert told.startswith("  - acme/app  ID  left out: it cannot go on: ")


@pytest.mark.parametrize("journal", ["missing", "empty", "reaped"])
def test_a_run_that_never_began_is_to_be_started_anew(scene: Scene, journal: str) -> None:
    run = scene.tako.home / "workspaces" / "exec-20231114-221321-000000aa"
    run.mkdir(parents=True)
    (run / "lock").touch()
    if journal == "empty":
        (run / "journal.jsonl").touch()
    if journal == "reaped":
        assert scene.tako("reap").code == 0
    for options in ("--explain",), ():
        told = _resume(scene, *options)
        assert (told.code, "ended before it began" in told.stderr) == (2, True)
        assert "tako exec WORKFLOW" in told.stderr
