"""What steps see, may write, and leave behind at every isolation level."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tako.config.schema import Produces, Step, Workflow
from tako.journal.log import Writer
from tako.journal.records import FanOutPlanned, SandboxEntered, StepFinished
from tako.sandbox.policy import LANDLOCK, NAMESPACE, PROCESS, Mount
from tako.values import evolve
from tests.support.isolations import LEVELS, isolation
from tests.support.records import T0, event
from tests.support.segments import Ran, run, run_spec

every_level = pytest.mark.parametrize("level", LEVELS)
hiding_level = pytest.mark.parametrize("level", [LANDLOCK, NAMESPACE])
FAN_OUT = Step(id="fan", uses="tako/fan-out@v1", with_={"event_type": "built"})


def _run(directory: Path, level: str, *steps: Step | str, **changes: Any) -> Ran:  # noqa: ANN401 - fields of a spec
    return run(run_spec(directory, *steps, isolation=isolation(level), **changes))


def _lines(ran: Ran, step: str = "step-1") -> list[str]:
    assert ran.end.status == "succeeded", (ran.end.message, ran.log(step))
    return ran.log(step).splitlines()


@every_level
def test_a_step_has_a_home_a_temporary_directory_and_shared_memory_it_can_write(
    tmp_path: Path, level: str
) -> None:
    script = 'for d in "$HOME" "$TMPDIR" "$TAKO_WORKSPACE/tmp" . ; do echo x > $d/file && cat $d/file; done'
    ran = _run(tmp_path, level, script, 'cat "$HOME/file" "$TMPDIR/file" file')
    assert (_lines(ran), _lines(ran, "step-2")) == (["x"] * 4, ["x"] * 3)


@hiding_level
def test_shared_memory_is_the_runs_own(tmp_path: Path, level: str) -> None:
    ran = _run(tmp_path, level, "ls -A /dev/shm; echo x > /dev/shm/file", "cat /dev/shm/file")
    assert (_lines(ran), _lines(ran, "step-2")) == ([], ["x"])
    assert not Path("/dev/shm/file").exists()


@every_level
def test_the_snapshot_is_never_written_and_the_steps_see_each_others_changes(
    tmp_path: Path, level: str
) -> None:
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    (source / "kept").write_text("kept\n")
    (source / "below" / "gone").write_text("gone\n")
    first = "echo more >> kept; rm -r below; mkdir below; echo new > below/new"
    ran = _run(tmp_path, level, first, "cat kept below/new; ls below")
    assert _lines(ran, "step-2") == ["kept", "more", "new", "new"]
    assert ((source / "kept").read_text(), os.listdir(source / "below")) == ("kept\n", ["gone"])


@every_level
def test_outputs_and_artifacts_are_read_from_what_the_steps_see(tmp_path: Path, level: str) -> None:
    produces = Produces(
        artifact="wheel",
        artifacts={"wheel": ("dist/*",)},
        outputs={"v": "from_file:version", "o": "from_stdout"},
    )
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "version").write_text("1\n")
    step = Step(id="a", run="mkdir dist; cp version dist/w; echo 2 > version; echo said", produces=produces)
    ran = _run(tmp_path, level, step)
    assert ran.outputs("a") == {"v": "2", "o": "said"}
    assert (ran.spec.paths.artifacts / "wheel" / "dist" / "w").read_text() == "1\n"


@every_level
def test_after_a_fan_out_the_workspace_is_as_it_was(tmp_path: Path, level: str) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("old\n")
    spec = run_spec(
        tmp_path, "echo new > file; mkdir made", FAN_OUT, "cat file; ls -d made", isolation=isolation(level)
    )
    assert run(spec).end.kind == "fan_out"
    with Writer(spec.paths.journal) as journal:
        journal.append(FanOutPlanned(T0, "fan", 0, 0))
        journal.append(StepFinished(T0, "fan", 1, "succeeded"))
    assert _lines(run(spec, number=1), "step-3") == ["new", "made"]


@every_level
def test_a_workspace_goes_whatever_its_steps_made_of_it(tmp_path: Path, level: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    deep = "d=.; for i in $(seq 300); do mkdir -p deep && cd deep; done"
    script = f"mkdir -p a/b && touch a/b/c && chmod 000 a/b a; ln -s {outside} link; mkfifo fifo; {deep}"
    ran = _run(tmp_path, level, script)
    assert ran.end.status == "succeeded"
    assert sorted(path.name for path in ran.spec.directory.iterdir()) == ["journal.jsonl", "logs"]
    assert (outside / "precious").exists()


@hiding_level
def test_the_mount_of_the_workspace_names_no_directory_of_the_machine(tmp_path: Path, level: str) -> None:
    if not isolation(level).overlays:
        pytest.skip("overlays do not work here")
    options = [line.split(" - ")[1] for line in _lines(_run(tmp_path, level, "cat /proc/self/mountinfo"))]
    overlays = [line for line in options if line.startswith("overlay overlay ")]
    assert [line for line in overlays if "upperdir=/proc/self/fd/" in line]
    assert not [line for line in overlays if tmp_path.name in line]


@every_level
def test_a_variable_that_no_program_can_be_given_fails_its_step_alone(tmp_path: Path, level: str) -> None:
    """Not the sandbox, which nobody could mend."""
    large = Step(id="a", run="true", env={"LARGE": "x" * (1 << 22)}, continue_on_error=True)
    ran = _run(tmp_path, level, large, Step(id="b", run="echo on"))
    assert ran.step("a").message.startswith("its variable LARGE has 4.0 MiB, and a program takes ")
    assert _lines(ran, "b") == ["on"]


@every_level
def test_the_journal_says_what_was_enforced(tmp_path: Path, level: str) -> None:
    ran = _run(tmp_path, level, "true")
    entered = ran.state.sandbox
    assert isinstance(entered, SandboxEntered)
    assert entered.level == level
    assert ("seccomp filter" in entered.enforced) == (level != PROCESS)


@every_level
def test_a_step_out_of_time_gets_the_polite_request_inside_its_sandbox(tmp_path: Path, level: str) -> None:
    step = Step(id="a", run="trap 'echo ending; exit 7' TERM; sleep 600 & wait", timeout_s=1.0)
    finished = _run(tmp_path, level, step).step("a")
    assert (finished.status, finished.exit_code, finished.last_lines) == ("timed_out", 7, ("ending",))


@every_level
def test_daemons_end_with_their_step(tmp_path: Path, level: str) -> None:
    ran = _run(tmp_path, level, "setsid sh -c 'trap \"\" TERM HUP; sleep 600' > /dev/null 2>&1 & echo on")
    assert _lines(ran) == ["on"]


@hiding_level
def test_what_is_not_listed_is_not_there(tmp_path: Path, level: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    script = f"for f in {secret} /etc/shadow {tmp_path}/source; do cat $f 2>/dev/null && echo $f; done; true"
    assert _lines(_run(tmp_path, level, script)) == []
    assert _run(tmp_path, level, f"echo x > {secret}", number=2).end.status == "failed"
    assert secret.read_text() == "secret"


@hiding_level
def test_what_the_run_received_and_its_script_are_read_only(tmp_path: Path, level: str) -> None:
    received = tmp_path / "received"
    (received / "wheel").mkdir(parents=True)
    (received / "wheel" / "w").write_text("w\n")
    tries = 'w=$TAKO_ARTIFACTS/wheel/w; echo x > "$w"; touch "$TAKO_CHILDREN/x"; echo true > "$0"; cat "$w"'
    ran = _run(tmp_path, level, f"set +e; {tries}", received_from=received, event=event())
    assert ran.end.status == "succeeded"
    assert "w" in ran.log().splitlines()
    assert ran.log().count("cannot create") + ran.log().count("cannot touch") == 3


@hiding_level
def test_the_settings_may_show_more(tmp_path: Path, level: str) -> None:
    shown, writable = tmp_path / "shown", tmp_path / "writable"
    shown.mkdir()
    writable.mkdir()
    (shown / "file").write_text("shown\n")
    mounts = (Mount(str(shown), str(shown)), Mount(str(writable), str(writable), writable=True))
    script = f"cat {shown}/file; echo x > {writable}/new; touch {shown}/new 2>/dev/null || echo refused"
    assert _lines(_run(tmp_path, level, script, mounts=mounts)) == ["shown", "refused"]
    assert (writable / "new").read_text() == "x\n"


@hiding_level
def test_a_tool_cache_is_read_and_its_changes_stay_with_the_run(tmp_path: Path, level: str) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "wheel").write_text("cached\n")
    script = "cat ~/.cache/pip/wheel; echo new > ~/.cache/pip/other; cat ~/.cache/pip/other"
    ran = _run(tmp_path, level, script, "cat ~/.cache/pip/other", tool_caches=((cache, ".cache/pip"),))
    assert (_lines(ran), _lines(ran, "step-2")) == (["cached", "new"], ["new"])
    assert os.listdir(cache) == ["wheel"]
    assert not ran.spec.paths.view.exists()


@hiding_level
@pytest.mark.parametrize("link", [".cache", ".cache/pip"])
def test_a_link_does_not_lead_a_tool_cache_elsewhere(tmp_path: Path, level: str, link: str) -> None:
    cache, outside = tmp_path / "cache", tmp_path / "outside"
    cache.mkdir()
    outside.mkdir()
    # The mounted directory itself cannot be moved, what it lies in can.
    script = f"mv ~/.cache ~/old; mkdir -p ~/$(dirname {link}); ln -s {outside} ~/{link}"
    steps = (Step(id="a", run=script), FAN_OUT, Step(id="b", run="true"))
    spec = run_spec(tmp_path, *steps, isolation=isolation(level), tool_caches=((cache, ".cache/pip"),))
    assert run(spec).end.step == "fan"
    with Writer(spec.paths.journal) as journal:
        journal.append(FanOutPlanned(T0, "fan", 0, 0))
        journal.append(StepFinished(T0, "fan", 1, "succeeded"))
    ran = run(spec, number=1)
    assert (ran.end.status, ran.step("a").status) == ("failed", "succeeded")
    assert "cannot be made" in ran.end.message
    assert os.listdir(outside) == []


@hiding_level
@pytest.mark.parametrize("what", ["tools", "authorities", "tool_caches"])
def test_a_link_of_a_step_that_may_write_there_leads_no_tool_elsewhere(
    tmp_path: Path, level: str, what: str
) -> None:
    written, outside = tmp_path / "written", tmp_path / "outside"
    for directory in (written / "shown", outside):
        directory.mkdir(parents=True)
    (outside / "canary").write_text("")
    found = isolation(level)
    assert found.machine is not None
    more = {} if what == "tool_caches" else {what: (str(written / "shown"),)}
    found = evolve(found, machine=evolve(found.machine, written=(str(written),), **more))
    script = f"rmdir {written}/shown; ln -s ../outside {written}/shown"
    steps = (Step(id="a", run=script), FAN_OUT, Step(id="b", run=f"ls {written}/shown/ ~/cache"))
    caches = ((written / "shown", "cache"),) if what == "tool_caches" else ()
    mounts = (Mount(str(written), str(written), writable=True),)
    spec = run_spec(tmp_path, *steps, isolation=found, mounts=mounts, tool_caches=caches)
    assert run(spec).end.step == "fan"
    with Writer(spec.paths.journal) as journal:
        journal.append(FanOutPlanned(T0, "fan", 0, 0))
        journal.append(StepFinished(T0, "fan", 1, "succeeded"))
    ran = run(spec, number=1)
    assert ran.end.status == "failed"
    assert f"a link leads it out of {written}" in ran.end.message


@hiding_level
def test_a_tool_cache_whose_directory_was_moved_is_removed_with_the_workspace(
    tmp_path: Path, level: str
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    ran = _run(tmp_path, level, "mv ~/.cache ~/old", tool_caches=((cache, ".cache/pip"),))
    assert ran.end.status == "succeeded"
    assert not ran.spec.paths.work.exists()


@hiding_level
def test_a_link_that_came_into_the_way_of_a_grant_is_not_followed(tmp_path: Path, level: str) -> None:
    shown, secret = tmp_path / "shown", tmp_path / "secret"
    secret.mkdir()
    shown.symlink_to(secret)
    ran = _run(tmp_path, level, "true", mounts=(Mount(str(shown), str(shown)),))
    assert (ran.end.status, ran.step().status) == ("failed", "failed")
    assert "a link was put in its way" in ran.end.message


@hiding_level
def test_no_network_means_none(tmp_path: Path, level: str) -> None:
    script = (
        "import socket\n"
        "try:\n    socket.create_connection(('127.0.0.1', 9), 5)\n"
        "except ConnectionRefusedError:\n    print('refused')\n"
        "except OSError:\n    print('none')\n"
        "try:\n    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))\n"
        "    print('a way out')\n"
        "except OSError:\n    print('none')\n"
    )
    step = Step(id="a", run=f"python3 - <<'E'\n{script}E\n", network="none")
    said = _lines(_run(tmp_path, level, step), "a")
    assert said[0] in ("none", "refused")
    assert said[1] == "none"


@hiding_level
def test_no_privilege_is_left_and_none_can_be_had(tmp_path: Path, level: str) -> None:
    shown = "grep -E '^(Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status"
    script = f"{shown}; unshare -Ur true 2>/dev/null || echo no"
    *status, last = _lines(_run(tmp_path, level, script))
    held = dict(line.split(":\t") for line in status if ":\t" in line)
    assert {held["CapPrm"], held["CapEff"], held["CapAmb"]} == {"0" * 16}
    assert (held["NoNewPrivs"], held["Seccomp"], last) == ("1", "2", "no")


def test_no_network_is_refused_where_it_cannot_be_kept(tmp_path: Path) -> None:
    ran = _run(tmp_path, PROCESS, Step(id="a", run="true", network="none"))
    assert ran.state.finished is not None
    assert ran.state.finished.error_kind == "sandbox_failed"


def test_a_sandbox_that_does_not_come_up_is_told_from_a_step_that_fails(tmp_path: Path) -> None:
    whole = isolation(NAMESPACE)
    assert whole.machine is not None
    broken = evolve(whole, machine=evolve(whole.machine, system=("/usr", "/no/such")))
    ran = run(run_spec(tmp_path, "exit 1", isolation=broken))
    assert ran.state.finished is not None
    assert ran.state.finished.error_kind == "sandbox_failed"
    assert "/no/such" in ran.state.finished.message
    gone = run(run_spec(tmp_path, "true", number=2, isolation=evolve(whole, bubblewrap="/no/bwrap")))
    assert gone.state.finished is not None
    assert gone.state.finished.error_kind == "sandbox_failed"
    failed = run(run_spec(tmp_path, "exit 1", number=3, isolation=whole))
    assert (failed.end.message, failed.step().exit_code) == ("step step-1: exit code 1", 1)


@pytest.mark.parametrize("wanted", ["copy", "overlay", "reflink"])
def test_a_workflow_may_choose_how_its_workspace_is_made(tmp_path: Path, wanted: str) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_text("x\n")
    workflow = Workflow(
        name="check", steps=(Step(id="a", run="cat file; stat -f -c %T ."),), workspace=wanted
    )
    ran = run(run_spec(tmp_path, workflow=workflow, isolation=isolation(NAMESPACE)))
    if ran.end.status == "failed":
        assert wanted == "reflink"
        assert "reflink" in ran.end.message
        return
    assert (_lines(ran, "a")[1] == "overlayfs") == (wanted == "overlay")


def test_a_workspace_that_must_be_an_overlay_is_refused_where_there_is_none(tmp_path: Path) -> None:
    workflow = Workflow(name="check", steps=(Step(id="a", run="true"),), workspace="overlay")
    ran = run(run_spec(tmp_path, workflow=workflow, isolation=isolation(PROCESS)))
    assert ran.state.finished is not None
    assert (ran.state.finished.error_kind, "overlay" in ran.end.message) == ("sandbox_failed", True)


@every_level
def test_a_step_that_is_ended_while_its_sandbox_is_set_up_timed_out(tmp_path: Path, level: str) -> None:
    """Without a grace it is killed as soon as bubblewrap has named its first process: before the step is."""
    step = Step(id="slow", run="sleep 600", timeout_s=0.0001)
    ran = run(run_spec(tmp_path, step, isolation=isolation(level)), grace_s=0.0)
    assert (ran.end.status, ran.step("slow").status) == ("timed_out", "timed_out")
