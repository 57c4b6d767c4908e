"""Secrets go to the steps that name them, and nowhere else."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tako.sandbox.policy import NAMESPACE
from tests.support.isolations import need
from tests.support.runner import GENEROUS_S, Finished
from tests.support.scenes import FAN_OUT, Scene, children, errors, fan_out, records, tako_yml, workflow
from tests.support.search import occurrences

pytestmark = pytest.mark.forked

VALUES = {
    "plain": "ghp_Zq+9/x~Q'81 \"$Kd",
    "multi-line": "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA7bq\nZW5kIG9mIHRoZSBrZXk=+/\n-----END KEY-----\n",
    "short": "Z9Q",
    "long": "".join(f"{number:x}-Zk" for number in range(60)),
    "unicode": "pässwörd-ünd-nöch-mehr",
}
VALUE = "value-of-it"
# Every way out that a step has, by accident or to be helpful.
TELLS = r"""
printf '%s\n' "$TOKEN"
printf '%s\n' "$TOKEN" >&2
printf %s "$TOKEN" | dd bs=1 2>/dev/null; echo
printf %s "$TOKEN" | base64
printf '%s\n' "$TOKEN" | base64
printf %s "$TOKEN" | base64 -w 64
for user in '' u us usr; do printf '%s%s' "$user" "$TOKEN" | base64 -w 0; echo; done
printf %s "$TOKEN" | base64 -w 0 | tr +/ -_; echo
python3 -c '
import json, os, urllib.parse
token = os.environ["TOKEN"]
for text in (urllib.parse.quote(token), urllib.parse.quote_plus(token), json.dumps(token), repr(token)):
    print(text)
