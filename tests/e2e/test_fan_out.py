"""Fan-outs of every shape, run by the real command."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path

import pytest

from tests.support.runner import Finished
from tests.support.scenes import FAN_OUT, Scene, children, errors, fan_out, subscription, tako_yml, workflow

pytestmark = pytest.mark.forked

EXEC = ("exec", "release", "--output", "json")


def _ended(done: Finished, code: int) -> Finished:
    assert done.code == code, done.stderr
    return done


def _nested(scene: Scene, names: tuple[str, ...], last: str) -> None:
    """Put a chain into the cache: the first subscribes to the library, each other one to the one before."""
    for before, name in zip(("acme/lib", *names), names, strict=False):
        steps = (last,) if name == names[-1] else ("echo $TAKO_RUN_ID", FAN_OUT)
        scene.checkout(name, {"tako.yml": tako_yml({"check": workflow(*steps)}, [subscription(before)])})


# --- scheduling ---


def test_a_fan_out_of_depth_three_ends_with_one_job(scene: Scene) -> None:
    _nested(scene, ("acme/one", "acme/two", "acme/three"), "echo deepest >deep.txt")
    done = _ended(scene.tako(*EXEC, "--jobs", "1", cwd=scene.library("true", FAN_OUT)), 0)
    two = children(children(done.json)["acme/one"])["acme/two"]
    assert children(two)["acme/three"]["status"] == "succeeded"


def test_a_hundred_children_have_a_hundred_processes_and_workspaces(scene: Scene) -> None:
    seen = scene.directory / "seen"
    scene.settings("isolation: process\n")
    for number in range(100):
        scene.subscriber(f"acme/child-{number}", f'echo "$PPID $$ $(pwd)" >>{seen}')
    _ended(scene.tako(*EXEC, "--jobs", "8", cwd=scene.library(FAN_OUT)), 0)
    workers, shells, workspaces = zip(*(line.split() for line in seen.read_text().splitlines()), strict=True)
    assert [len(set(each)) for each in (workers, shells, workspaces)] == [100, 100, 100]


def _overlap(scene: Scene) -> str:
    """A script that says how many run with it, and waits until `{n}` do, or nobody more may come."""
    inside = scene.directory / "inside"
    inside.mkdir()
    return f"mkdir {inside}/$$\nls {inside} | wc -l >>{scene.directory}/counts\n%s\nrmdir {inside}/$$\n"


def _most(scene: Scene) -> int:
    return max(int(line) for line in (scene.directory / "counts").read_text().split())


@pytest.mark.parametrize(("jobs", "limit", "most"), [(3, None, 3), (1, None, 1), (8, 2, 2)])
def test_jobs_and_concurrency_limit_bound_how_many_run_at_once(
    scene: Scene, jobs: int, limit: int | None, most: int
) -> None:
    """The first ones wait until as many are inside as may be: the bound is reached, and never passed."""
    box = scene.mailbox()
    script = _overlap(scene) % f"echo in >{box.path}; read line <{scene.directory}/go"
    go = scene.mailbox("go")
    for number in range(7):
        scene.subscriber(f"acme/child-{number}", script)
    options = {} if limit is None else {"concurrency_limit": limit}
    checkout = scene.library(fan_out(**options))
    with scene.tako.started(*EXEC, "--jobs", str(jobs), cwd=checkout) as process:
        box.lines(most)
        assert box.is_empty()
        for _ in range(7):
            go.path.write_text("go\n")
        assert process.wait(120) == 0
    assert _most(scene) == most


def test_one_repository_runs_one_of_its_workflows_at_a_time(scene: Scene) -> None:
    scene.settings("isolation: process\n")
    script = _overlap(scene) % "true"
    config = tako_yml(
        {"a": workflow(script), "b": workflow(script)}, [subscription(name="a"), subscription(name="b")]
    )
    scene.checkout("acme/twice", {"tako.yml": config})
    done = _ended(scene.tako(*EXEC, "--jobs", "4", cwd=scene.library(FAN_OUT)), 0)
    assert done.json["steps"][0]["fan_out"]["succeeded"] == 2
    assert _most(scene) == 1


def test_a_fan_out_that_nobody_waits_for_lets_the_workflow_go_on(scene: Scene) -> None:
    go = scene.mailbox("go")
    scene.subscriber("acme/late", f"read line <{go.path}")
    checkout = scene.library(fan_out(wait_for_children=False), f"echo go >{go.path}")
    done = _ended(scene.tako(*EXEC, "--jobs", "2", cwd=checkout), 0)
    assert children(done.json)["acme/late"]["status"] == "succeeded"


def test_a_late_failure_is_the_roots_exit_code_and_not_the_steps(scene: Scene) -> None:
    go = scene.mailbox("go")
    scene.subscriber("acme/late", f"read line <{go.path}; exit 9")
    checkout = scene.library(fan_out(wait_for_children=False), f"echo go >{go.path}")
    done = _ended(scene.tako(*EXEC, "--jobs", "2", cwd=checkout), 1)
    assert [step["status"] for step in done.json["steps"]] == ["succeeded", "succeeded"]
    assert [(error["repository"], error["exit_code"]) for error in done.json["failures"]] == [
        ("acme/late", 9)
    ]


# --- failing children ---


def _mixed(scene: Scene) -> None:
    scene.subscriber("acme/bad", "echo first; echo last words; exit 3")
    scene.subscriber("acme/good", "true")
    scene.subscriber("acme/killed", "kill -KILL $$")
    scene.subscriber("acme/slow", {"id": "slow", "run": "sleep 600", "timeout": "100ms"})


def test_several_failed_children_are_all_reported_and_fail_the_step(scene: Scene) -> None:
    scene.settings("isolation: process\n")
    _mixed(scene)
    done = _ended(scene.tako(*EXEC, "--jobs", "2", cwd=scene.library(FAN_OUT, "echo never")), 1)
    fan_out_result = done.json["steps"][0]["fan_out"]
    counts = {key: fan_out_result[key] for key in ("found", "succeeded", "failed", "timed_out", "cancelled")}
    assert counts == {"found": 4, "succeeded": 1, "failed": 2, "timed_out": 1, "cancelled": 0}
    found = errors(done.json)
    assert found["acme/bad"]["exit_code"] == 3
    assert found["acme/bad"]["last_lines"] == ["first", "last words"]
    assert found["acme/killed"]["signal"] == "SIGKILL"
    assert found["acme/slow"]["kind"] == "timed_out"
    assert done.json["steps"][1]["status"] == "pending"
    assert len(done.json["failures"]) == 3


def test_failures_are_told_in_words_with_exit_code_and_last_lines(scene: Scene) -> None:
    _mixed(scene)
    done = _ended(scene.tako("exec", "release", "--quiet", cwd=scene.library(FAN_OUT)), 1)
    assert done.stdout == ""
    assert "acme/bad check, step step-1: exit code 3" in done.stderr
    assert "last words" in done.stderr
    assert "acme/good" not in done.stderr


def test_ignored_failures_let_the_workflow_go_on(scene: Scene) -> None:
    _mixed(scene)
    checkout = scene.library(fan_out(on_child_failure="ignore"), "true")
    done = _ended(scene.tako(*EXEC, "--jobs", "2", cwd=checkout), 0)
    assert [step["status"] for step in done.json["steps"]] == ["succeeded", "succeeded"]
    assert done.json["steps"][0]["fan_out"]["failed"] == 2


def test_fail_fast_ends_the_others(scene: Scene) -> None:
    box = scene.mailbox()
    scene.subscriber("acme/a-sleeps", f"echo $$ >{box.path}\nexec sleep 600")
    scene.subscriber("acme/b-fails", f"read line <{box.path}\nexit 1")
    scene.subscriber("acme/c-waits", "sleep 600")
    checkout = scene.library(fan_out(on_child_failure="fail_fast"))
    since = time.monotonic()
    done = _ended(scene.tako(*EXEC, "--jobs", "2", cwd=checkout), 1)
    assert time.monotonic() - since < 60
    statuses = {name: child["status"] for name, child in children(done.json).items()}
    assert statuses == {"acme/a-sleeps": "cancelled", "acme/b-fails": "failed", "acme/c-waits": "cancelled"}


@pytest.mark.measured
def test_the_timeout_of_a_fan_out_ends_its_children(scene: Scene) -> None:
    scene.subscriber("acme/quick", "true")
    scene.subscriber("acme/slow", "sleep 600")
    scene.subscriber("acme/waiting", "sleep 600")
    done = _ended(scene.tako(*EXEC, "--jobs", "1", cwd=scene.library(fan_out(timeout="4s"))), 124)
    assert done.json["steps"][0]["status"] == "timed_out"
    statuses = {name: child["status"] for name, child in children(done.json).items()}
    assert statuses == {"acme/quick": "succeeded", "acme/slow": "timed_out", "acme/waiting": "timed_out"}


@pytest.mark.parametrize("where", ["step", "fan-out"])
def test_the_timeout_of_the_roots_workflow_is_exit_code_124(scene: Scene, where: str) -> None:
    scene.subscriber("acme/slow", "sleep 600")
    step = "sleep 600" if where == "step" else FAN_OUT
    done = _ended(scene.tako(*EXEC, cwd=scene.library(step, timeout="700ms")), 124)
    assert (done.json["status"], done.json["exit_code"]) == ("timed_out", 124)
    assert done.json["duration_s"] > 0


def test_the_timeout_of_a_childs_workflow_fails_only_that_child(scene: Scene) -> None:
    scene.subscriber("acme/slow", "sleep 600", timeout="300ms")
    scene.subscriber("acme/good", "true")
    done = _ended(scene.tako(*EXEC, cwd=scene.library(FAN_OUT)), 1)
    assert {name: child["status"] for name, child in children(done.json).items()} == {
        "acme/slow": "timed_out",
        "acme/good": "succeeded",
    }


# --- events, inputs, artifacts ---


def test_payloads_are_templates_and_reach_grandchildren(scene: Scene) -> None:
    produced = {"produces": {"outputs": {"version": "from_stdout"}}}
    payload = {"version": "{{ .steps.build.outputs.version }}", "deep": {"list": ["{{ .inputs.who }}", 7]}}
    given = {"version": "{{ .event.payload.version }}", "who": "{{ .event.payload.deep.list[0] }}"}
    inputs = {"version": {"type": "string"}, "who": {"type": "string"}}
    middle = workflow(
        fan_out(payload={"version": "{{ .inputs.version }}", "deep": {"list": ["{{ .inputs.who }}!"]}}),
        inputs=inputs,
    )
    scene.checkout("acme/middle", {"tako.yml": tako_yml({"check": middle}, [subscription(inputs=given)])})
    leaf = workflow(
        'printf "%s %s" "$VERSION" "$WHO"',
        inputs=inputs,
        env={"VERSION": "{{ .inputs.version }}", "WHO": "{{ .inputs.who }}"},
    )
    leaf["steps"][0]["produces"] = {"outputs": {"all": "from_stdout"}}
    scene.checkout(
        "acme/leaf", {"tako.yml": tako_yml({"check": leaf}, [subscription("acme/middle", inputs=given)])}
    )
    checkout = scene.library(
        {"id": "build", "run": "echo 4.5.6", **produced},
        fan_out(payload=payload),
        inputs={"who": {"type": "string"}},
    )
    done = _ended(scene.tako(*EXEC, "--inputs.who=Ada & 'Bob'", cwd=checkout), 0)
    found = children(children(done.json)["acme/middle"])["acme/leaf"]
    assert found["outputs"] == {"all": "4.5.6 Ada & 'Bob'!"}


def test_artifacts_travel_both_ways_with_their_hashes(scene: Scene) -> None:
    build = {
        "id": "build",
        "run": "mkdir dist; printf wheel >dist/lib.whl",
        "produces": {"artifact": "lib", "artifacts": ["dist/*.whl"]},
    }
    back = {
        "id": "back",
        "run": 'cat "$TAKO_ARTIFACTS/lib/dist/lib.whl" >report.txt; printf !! >>report.txt',
        "produces": {"artifact": "report", "artifacts": {"report": "report.txt"}},
    }
    config = tako_yml(
        {"check": workflow(back)},
        [{**subscription(), "artifact": "acme/lib:lib"}],
        artifacts={"report": {"path": "."}},
    )
    scene.checkout("acme/web", {"tako.yml": config})
    release = workflow(build, FAN_OUT, 'cat "$TAKO_CHILDREN/acme/web/report/report.txt"', on="exec")
    checkout = scene.git_repo(
        "acme/lib", {"tako.yml": tako_yml({"release": release}, artifacts={"lib": {"path": "."}})}
    )
    done = _ended(scene.tako(*EXEC, cwd=checkout), 0)
    [file] = done.json["steps"][0]["artifacts"]["lib"]
    assert file == {"path": "dist/lib.whl", "sha256": hashlib.sha256(b"wheel").hexdigest(), "size": 5}
    [file] = children(done.json)["acme/web"]["steps"][0]["artifacts"]["report"]
    assert file["sha256"] == hashlib.sha256(b"wheel!!").hexdigest()
    assert scene.tako("logs", "", "step-3").stdout == "wheel!!\n"


def test_a_directory_travels_whole_and_what_does_not_is_told(scene: Scene) -> None:
    build = {
        "id": "build",
        "run": "mkdir -p dist/.meta dist/empty; echo so >dist/lib.so.1; ln -s lib.so.1 dist/lib.so\n"
        "echo dot >dist/.meta/dot; mkfifo dist/pipe; ln -s /etc/hostname dist/out",
        "produces": {"artifact": "lib", "artifacts": ["dist/"]},
    }
    look = 'cd "$TAKO_ARTIFACTS/lib/dist"; cat lib.so .meta/dot; readlink lib.so; ls -A'
    config = tako_yml({"check": workflow(look)}, [{**subscription(), "artifact": "acme/lib:lib"}])
    scene.checkout("acme/web", {"tako.yml": config})
    release = workflow(build, FAN_OUT, on="exec")
    checkout = scene.git_repo(
        "acme/lib", {"tako.yml": tako_yml({"release": release}, artifacts={"lib": {"path": "."}})}
    )
    done = _ended(scene.tako(*EXEC, cwd=checkout), 0)
    assert done.json["steps"][0]["artifact_details"]["lib"] == {
        "links": {"dist/lib.so": "lib.so.1"},
        "empty_directories": ["dist/empty"],
        "left_out": [
            {"path": "dist/out", "reason": "is a link with an absolute target"},
            {"path": "dist/pipe", "reason": "is a FIFO"},
        ],
    }
    said = scene.tako("logs", "", "build").stdout
    assert "tako: artifact lib: left out: 'dist/pipe' is a FIFO\n" in said
    child = children(done.json)["acme/web"]["run_id"]
    log = scene.tako("logs", child, "step-1").stdout
    assert log == "so\ndot\nlib.so.1\n.meta\nempty\nlib.so\nlib.so.1\n"


def test_outputs_of_children_are_the_fan_outs_outputs(scene: Scene) -> None:
    scene.subscriber("acme/web", 'echo "url=https://example.org/1" >>"$TAKO_OUTPUT"')
    template = '{{ .steps.dependents.outputs["acme/web"].url }}'
    checkout = scene.library(FAN_OUT, {"id": "use", "run": 'echo "$URL"', "env": {"URL": template}})
    _ended(scene.tako(*EXEC, cwd=checkout), 0)
    assert scene.tako("logs", "", "use").stdout == "https://example.org/1\n"


@pytest.mark.measured
def test_filters_and_versions_choose_who_runs_and_say_why_not(scene: Scene) -> None:
    scene.subscriber("acme/any", "true")
    scene.subscriber(
        "acme/major-1", "true", subscribed={"filters": ["semver.major(event.payload.version) == 1"]}
    )
    scene.subscriber(
        "acme/major-2", "true", subscribed={"filters": ["semver.major(event.payload.version) == 2"]}
    )
    scene.subscriber("acme/missing", "true", subscribed={"filters": ["event.payload.nothing == 1"]})
    scene.subscriber("acme/old", "true", subscribed={"schema_version": "(1.1.0...2.0.0]"})
    done = _ended(scene.tako(*EXEC, cwd=scene.library(fan_out(schema_version="1.1.0"))), 0)
    fan_out_result = done.json["steps"][0]["fan_out"]
    assert sorted(children(done.json)) == ["acme/any", "acme/major-1"]
    reasons = {entry["repository"]: entry["reason"] for entry in fan_out_result["filtered_out"]}
    assert sorted(reasons) == ["acme/major-2", "acme/missing", "acme/old"]
    assert "nothing" in reasons["acme/missing"]
    assert "1.1.0" in reasons["acme/old"]


def test_an_event_that_nobody_wants_is_a_warning(scene: Scene) -> None:
    done = _ended(scene.tako("exec", "release", cwd=scene.library(FAN_OUT)), 0)
    assert "nobody subscribes to built of acme/lib:default" in done.stderr


# --- children that cannot run ---


def test_a_circle_is_that_childs_failure(scene: Scene) -> None:
    scene.subscriber("acme/other", "true", FAN_OUT)
    back = tako_yml(
        {"release": workflow("true", FAN_OUT, on=["exec", "event"])}, [subscription("acme/other", "release")]
    )
    scene.checkout("acme/lib", {"tako.yml": back})
    checkout = scene.git_repo("acme/lib", {"tako.yml": back})
    done = _ended(scene.tako(*EXEC, cwd=checkout), 1)
    error = errors(children(done.json)["acme/other"])["acme/lib"]
    assert "circle" in error["message"]
    assert "acme/lib release → acme/other check → acme/lib release" in error["message"]


def test_a_subscriber_with_a_broken_config_is_reported_and_the_others_run(scene: Scene) -> None:
    scene.checkout("acme/broken", {"tako.yml": 'version: 0.1.0\nsubscriptions: ["acme/lib:default", {]\n'})
    scene.checkout(
        "acme/wrong", {"tako.yml": tako_yml({"check": workflow("true")}, [subscription(name="chekc")])}
    )
    scene.subscriber("acme/good", "true")
    done = _ended(scene.tako(*EXEC, cwd=scene.library(FAN_OUT)), 1)
    found = errors(done.json)
    assert found["acme/broken"]["kind"] == "config_invalid"
    assert "acme/broken:main/tako.yml:2:" in found["acme/broken"]["message"]
    assert "check" in found["acme/wrong"]["message"]
    assert children(done.json)["acme/good"]["status"] == "succeeded"


def test_missing_and_wrong_inputs_are_only_that_childs_errors(scene: Scene) -> None:
    needs = {"version": {"type": "string", "required": True}}
    number = {"version": {"type": "integer"}}
    given = {"inputs": {"version": "{{ .event.payload.version }}"}}
    scene.subscriber("acme/missing", "true", inputs=needs)
    scene.subscriber("acme/wrong", "true", subscribed=given, inputs=number)
    scene.subscriber("acme/good", "true", subscribed=given, inputs=needs)
    done = _ended(scene.tako(*EXEC, cwd=scene.library(FAN_OUT)), 1)
    found = errors(done.json)
    assert {name: error["kind"] for name, error in found.items()} == {
        "acme/missing": "inputs_invalid",
        "acme/wrong": "inputs_invalid",
    }
    assert "version" in found["acme/missing"]["message"]
    assert children(done.json)["acme/good"]["status"] == "succeeded"


def test_a_repository_that_vanishes_after_planning_still_runs_from_its_snapshot(scene: Scene) -> None:
    box, go = scene.mailbox(), scene.mailbox("go")
    scene.subscriber("acme/a-first", f"echo $$ >{box.path}\nread line <{go.path}")
    gone = scene.subscriber("acme/b-gone", "cat file.txt", files={"file.txt": "still here\n"})
    checkout = scene.library(FAN_OUT)
    with scene.tako.started(*EXEC, "--jobs", "1", cwd=checkout) as process:
        box.line()
        shutil.rmtree(gone)
        go.path.write_text("go\n")
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    child = children(json.loads(stdout))["acme/b-gone"]
    assert scene.tako("logs", child["run_id"]).stdout == "still here\n"


def test_a_repository_that_vanishes_before_the_fan_out_is_not_a_subscriber(scene: Scene) -> None:
    gone = scene.subscriber("acme/gone", "true")
    scene.subscriber("acme/good", "true")
    done = _ended(scene.tako(*EXEC, cwd=scene.library(f"rm -r {gone}", FAN_OUT)), 0)
    assert sorted(children(done.json)) == ["acme/good"]


def test_workspaces_of_what_succeeded_are_gone_and_of_what_failed_are_kept(scene: Scene) -> None:
    scene.settings("isolation: process\n")
    scene.subscriber("acme/bad", "echo mine >evidence.txt; exit 1")
    scene.subscriber("acme/good", "true")
    done = _ended(scene.tako(*EXEC, cwd=scene.library(FAN_OUT)), 1)
    [run] = scene.runs()
    directories = {name: run / "children" / child["run_id"] for name, child in children(done.json).items()}
    assert not (directories["acme/good"] / "work").exists()
    assert (directories["acme/bad"] / "work" / "repo" / "evidence.txt").read_text() == "mine\n"


def test_a_child_cannot_change_what_its_sibling_or_a_later_run_sees(scene: Scene, tmp_path: Path) -> None:
    script = 'test "$(cat shared.txt)" = clean; echo dirty >shared.txt; cat shared.txt'
    source = scene.subscriber("acme/web", script, files={"shared.txt": "clean\n"})
    checkout = scene.library(FAN_OUT)
    for _ in range(2):
        _ended(scene.tako(*EXEC, cwd=checkout), 0)
    assert (source / "shared.txt").read_text() == "clean\n"
