"""Real groups where this user may make some; of other kernels and mounts the files as they lie there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tako.system.accounting.cgroups import (
    NO_GROUPS,
    Groups,
    _bounds,
    _check_kind,
    _parent,
    cpu_s,
    enter,
    make_groups,
    memory_kills,
    most_tasks,
    remove,
)

MIB = 1 << 20


@pytest.fixture
def groups() -> Iterator[Groups]:
    made = make_groups(30, 100 * MIB)
    if not made.pids or not made.memory:
        remove(made)
        pytest.skip("control groups with bounds on tasks and memory cannot be made here")
    yield made
    remove(made)


def _in_child(groups: Groups, act: str) -> int:
    """Run a shell command in the groups and give its wait status."""
    pid = os.fork()
    if pid == 0:
        for group in groups.directories:
            enter(group)
        # Nothing of this large process may be left in the group: the kernel might choose it.
        os.execvp("sh", ["sh", "-c", act])
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_groups_hold_what_they_were_made_for(groups: Groups) -> None:
    assert Path(groups.pids, "pids.max").read_text() == "30\n"
    (limit,) = (
        path
        for name in ("memory.limit_in_bytes", "memory.max")
        if (path := Path(groups.memory, name)).exists()
    )
    assert limit.read_text() == f"{100 * MIB}\n"
    assert _in_child(groups, "sleep 0 | sleep 0") == 0
    assert most_tasks(groups) >= 2
    assert memory_kills(groups) == 0


def test_a_process_over_the_bound_of_memory_is_killed_and_counted(groups: Groups) -> None:
    assert _in_child(groups, "exec python3 -c 'x = b\"x\" * (300 << 20)'") == -signal.SIGKILL
    assert memory_kills(groups) == 1


def test_removed_groups_are_gone_with_those_below_that_somebody_left(groups: Groups) -> None:
    Path(groups.memory, "tako-1-1").mkdir()
    remove(groups)
    assert not any(map(os.path.exists, groups.directories))


def test_groups_of_a_killed_process_are_removed_by_the_next_one(groups: Groups) -> None:
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        made = make_groups(30, 100 * MIB)
        os.write(writable, "\0".join(made.directories).encode())
        signal.pause()
    left = os.read(readable, 4096).decode().split("\0")
    remove(make_groups(30, None))
    assert all(map(os.path.exists, left))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    # Also those that it does not make itself.
    remove(make_groups(30, None))
    assert not any(map(os.path.exists, left))
    for descriptor in (readable, writable):
        os.close(descriptor)


def test_a_group_of_another_pid_namespace_is_left_alone(groups: Groups) -> None:
    """There is no process of ours in there, so that it could not tell that this one lives."""
    look = "from tako.system.accounting.cgroups import remove_stale; remove_stale()"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", look]
    if subprocess.run([*command[:4], "true"], capture_output=True, check=False).returncode:
        pytest.skip("a pid namespace cannot be made here")
    subprocess.run(command, check=True)
    assert all(map(os.path.exists, groups.directories))


def test_nothing_is_made_for_what_is_not_bounded() -> None:
    assert make_groups(None, None).directories == ()
    assert (most_tasks(NO_GROUPS), memory_kills(NO_GROUPS)) == (0, 0)


def test_cpu_time_counts_although_nobody_collects_it() -> None:
    made = make_groups(None, None, cpu=True)
    if not made.cpu:
        pytest.skip("control groups that count CPU time cannot be made here")
    try:
        burn = "import signal, time\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        burn += "import os\nif not os.fork():\n while time.process_time() < 0.3: pass\n os._exit(0)\n"
        burn += "try: os.wait()\nexcept OSError: pass"
        assert _in_child(made, f"exec python3 -c '{burn}'") == 0
        used = cpu_s(made)
        assert used is not None
        assert used >= 0.3
    finally:
        remove(made)


@pytest.mark.parametrize(
    ("files", "used"),
    [
        ({"cpuacct.usage": "1500000000\n"}, 1.5),
        ({"cpu.stat": "usage_usec 2500000\nuser_usec 1\n"}, 2.5),
    ],
)
def test_cpu_time_of_a_group_is_read_in_both_versions(
    tmp_path: Path, files: dict[str, str], used: float
) -> None:
    _tree(tmp_path, files)
    assert cpu_s(Groups(cpu=str(tmp_path))) == used
    assert cpu_s(NO_GROUPS) is None


def test_a_group_that_bounds_something_counts_cpu_time_too_where_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With version 2 a process that entered another group would leave the bound."""
    monkeypatch.setattr(
        "tako.system.accounting.cgroups._parents", lambda: {"pids": tmp_path, "cpuacct": tmp_path}
    )
    made = _tree(tmp_path / "made", {"cpu.stat": "usage_usec 0\n"})
    monkeypatch.setattr("tako.system.accounting.cgroups._made", lambda *_: str(made))
    assert make_groups(30, None, cpu=True) == Groups(pids=str(made), cpu=str(made))


