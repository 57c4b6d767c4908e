"""A disk that fills up: who fills it fails, the others go on; else exit code 4, and journals that say so.

`TAKO_HOME` lies on a small tmpfs in a mount namespace of the test's own; what is looked at afterwards
is copied out of it by the same shell.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.support.runner import Finished, command
from tests.support.scenes import FAN_OUT, Scene, records
from tests.support.users import UNSHARE_MOUNTS, can_mount

_SIZE = "8m"
_FILL = "head -c 64M /dev/zero >big 2>/dev/null || true"

pytestmark = pytest.mark.skipif(not can_mount(), reason="no mount namespaces for this user here")


def _exec(scene: Scene, checkout: Path, *more: str) -> tuple[Finished, Path]:
    """Run `tako exec` on a small disk; gives how it ended and a copy of its `TAKO_HOME`."""
    home, copy = scene.tako.home, scene.directory / "copy"
    tako = shlex.join(command())
    lines = [
        f"cp -r {home} {copy}",
        f"mount -t tmpfs -o size={_SIZE} tmpfs {home}",
        f"cp -r {copy}/. {home}; rm -r {copy}",
        f"cd {checkout}; code=0; {tako} exec release {shlex.join(more)} || code=$?",
        f"cd /; mkdir {copy}; cd {home}",
        "find . -name work -prune -o -name snapshots -prune -o -type f -print >/dev/shm/names.$$",
        f"tar -cf - -T /dev/shm/names.$$ | tar -xf - -C {copy}; rm /dev/shm/names.$$",
        "exit $code",
    ]
    return scene.unshared(UNSHARE_MOUNTS, *lines), copy


def _runs(copy: Path) -> dict[str, list[dict[str, object]]]:
    """The journals by repository."""
    found = {}
    for journal in copy.rglob("journal.jsonl"):
        whole = records(journal.parent)
        found[str(whole[0]["repository"])] = whole
    return found


def _last(run: list[dict[str, object]], kind: str) -> dict[str, object]:
    return [record for record in run if record["kind"] == kind][-1]


def test_a_log_that_fills_the_disk_fails_its_own_run(scene: Scene) -> None:
    scene.subscriber("acme/loud", "head -c 64M /dev/zero")
    checkout = scene.library(FAN_OUT)
    done, copy = _exec(scene, checkout, "--jobs", "2")
    assert done.code == 1, done.stderr
    runs = _runs(copy)
    assert _last(runs["acme/loud"], "StepFinished")["limit"] == "min_free"
    assert _last(runs["acme/loud"], "RunFinished")["status"] == "failed"
    assert '"limit_exceeded"' in json.dumps(_last(runs["acme/lib"], "ChildFinished"))
    assert _last(runs["acme/lib"], "RunSettled")["exit_code"] == 1


def test_a_workspace_that_fills_the_disk_hurts_no_siblings_journal(scene: Scene) -> None:
    box = scene.mailbox()
    scene.subscriber("acme/a-waits", f"echo waits >{box.path}; read line <{scene.directory}/go; echo awake")
    go = scene.mailbox("go")
    scene.subscriber("acme/b-fills", f"read line <{box.path}; {_FILL}\nsleep 600")
    scene.subscriber("acme/c-wakes", f"echo go >{go.path}")
    done, copy = _exec(scene, scene.library(FAN_OUT), "--jobs", "2")
    assert done.code == 1, done.stderr
    runs = _runs(copy)
    assert _last(runs["acme/a-waits"], "RunFinished")["status"] == "succeeded"
    assert _last(runs["acme/b-fills"], "StepFinished")["limit"] == "min_free"
    assert _last(runs["acme/lib"], "RunSettled")["exit_code"] == 1


def test_a_step_that_fails_because_the_disk_is_full_is_a_failed_step(scene: Scene) -> None:
    """What the step writes is its own affair: nothing of tako's was lost."""
    scene.subscriber("acme/fills", "head -c 64M /dev/zero >big")
    done, copy = _exec(scene, scene.library(FAN_OUT))
    assert done.code in {1, 4}, done.stderr
    runs = _runs(copy)
    assert _last(runs["acme/fills"], "RunFinished")["status"] == "failed"
    assert _last(runs["acme/lib"], "RunSettled")["exit_code"] == done.code


