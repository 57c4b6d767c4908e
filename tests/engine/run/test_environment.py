from __future__ import annotations

import os
import resource
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from tako.config.schema import Step
from tako.engine.run.environment import base_environment, idempotency_key, scrubbed
from tako.sandbox.policy import Limits
from tako.values import evolve
from tests.support.records import event, run_id
from tests.support.segments import Ran, run, run_spec


def _with(spec: Any, **workflow: Any) -> Any:  # noqa: ANN401 - a spec with another workflow
    return evolve(spec, workflow=evolve(spec.workflow, **workflow))


def _environment(ran: Ran, step: str = "step-1") -> dict[str, str]:
    text = ran.spec.paths.log(step).read_bytes()
    return dict(line.split("=", 1) for line in text.decode().split("\0")[:-1])


def test_a_child_sees_the_listed_environment_and_nothing_else(tmp_path: Path) -> None:
    spec = run_spec(
        tmp_path,
        Step(id="show", run="exec env -0", env={"OWN": "{{ .inputs.version }}"}),
        inputs={"version": "1.2"},
        environment={"PATH": os.defpath, "LANG": "C.UTF-8"},
        event=event(),
        keep=True,
    )
    ran = run(_with(spec, env={"LEVEL": "workflow", "OWN": "hidden"}))
    found = _environment(ran, "show")
    paths = ran.spec.paths
    user = found["USER"]
    assert found.pop("TMPDIR").startswith("/")
    assert len(found.pop("TAKO_IDEMPOTENCY_KEY")) == 32
    assert found == {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "HOME": str(paths.home),
        "USER": user,
        "LOGNAME": user,
        "SHELL": "/bin/sh",
        "MAVEN_OPTS": f"-Duser.home={paths.home}",
        "GRADLE_USER_HOME": str(paths.home / ".gradle"),
        "PWD": str(paths.repo),
        "LEVEL": "workflow",
        "OWN": "1.2",
        "TAKO_RUN_ID": run_id(1),
        "TAKO_ROOT_RUN_ID": run_id(0),
        "TAKO_REPOSITORY": "acme/app",
        "TAKO_COMMIT": "c0ffee",
        "TAKO_WORKFLOW": "check",
        "TAKO_WORKSPACE": str(paths.work),
        "TAKO_CHILDREN": str(paths.received_children),
        "TAKO_EVENT_TYPE": "built",
        "TAKO_ARTIFACTS": str(paths.received_artifacts),
        "TAKO_STEP": "show",
        "TAKO_OUTPUT": str(paths.step_outputs("show")),
        "TAKO_ENV": str(paths.step_environment("show")),
    }


def test_a_root_run_in_place_works_in_the_users_checkout_with_the_users_environment(tmp_path: Path) -> None:
    environment = {"PATH": os.defpath, "HOME": "/somewhere", "SECRET": "mine", "TMPDIR": "/tmp"}
    spec = run_spec(
        tmp_path,
        "pwd -P; umask; echo $HOME $SECRET $TMPDIR; echo x > made",
        in_place=True,
        environment=environment,
    )
    before = os.umask(0o027)
    try:
        ran = run(spec)
    finally:
        os.umask(before)
    assert ran.log().splitlines() == [str(tmp_path / "source"), "0027", "/somewhere mine /tmp"]
    assert stat.S_IMODE((tmp_path / "source" / "made").stat().st_mode) == 0o640


def test_a_childs_files_are_its_own_alone(tmp_path: Path) -> None:
    ran = run(run_spec(tmp_path, "umask; touch made; stat -c %a made . .. $HOME $TMPDIR", keep=True))
    assert ran.log().splitlines() == ["0077", "600", "755", "700", "700", "700"]


def test_a_child_works_on_a_copy(tmp_path: Path) -> None:
    spec = run_spec(tmp_path, "cat file; echo changed > file; rm gone")
    for name in ("file", "gone"):
        (spec.source / name).write_text("original\n")
    assert run(spec).log() == "original\n"
    assert (spec.source / "file").read_text() == "original\n"
    assert (spec.source / "gone").exists()


def test_git_in_a_child_knows_who_commits(tmp_path: Path) -> None:
    script = "git init -q .; git commit -q --allow-empty -m x; git log -1 --format='%an <%ae>'"
    ran = run(run_spec(tmp_path, script, git_identity=('Ada "The\\" Lovelace', "ada@example.org")))
    assert ran.log() == 'Ada "The\\" Lovelace <ada@example.org>\n'


def test_the_temporary_directory_is_private_and_short(tmp_path: Path) -> None:
    ran = run(run_spec(tmp_path, "echo -n $TMPDIR | wc -c; touch $TMPDIR/x"))
    assert int(ran.log()) < 60