'
env
set -x
: "$TOKEN" "again: $TOKEN"
set +x
printf 'told=%s\n' "$TOKEN" >> "$TAKO_OUTPUT"
printf 'PASSED=%s\n' "$TOKEN" >> "$TAKO_ENV"
printf %s "$TOKEN" > token-file
printf 'last line: %s' "$TOKEN"
"""
PRODUCES = {
    "outputs": {
        "file": "from_file:token-file",
        "exported": "from_env:PASSED",
        "last": "last line: (.*)",
        "built": "<{{ .outputs.told }}{{ .outputs.file }}>",
        "errors": "from_stderr",
    }
}
PAYLOAD = {"token": "{{ .steps.tell.outputs.file }}", "all": "{{ .steps.tell.outputs.built }}"}


def _tells(**keys: object) -> dict[str, Any]:
    return {"id": "tell", "run": TELLS, "secrets": ["TOKEN"], "produces": PRODUCES, **keys}


def _run(scene: Scene, checkout: Path, *options: str, env: Mapping[str, str]) -> Finished:
    return scene.tako("exec", "release", *options, cwd=checkout, env=env)


def _everything_said(scene: Scene, result: Finished) -> list[str]:
    commands = (("status",), ("status", "--output", "json"), ("logs",), ("runs", "--output", "json"))
    said = [scene.tako(*words) for words in commands]
    return [result.stdout, result.stderr, *(text for one in said for text in (one.stdout, one.stderr))]


@pytest.mark.parametrize(
    ("kind", "output"), [*((kind, "text") for kind in VALUES), ("multi-line", "json"), ("unicode", "json")]
)
def test_a_secret_is_in_nothing_that_a_tree_of_runs_leaves_and_says(
    scene: Scene, kind: str, output: str
) -> None:
    value = VALUES[kind]
    again = {"id": "fail", "run": 'printf "%s\\n" "no $TOKEN" "$PASSED"; exit 3', "secrets": ["TOKEN"]}
    scene.subscriber("acme/app", _tells(), again)
    checkout = scene.library(_tells(), fan_out(payload=PAYLOAD))
    result = _run(scene, checkout, "--grant", "TOKEN=acme/app", "--output", output, env={"TOKEN": value})
    assert result.code == 1, result.stderr
    (run,) = scene.runs()
    assert occurrences(value, run, *_everything_said(scene, result)) == []
    told = scene.status()
    child = children(told)["acme/app"]
    for ran in (told, child):
        outputs = ran["steps"][0]["outputs"]
        assert outputs["file"] == outputs["last"] == outputs["exported"] == "***"
        assert outputs["built"] == "<******>"
    assert errors(told)["acme/app"]["last_lines"] == ["no ***", "***"]
    emitted = next(record for record in records(run) if record["kind"] == "EventEmitted")
    assert emitted["event"]["payload"] == {"token": "***", "all": "<******>"}
    log = (run / "logs" / "tell.log").read_text()
    assert log.count("***") >= 8
    assert "last line: ***\n" in log


def test_secrets_that_overlap_become_one_mask(scene: Scene) -> None:
    step = {"id": "tell", "run": 'echo "<$A${B#xyz}>"; echo "<$A$B>"', "secrets": ["A", "B"]}
    env = {"A": "abc-Def-xyz", "B": "xyz-Ghi-jkl"}
    result = _run(scene, scene.library(step), env=env)
    assert result.code == 0, result.stderr
    (run,) = scene.runs()
    assert (run / "logs" / "tell.log").read_text() == "<***>\n<***>\n"


def test_only_the_steps_that_name_a_secret_have_it(scene: Scene) -> None:
    none, all_of_them = "test -z ${ONE+set}${TWO+set}", 'test "$ONE$TWO" = "first second "'
    steps: list[dict[str, Any]] = [
        {"id": "one", "run": 'test "$ONE${TWO+set}" = "first "', "secrets": ["ONE"]},
        {"id": "neither", "run": none, "on_failure": [{"run": "true"}]},
        {"id": "fails", "run": "exit 9", "continue_on_error": True, "secrets": ["TWO"]},
        {"id": "both", "run": all_of_them, "secrets": ["ONE", "TWO"]},
    ]
    env = {"ONE": "first ", "TWO": "second "}
    in_place = _run(scene, scene.library(*steps), env=env)
    assert in_place.code == 0, in_place.stdout + in_place.stderr
    scene.checkout("acme/app", {"tako.yml": tako_yml({"w": workflow(*steps, on="exec")})})
    grants = ("--grant", "ONE=acme/app", "--grant", "TWO=acme/app")
    from_cache = scene.tako("exec", "w", "--repo", "acme/app", *grants, env=env)
    assert from_cache.code == 0, from_cache.stdout + from_cache.stderr


@pytest.mark.parametrize("isolation", ["process", "landlock", "namespace"])
def test_a_script_that_holds_a_secret_runs_and_is_kept_without_it(scene: Scene, isolation: str) -> None:
    need(isolation)
    holds = {"id": "holds", "run": f'test "$TOKEN" = {VALUE} && echo same', "secrets": ["TOKEN"]}
    fails = {
        "id": "fails", "run": f": {VALUE}; exit 3", "secrets": ["TOKEN"],
        "on_failure": [{"id": "cleanup", "run": f"echo cleaned; : {VALUE}"}],
    }  # fmt: skip
    scene.subscriber("acme/app", holds, fails)
    checkout = scene.library(holds, FAN_OUT)
    options = ("--grant", "TOKEN=acme/app", "--isolation", isolation)
    result = _run(scene, checkout, *options, env={"TOKEN": VALUE})
    assert result.code == 1, result.stderr
    (run,) = scene.runs()
    (child,) = (run / "children").iterdir()
    for directory in (run, child):
        assert occurrences(VALUE, directory) == []
        assert (directory / "logs" / "holds.log").read_text() == "same\n"
        assert "= *** && echo same" in (directory / "logs" / "holds.sh").read_text()
    assert (child / "logs" / "cleanup.log").read_text() == "cleaned\n"
    assert (child / "logs" / "cleanup.sh").read_text() == "echo cleaned; : ***"


def test_a_secret_of_a_workflow_is_one_of_all_its_steps(scene: Scene) -> None:
    on_failure = [{"id": "cleanup", "run": 'test "$TOKEN" = value-of-it && echo cleaned up'}]
    steps = ('test "$TOKEN" = value-of-it', {"id": "end", "run": "exit 4", "on_failure": on_failure})
    _run(scene, scene.library(*steps, secrets=["TOKEN"]), env={"TOKEN": VALUE})
    (run,) = scene.runs()
    assert (run / "logs" / "cleanup.log").read_text() == "cleaned up\n"


def test_a_step_cannot_replace_a_secret_through_the_environment(scene: Scene) -> None:
    steps = (
        "echo TOKEN=other >> $TAKO_ENV",
        {"id": "uses", "run": 'test "$TOKEN" = value-of-it', "secrets": ["TOKEN"], "env": {"TOKEN": "x"}},
    )
    assert _run(scene, scene.library(*steps), env={"TOKEN": VALUE}).code == 0


@pytest.mark.parametrize("value", [None, "", " \n"])
def test_a_secret_that_is_not_set_ends_it_before_anything_started(scene: Scene, value: str | None) -> None:
    checkout = scene.library("true", {"id": "publish", "run": "true", "secrets": ["NPM_TOKEN"]})
    result = _run(scene, checkout, env={} if value is None else {"NPM_TOKEN": value})
    assert result.code == 2
    assert (
        "the secret NPM_TOKEN, named by the tako.yml of this checkout, is empty or not set" in result.stderr
    )
    assert "export NPM_TOKEN" in result.stderr
    assert scene.runs() == []


def test_a_root_run_out_of_the_cache_needs_a_grant_as_a_child_does(scene: Scene) -> None:
    config = tako_yml({"w": workflow('test "$TOKEN" = value-of-it', on="exec", secrets=["TOKEN"])})
    scene.checkout("acme/app", {"tako.yml": config})
    env = {"TOKEN": VALUE}
    refused = scene.tako("exec", "w", "--repo", "acme/app", env=env)
    assert refused.code == 2
    assert "use --grant TOKEN=acme/app, or `secrets:` of config.yml" in refused.stderr
    assert scene.runs() == []
    assert scene.tako("exec", "w", "--repo", "acme/app", "--grant", "TOKEN=ACME/App", env=env).code == 0


def test_a_child_without_a_grant_fails_before_its_first_step_and_no_other(scene: Scene) -> None:
    needs = {"id": "needs", "run": 'test "$TOKEN" = value-of-it', "secrets": ["TOKEN"]}
    scene.subscriber("acme/app", "true", needs)
    scene.subscriber("acme/web", needs)
    scene.subscriber("acme/unset", {"run": "true", "secrets": ["OTHER"]})
    scene.settings("secrets: {TOKEN: [Acme/Web], OTHER: [acme/unset]}\n")
    result = _run(scene, scene.library(FAN_OUT), "--output", "json", env={"TOKEN": VALUE})
    assert result.code == 1
    assert children(result.json)["acme/web"]["status"] == "succeeded"
    found = errors(result.json)
    assert {name: error["kind"] for name, error in found.items()} == {
        "acme/app": "inputs_invalid",
        "acme/unset": "inputs_invalid",
    }
    assert found["acme/app"]["message"] == (
        "its tako.yml names the secret TOKEN, not granted to acme/app: use --grant TOKEN=acme/app,"
        " or `secrets:` of config.yml"
    )
    assert (
        "the secret OTHER, named by the tako.yml of acme/unset, is empty or not set"
        in (found["acme/unset"]["message"])
    )
    # Nothing of it was started.
    (run,) = scene.runs()
    assert len(list((run / "children").iterdir())) == 1


@pytest.mark.parametrize(
    ("grant", "why"),
    [
        ("TOKEN", "it names no repository"),
        ("=acme/app", "'' is not a name of an environment variable"),
        ("TOKEN=acme", "an owner and a name are needed"),
        ("TOKEN=acme/../app", "it leads out with '..'"),
        ("TAKO_HOME=acme/app", "names that start with TAKO_ are tako's own"),
        ("PATH=acme/app", "PATH cannot be a secret"),
    ],
)
def test_a_wrong_grant_is_told_with_what_is_expected(scene: Scene, grant: str, why: str) -> None:
    result = _run(scene, scene.library("true"), "--grant", grant, env={})
    assert result.code == 2
    assert f"--grant: expected NAME=owner/name, got {grant!r}: " in result.stderr
    assert why in result.stderr
    assert scene.runs() == []


def test_what_is_granted_to_another_repository_is_in_nobody_elses_environment(scene: Scene) -> None:
    looks = "test -z ${TOKEN+set} && ! env | grep -q value-of-it"
    scene.subscriber("acme/app", {"run": "true", "secrets": ["TOKEN"]})
    scene.subscriber("acme/web", looks)
    # Even where the user lists it for all children, a secret stays one.
    scene.settings("environment: [TOKEN]\nsecrets: {TOKEN: [acme/app]}\n")
    env = {"TOKEN": VALUE}
    result = _run(scene, scene.library(looks, FAN_OUT), "--output", "json", env=env)
    assert result.code == 0, result.stdout
    assert {child["status"] for child in children(result.json).values()} == {"succeeded"}


def test_no_program_that_tako_runs_for_itself_gets_a_secret(scene: Scene, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("git", "bwrap"):
        real = shutil.which(name)
        if real:
            (programs / name).write_text(f'#!/bin/sh\nenv >> {tmp_path}/seen\nexec {real} "$@"\n')
            (programs / name).chmod(0o755)
    scene.subscriber("acme/app", {"run": "true", "secrets": ["TOKEN"]})
    remote = scene.git_repo("acme/remote", {"tako.yml": tako_yml({"w": workflow("true")})})
    assert scene.tako("cache", "add", "acme/remote", "--from", str(remote)).code == 0
    env = {
        "TOKEN": VALUE,
        "MARK": "is-here",
        "PATH": os.pathsep.join([str(programs), scene.tako.environment["PATH"]]),
    }
    # Without a sandbox: bubblewrap itself carries the environment of its step.
    options = ("--grant", "TOKEN=acme/app", "--isolation", "process")
    result = _run(scene, scene.library(FAN_OUT), *options, env=env)
    assert result.code == 0, result.stderr
    seen = (tmp_path / "seen").read_text()
    assert "is-here" in seen
    assert VALUE not in seen


@pytest.mark.parametrize("held", ["$TOKEN", '`printf %s "$TOKEN" | base64`', "user:$TOKEN"])
def test_an_artifact_that_holds_a_secret_fails_the_step_and_is_not_kept(scene: Scene, held: str) -> None:
    step = {
        "id": "pack",
        "run": f'mkdir dist; head -c 3000000 /dev/zero > dist/a; printf %s "{held}" >> dist/a; : > dist/b',
        "secrets": ["TOKEN"],
        "produces": {"artifacts": {"default": ["dist/*"]}},
    }
    value = "value-of-it-0123"
    result = _run(scene, scene.library(step), env={"TOKEN": value})
    assert result.code == 1
    assert "artifact file 'dist/a' holds the value of a secret of this run" in result.stderr
    (run,) = scene.runs()
    assert occurrences(value, run, *_everything_said(scene, result)) == []
    assert [path for path in (run / "artifacts").rglob("*") if path.is_file()] == []


def test_an_artifact_named_by_a_secret_is_refused_without_naming_it(scene: Scene) -> None:
    step = {
        "id": "pack",
        "run": "mkdir dist; echo x > dist/$TOKEN.txt",
        "secrets": ["TOKEN"],
        "produces": {"artifacts": {"default": ["dist/*"]}},
    }
    result = _run(scene, scene.library(step), env={"TOKEN": VALUE})
    assert result.code == 1
    assert "artifact file 'dist/***.txt' has in its name the value of a secret" in result.stderr
    (run,) = scene.runs()
    assert occurrences(VALUE, run, *_everything_said(scene, result)) == []


def test_an_artifact_without_a_secret_is_kept_by_a_run_that_has_one(scene: Scene) -> None:
    step = {
        "id": "pack",
        "run": "mkdir dist; echo x > dist/a",
        "secrets": ["TOKEN"],
        "produces": {"artifacts": {"default": ["dist/*"]}},
    }
    assert _run(scene, scene.library(step), env={"TOKEN": VALUE}).code == 0
    (run,) = scene.runs()
    assert (run / "artifacts" / "default" / "dist" / "a").read_text() == "x\n"


def test_the_socket_of_the_ssh_agent_is_a_path_and_shown_as_such(scene: Scene) -> None:
    named = {"id": "named", "run": 'echo "agent at $SSH_AUTH_SOCK"', "secrets": ["SSH_AUTH_SOCK"]}
    result = _run(scene, scene.library(named, 'test "$SSH_AUTH_SOCK"'), env={"SSH_AUTH_SOCK": "/tmp/agent.1"})
    assert result.code == 0, result.stderr
    (run,) = scene.runs()
    assert (run / "logs" / "named.log").read_text() == "agent at /tmp/agent.1\n"


@pytest.mark.parametrize("way", ["workflow", "step", "file"])
def test_only_the_user_can_show_a_child_the_socket_of_an_agent(
    scene: Scene, tmp_path: Path, way: str
) -> None:
    need(NAMESPACE)
    path = tmp_path / "agent"
    looks = f"! test -S '{path}'"
    asks = {"env": {"SSH_AUTH_SOCK": str(path)}}
    step = {"id": "looks", "run": looks, **(asks if way == "step" else {})}
    first = f"echo 'SSH_AUTH_SOCK={path}' >> $TAKO_ENV" if way == "file" else "true"
    scene.subscriber("acme/app", first, step, **(asks if way == "workflow" else {}))
    granted = {"run": f"test \"$SSH_AUTH_SOCK\" = '{path}' && test -S '{path}'", "secrets": ["SSH_AUTH_SOCK"]}
    scene.subscriber("acme/web", granted)
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(os.path.relpath(path))
        result = _run(
            scene,
            scene.library(FAN_OUT),
            *("--output", "json", "--grant", "SSH_AUTH_SOCK=acme/web", "--isolation", NAMESPACE),
            env={"SSH_AUTH_SOCK": str(path)},
        )
    statuses = {name: child["status"] for name, child in children(result.json).items()}
    assert statuses == {"acme/app": "succeeded", "acme/web": "succeeded"}, result.stdout


# Tries, as a hostile step would, to read what /proc gives of all processes below the one it is told.
SPY = r"""
import json, os, sys
with open(sys.argv[1]) as fifo:
    top = fifo.readline().strip()
