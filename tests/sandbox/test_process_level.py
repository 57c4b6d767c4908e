from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tako.sandbox.policy import Limits, Policy
from tako.sandbox.process_level import _rlimits, confine, launch
from tako.sandbox.started import SandboxFailedError
from tako.values import evolve


def _policy(directory: Path, **environment: str) -> Policy:
    return Policy({"PATH": os.defpath, **environment}, str(directory))


def _launch(policy: Policy, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
    return launch(policy, command).process


def _output(process: subprocess.Popen[bytes]) -> str:
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    return out.decode()


def _in_child(act: Callable[[], None]) -> str:
    """Do something that cannot be undone in a process of its own, and give what it said."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(writable, 1)
            act()
        finally:
            os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as file:
        said = file.read()
    os.waitpid(pid, 0)
    return said


def _limits_after(limits: Limits) -> dict[str, list[str]]:
    def act() -> None:
        confine(limits)
        os.write(1, Path("/proc/self/limits").read_bytes())

    lines = _in_child(act).splitlines()[1:]
    return {line[:26].strip(): line[26:].split()[:2] for line in lines}


def test_a_command_runs_in_its_directory_with_exactly_its_environment(tmp_path: Path) -> None:
    script = "pwd -P; env | grep -v ^_= | sort"
    lines = _output(_launch(_policy(tmp_path, ONE="1"), ("/bin/sh", "-c", script))).splitlines()
    assert lines == [str(tmp_path), "ONE=1", f"PATH={os.defpath}", f"PWD={tmp_path}"]


def test_a_command_leads_a_session_of_its_own(tmp_path: Path) -> None:
    process = _launch(_policy(tmp_path), ("/bin/cut", "-d ", "-f1,5,6", "/proc/self/stat"))
    pid = str(process.pid)
    assert _output(process).split() == [pid, pid, pid]


@pytest.mark.parametrize(("private", "umask"), [(True, "0077"), (False, "0022")])
def test_only_what_is_private_is_closed_to_others(tmp_path: Path, private: bool, umask: str) -> None:
    before = os.umask(0o022)
    try:
        policy = evolve(_policy(tmp_path), umask=0o077 if private else -1)
        assert _output(_launch(policy, ("/bin/sh", "-c", "umask"))).strip() == umask
    finally:
        os.umask(before)


def test_a_command_reads_nothing_and_inherits_nothing(tmp_path: Path) -> None:
    readable, writable = os.pipe()
    os.set_inheritable(readable, True)
    try:
        process = _launch(_policy(tmp_path), ("/bin/sh", "-c", "cat; ls -l /proc/self/fd"))
        shown = _output(process)
    finally:
        os.close(readable)
        os.close(writable)
    targets = [line.rpartition("-> ")[2] for line in shown.splitlines() if "->" in line]
    assert targets[0] == "/dev/null"
    assert [target for target in targets[1:] if target.startswith("pipe:")] == targets[1:3]
    assert len(targets) == 4


@pytest.mark.parametrize("command", [("/no/such/program",), ("/dev/null",)])
def test_a_program_that_cannot_be_started_is_an_error(tmp_path: Path, command: tuple[str, ...]) -> None:
    with pytest.raises(SandboxFailedError, match=r"No such file|Permission denied"):
        launch(_policy(tmp_path), command)


def test_a_directory_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SandboxFailedError, match="No such file"):
        launch(_policy(tmp_path / "gone"), ("/bin/true",))


# --- limits ---


def test_limits_hold_for_all_that_is_started_after(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NPROC)
    processes = 50_000 if most < 0 else most - 1
    found = _limits_after(Limits(cpu_s=7, file_size=1 << 30, open_files=100, processes=processes))
    assert found["Max cpu time"] == ["7", "12"]
    assert found["Max file size"] == ["1073741824", "1073741824"]
    assert found["Max open files"] == ["100", "100"]
    assert found["Max processes"] == [str(processes), str(processes)]
    assert found["Max core file size"] == ["1", "1"]


def test_rlimits_without_a_limit_stay_as_they_were() -> None:
    assert _rlimits(Limits()) == ((resource.RLIMIT_CORE, 1, 1),)


def test_no_limit_is_set_above_the_hard_one_in_force() -> None:
    def act() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (50, 60))
        resource.setrlimit(resource.RLIMIT_CPU, (100, 100))
        confine(Limits(open_files=100, cpu_s=98))
        os.write(1, Path("/proc/self/limits").read_bytes())

    found = {line[:26].strip(): line[26:].split()[:2] for line in _in_child(act).splitlines()[1:]}
    assert found["Max open files"] == ["60", "60"]
    assert found["Max cpu time"] == ["98", "100"]


def test_confining_twice_is_no_error() -> None:
    def act() -> None:
        confine(Limits(cpu_s=5, file_size=1 << 30))
        confine(Limits(cpu_s=5, file_size=1 << 30))
        os.write(1, b"still here")

    assert _in_child(act) == "still here"


def test_a_policy_is_private_unless_it_says_otherwise(tmp_path: Path) -> None:
    assert _policy(tmp_path).umask == 0o077