def test_a_disk_filled_by_the_roots_own_step_stops_the_run_and_its_journal_says_so(scene: Scene) -> None:
    for number in range(40):
        scene.subscriber(f"acme/child-{number}", "true")
    fill = f"head -c 64M /dev/zero >{scene.tako.home}/work 2>/dev/null || true"
    done, copy = _exec(scene, scene.library(fill, FAN_OUT))
    assert done.code == 4, done.stderr
    assert "no space left" in done.stderr
    run = _runs(copy)["acme/lib"]
    assert _last(run, "RunSettled")["exit_code"] == 4


def test_a_disk_that_is_full_from_the_start_is_exit_code_4(scene: Scene) -> None:
    scene.tako.home.mkdir()
    (scene.tako.home / "ballast").write_bytes(bytes(8 * 1024 * 1024 - 65536))
    done, _ = _exec(scene, scene.library("echo never"))
    assert done.code == 4, done.stderr
    assert "no space left" in done.stderr.lower()
    assert "Traceback" not in done.stderr


def test_a_snapshot_that_does_not_fit_stops_the_run(scene: Scene) -> None:
    scene.subscriber("acme/large", "true", files={"large.bin": bytes(6 * 1024 * 1024)})
    scene.subscriber("acme/small", "true")
    done, copy = _exec(scene, scene.library(FAN_OUT))
    assert done.code == 4, done.stderr
    assert "no space left" in done.stderr
    assert _last(_runs(copy)["acme/lib"], "RunSettled")["exit_code"] == 4


_SLOWLY = "i=0; while :; do i=$((i+1)); head -c 100000 /dev/zero >{}; sleep 0.02; done"


@pytest.mark.parametrize(
    "fills",
    [
        pytest.param(_SLOWLY.format("f$i"), marks=pytest.mark.measured),
        # What was written before is removed while it is open.
        "exec 3>f; rm f; i=0; while :; do head -c 100000 /dev/zero >&3; sleep 0.02; done",
    ],
)
def test_the_greediest_child_makes_room_and_the_others_go_on(scene: Scene, fills: str) -> None:
    go = scene.mailbox("go")
    scene.settings("isolation: process\nmin_free: 4Mi\n")
    scene.subscriber("acme/greedy", fills)
    scene.subscriber("acme/modest", f"head -c 200000 /dev/zero >mine; read line <{go.path}; ls mine")
    scene.subscriber("acme/next", f"echo go >{go.path}")
    done, copy = _exec(scene, scene.library(FAN_OUT), "--jobs", "2")
    assert done.code == 1, done.stderr
    runs = _runs(copy)
    finished = _last(runs["acme/greedy"], "StepFinished")
    assert (finished["status"], finished["limit"], finished["limit_value"]) == ("failed", "min_free", 4 << 20)
    assert str(finished["message"]).startswith(
        "stopped because the disk had less free than min_free, 4.0 MiB"
    )
    assert _last(runs["acme/greedy"], "RunFinished")["error_kind"] == "limit_exceeded"
    for name in ("acme/modest", "acme/next"):
        assert _last(runs[name], "RunFinished")["status"] == "succeeded"
    ended = [record for record in runs["acme/lib"] if record["kind"] == "ChildFinished"]
    assert sum('"limit_exceeded"' in json.dumps(record) for record in ended) == 1


@pytest.mark.measured
def test_nothing_starts_below_the_reserve_and_the_run_says_so(scene: Scene) -> None:
    scene.settings("min_free: 80%\n")
    scene.subscriber("acme/app", "true")
    scene.tako.home.mkdir(exist_ok=True)
    (scene.tako.home / "ballast").write_bytes(bytes(3 << 20))
    done, copy = _exec(scene, scene.library("echo mine", FAN_OUT))
    assert done.code == 4, done.stderr
    assert "less than min_free, 6.4 MiB, and nothing runs that could make room" in done.stderr
    runs = _runs(copy)
    assert _last(runs["acme/lib"], "RunSettled")["exit_code"] == 4
    assert "acme/app" not in runs


def test_a_run_of_ones_own_is_not_held_up_by_the_reserve(scene: Scene) -> None:
    scene.settings("min_free: 90%\n")
    scene.tako.home.mkdir(exist_ok=True)
    (scene.tako.home / "ballast").write_bytes(bytes(2 << 20))
    done, _ = _exec(scene, scene.library("echo mine"))
    assert done.code == 0, done.stderr