def test_a_group_that_no_process_can_enter_is_not_made(tmp_path: Path) -> None:
    _check_kind(_tree(tmp_path, {"cgroup.type": "domain\n"}))
    with pytest.raises(OSError, match="not a domain"):
        _check_kind(_tree(tmp_path, {"cgroup.type": "domain invalid\n"}))


@pytest.mark.parametrize(
    ("files", "most"),
    [
        ({"pids.peak": "7\n", "pids.events": "max 3\n", "pids.max": "30\n"}, 7),
        # Linux before pids.peak: all that is known is whether the bound was met.
        ({"pids.events": "max 3\n", "pids.max": "30\n"}, 30),
        ({"pids.events": "max 0\n", "pids.max": "30\n"}, 0),
        ({}, 0),
    ],
)
def test_the_most_tasks_of_a_group_are_known_from_what_its_kernel_tells(
    tmp_path: Path, files: dict[str, str], most: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert most_tasks(Groups(pids=str(tmp_path))) == most


@pytest.mark.parametrize(
    ("files", "kills"),
    [
        ({"memory.events": "low 0\noom 2\noom_kill 3\noom_group_kill 1\n"}, 3),
        ({"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"}, 2),
        ({"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\n"}, 0),
    ],
)
def test_kills_for_memory_are_read_in_both_versions(
    tmp_path: Path, files: dict[str, str], kills: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert memory_kills(Groups(memory=str(tmp_path))) == kills


def _tree(top: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return top


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        # Version 1: below the own group; where a container sees only its part of the tree, at the top.
        ("4:memory:/a/b\n0::/\n", {"memory/a/b/cgroup.procs": "", "memory/cgroup.procs": ""}, "memory/a/b"),
        ("4:memory:/docker/x\n0::/\n", {"memory/cgroup.procs": ""}, "memory"),
        # Version 2: beside the own group, unless that has a bound or the controller is off there.
        (
            "0::/user/session\n",
            {
                "user/session/memory.max": "max\n",
                "user/cgroup.subtree_control": "memory pids\n",
                "user/cgroup.procs": "",
            },
            "user",
        ),
        (
            "0::/user/session\n",
            {
                "user/session/memory.max": "1048576\n",
                "user/cgroup.subtree_control": "memory\n",
                "user/cgroup.procs": "",
            },
            None,
        ),
        ("0::/\n", {"cgroup.subtree_control": "cpu memory\n", "cgroup.procs": ""}, "."),
        ("0::/\n", {"cgroup.subtree_control": "cpu\n", "cgroup.procs": ""}, None),
        ("0::/\n", {}, None),
        ("", {}, None),
    ],
)
def test_groups_are_made_where_no_bound_of_the_own_group_is_left(
    tmp_path: Path, own: str, files: dict[str, str], expected: str | None
) -> None:
    top = _tree(tmp_path / "top", files | {"own": own})
    found = _parent("memory", top, top / "own")
    assert found == (None if expected is None else top / expected)


def test_cpu_time_is_counted_below_the_own_group_of_either_version(tmp_path: Path) -> None:
    top = _tree(tmp_path, {"own": "0::/user/session\n", "user/session/cgroup.procs": ""})
    assert _parent("cpuacct", top, top / "own") == top / "user" / "session"
    _tree(top, {"own": "2:cpu,cpuacct:/a\n0::/\n", "cpuacct/a/cgroup.procs": ""})
    assert _parent("cpuacct", top, top / "own") == top / "cpuacct" / "a"
    assert list(_bounds(top, "cpuacct", 0)) == []


def test_swap_is_bounded_too_where_it_is_counted(tmp_path: Path) -> None:
    assert list(_bounds(tmp_path, "memory", 7)) == [
        ("memory.max", 7, True),
        ("memory.swap.max", 0, False),
        ("memory.oom.group", 1, False),
    ]
    _tree(tmp_path, {"memory.limit_in_bytes": ""})
    assert list(_bounds(tmp_path, "memory", 7)) == [
        ("memory.limit_in_bytes", 7, True),
        ("memory.memsw.limit_in_bytes", 7, False),
    ]