def test_limits_are_in_force_before_the_first_instruction(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NPROC)
    processes = 50_000 if most < 0 else most - 1
    limits = Limits(cpu_s=7, file_size=1 << 20, open_files=123, processes=processes)
    ran = run(run_spec(tmp_path, "cat /proc/self/limits", limits=limits))
    found = {line[:26].strip(): line[26:].split()[:2] for line in ran.log().splitlines()[1:]}
    assert found["Max cpu time"] == ["7", "12"]
    assert found["Max file size"] == ["1048576", "1048576"]
    assert found["Max open files"] == ["123", "123"]
    assert found["Max processes"] == [str(processes), str(processes)]
    assert found["Max core file size"] == ["1", "1"]


def test_a_step_that_writes_too_large_a_file_is_told_which_limit_it_broke(tmp_path: Path) -> None:
    spec = run_spec(tmp_path, "exec head -c 2000000 /dev/zero > big", limits=Limits(file_size=1 << 20))
    finished = run(spec).step()
    assert (finished.status, finished.limit, finished.signal) == ("failed", "file size", "SIGXFSZ")
    assert finished.message == "over its limit of file size, 1.0 MiB"


def test_a_limit_that_a_process_below_the_shell_broke_is_named_too(tmp_path: Path) -> None:
    spec = run_spec(tmp_path, "head -c 2000000 /dev/zero > big; true", limits=Limits(file_size=1 << 20))
    finished = run(spec).step()
    assert (finished.limit, finished.exit_code) == ("file size", 128 + signal.SIGXFSZ)


def test_a_step_that_computes_too_long_is_told_which_limit_it_broke(tmp_path: Path) -> None:
    finished = run(run_spec(tmp_path, "while :; do :; done", limits=Limits(cpu_s=1))).step()
    assert (finished.limit, finished.signal) == ("CPU time", "SIGXCPU")


def test_a_step_has_the_signals_a_shell_expects(tmp_path: Path) -> None:
    # What this process was started with ignored (nohup) stays so; what Python ignores for itself does not.
    own = sum(1 << (number - 1) for number in (signal.SIGPIPE, signal.SIGXFSZ))
    inherited = _signal_mask(Path("/proc/self/status").read_text(), "SigIgn") & ~own
    told = run(run_spec(tmp_path, "cat /proc/self/status")).log()
    assert (_signal_mask(told, "SigBlk"), _signal_mask(told, "SigIgn")) == (0, inherited)


def _signal_mask(status: str, name: str) -> int:
    return int(status.partition(f"{name}:")[2].split()[0], 16)


def test_a_step_has_a_session_of_its_own_and_no_foreign_descriptors(tmp_path: Path) -> None:
    ran = run(run_spec(tmp_path, "cut -d' ' -f1,5,6 /proc/$$/stat; ls /proc/$$/fd"))
    ids, *descriptors = ran.log().splitlines()
    assert len(set(ids.split())) == 1
    # The last one is the script that sh reads.
    assert {"0", "1", "2"} <= set(descriptors)
    assert len(descriptors) <= 4


# --- without a process ---


def test_of_the_users_environment_a_child_gets_what_is_listed() -> None:
    environment = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "TZ": "UTC",
        "https_proxy": "http://proxy",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "GITHUB_TOKEN": "secret",
        "HOME": "/home/ada",
        "LD_PRELOAD": "evil.so",
        "PYTHONPATH": "/evil",
        "MINE": "asked for",
    }
    kept = scrubbed(environment, ("MINE", "NOT_SET"))
    assert kept == {
        "PATH": "/bin",
        "LC_ALL": "C",
        "TZ": "UTC",
        "https_proxy": "http://proxy",
        "MINE": "asked for",
    }


def test_without_a_path_a_child_gets_the_usual_one() -> None:
    assert scrubbed({}) == {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def test_the_key_of_a_step_is_the_same_for_all_its_attempts_and_no_other_step() -> None:
    keys = [idempotency_key(run_id(run), step) for run in (1, 2) for step in ("a", "b", "a")]
    assert keys[0] == keys[2]
    assert len(set(keys)) == 4


def test_a_user_without_a_name_is_called_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tako.engine.run.environment.os.getuid", lambda: 3_999_999_999)
    spec = run_spec(tmp_path)
    environment = base_environment(spec, spec.paths, "/tmp/t")
    assert (environment["USER"], environment["LOGNAME"]) == ("3999999999", "3999999999")
    assert "TAKO_EVENT_TYPE" not in environment
