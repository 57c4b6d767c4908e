"""What bubblewrap itself is given, and what of it reaches the step."""

from __future__ import annotations

import os
import select
from collections.abc import Mapping
from pathlib import Path

import pytest

from tako.errors import UsageError
from tako.sandbox import namespace_level, process_level
from tako.sandbox.namespace_level import launch
from tako.sandbox.policy import NAMESPACE, Mount, Policy
from tako.sandbox.started import SandboxFailedError, Started
from tests.support.isolations import isolation

_ODD = {
    "PLAIN": "1",
    "EMPTY": "",
    "LINES": "one\ntwo\n\n",
    "QUOTES": "' \" $(false) `false` \\ \t",
    "OPTION": "--bind",
    "EQUALS": "a=b=c",
    "BYTES": os.fsdecode(b"gr\xfcn \x01\x7f"),
    "LC_no.shell-name": "kept",
    "LD_LIBRARY_PATH": "/nowhere",
    "PYTHONHOME": "/nowhere",
    "BASH_ENV": "/nowhere",
}


def _policy(directory: Path, environment: Mapping[str, str]) -> Policy:
    machine = isolation(NAMESPACE).machine
    assert machine is not None
    shown = [Mount(path, path) for path in (*machine.system, *machine.etc)]
    inside = Mount(str(directory), "/inside", writable=True)
    return Policy(environment, "/inside", mounts=(*shown, inside), links=machine.links)


def _launch(policy: Policy, *command: str) -> Started:
    return launch(isolation(NAMESPACE).bubblewrap, policy, command)


def _said(started: Started) -> bytes:
    said, errors = started.process.communicate(timeout=60)
    started.check(errors.decode())
    return said


def test_a_step_gets_its_variables_as_it_would_without_a_sandbox(tmp_path: Path) -> None:
    policy = _policy(tmp_path, {"PATH": os.defpath, **_ODD})
    inside = _said(_launch(policy, "/usr/bin/env", "-0")).split(b"\0")
    direct = process_level.launch(Policy(policy.environment, "/"), ("/usr/bin/env", "-0"))
    outside, _ = direct.process.communicate(timeout=60)
    # bubblewrap says where it has changed to.
    assert sorted(inside) == sorted([*outside.split(b"\0"), b"PWD=/inside"])


def test_the_program_outside_has_nothing_of_them(tmp_path: Path) -> None:
    """Neither its loader reads them nor whoever may read /proc."""
    policy = _policy(tmp_path, {"PATH": os.defpath, "TOKEN": "value-of-a-secret", "LD_LIBRARY_PATH": "/own"})
    os.mkfifo(tmp_path / "up")
    up = os.open(tmp_path / "up", os.O_RDWR)
    started = _launch(policy, "/bin/sh", "-c", "echo up > up; exec sleep 600")
    try:
        ready, _, _ = select.select([up], [], [], 60)
        assert ready, "the step has not started"
        bubblewrap = Path(f"/proc/{started.process.pid}")
        first = Path("/proc", (bubblewrap / "task" / bubblewrap.name / "children").read_text().split()[0])
        shown = {path.name: path.read_bytes() for path in (bubblewrap / "environ", bubblewrap / "cmdline")}
        inner = {path.name: path.read_bytes() for path in (first / "environ", first / "cmdline")}
    finally:
        started.process.kill()
        started.process.communicate()
        started.check("")
        os.close(up)
    assert (shown["environ"], inner["environ"]) == (b"", b"")
    assert b"value-of-a-secret" not in shown["cmdline"] + inner["cmdline"]


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"A": "x\0--bind\0/\0/host"}, "NUL"),
        ({f"V{number}": "" for number in range(3000)}, "3000 variables"),
        ({"A": "x" * (1 << 22)}, r"variable A has 4\.0 MiB"),
    ],
)
def test_arguments_that_cannot_be_passed_are_refused_before_anything_starts(
    tmp_path: Path, environment: Mapping[str, str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = _policy(tmp_path, environment)
    monkeypatch.setattr(namespace_level, "start", None)
    with pytest.raises(UsageError, match=why) as raised:
        _launch(policy, "/bin/true")
    assert "/host" not in raised.value.message


def test_no_path_can_smuggle_an_operation_in(tmp_path: Path) -> None:
    smuggling = Mount("/usr\0/x\0--bind\0/", "/host")
    with pytest.raises(SandboxFailedError, match="NUL"):
        _launch(Policy({}, "/inside", mounts=(smuggling,)), "/bin/true")


def test_as_many_variables_as_bubblewrap_takes_are_taken(tmp_path: Path) -> None:
    policy = _policy(tmp_path, {f"V{number}": "x" * 500 for number in range(2700)})
    assert len(_said(_launch(policy, "/usr/bin/env", "-0"))) > 2700 * 500


def test_as_much_as_a_program_takes_is_taken(tmp_path: Path) -> None:
    """The same as without a sandbox: what bubblewrap reads from its file is bounded by nothing smaller."""
    size = 32 * os.sysconf("SC_PAGE_SIZE") - 3
    count = min(12, os.sysconf("SC_ARG_MAX") // size - 1)
    policy = _policy(tmp_path, {chr(ord("A") + number): "x" * size for number in range(count)})
    assert len(_said(_launch(policy, "/usr/bin/env", "-0"))) > count * size