parents = {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        parents[pid] = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1]
    except OSError:
        pass
own = str(os.getpid())
steps = {own, parents[own]}
def below(pid):
    while pid not in (top, "0", "1", None):
        pid = parents.get(pid)
    return pid == top
told = []
for pid in sorted(parents, key=int):
    if pid in steps or not below(pid):
        continue
    seen = {"words": open(f"/proc/{pid}/cmdline").read().replace("\0", " ")}
    for name in ("environ", "mem", "maps", "auxv"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                seen[name] = file.read().decode("latin-1") if name == "environ" else "opened"
        except PermissionError:
            seen[name] = "refused"
    told.append(seen)
print(json.dumps(told))
"""


def test_a_step_reads_no_secret_of_others_out_of_takos_own_processes(scene: Scene) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every process; this runs as an ordinary user")
    box = scene.mailbox()
    spy = {
        "id": "spy",
        "run": f"python3 spy.py {box.path}",
        "produces": {"outputs": {"told": "from_stdout"}},
    }
    scene.subscriber("acme/app", {"run": "true", "secrets": ["TOKEN"]})
    scene.subscriber("acme/web", spy, files={"spy.py": SPY})
    scene.settings("isolation: process\nsecrets: {TOKEN: [acme/app]}\n")
    words = ("exec", "release", "--output", "json", "--jobs", "1")
    with scene.tako.started(*words, cwd=scene.library(FAN_OUT), env={"TOKEN": VALUE}) as process:
        with box.path.open("w") as fifo:
            fifo.write(f"{process.pid}\n")
        stdout, stderr = process.communicate(timeout=GENEROUS_S)
    assert process.returncode == 0, stderr
    seen = json.loads(children(json.loads(stdout))["acme/web"]["outputs"]["told"])
    assert VALUE not in json.dumps(seen)
    # Only CPython's tracker of semaphores, which is told nothing, can be read.
    closed = [one for one in seen if "resource_tracker" not in one["words"]]
    assert [{one[name] for name in ("environ", "mem", "maps", "auxv")} for one in closed] == (
        [{"refused"}] * len(closed)
    )
    # Warden, root, forkserver and the spy's own worker; a cell made ahead may be there too.
    assert len(closed) >= 4, seen
    assert sum("forkserver" in one["words"] for one in closed) >= 1
