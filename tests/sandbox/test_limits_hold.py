"""Bombs of every kind, run as steps: each hits its limit, is told by name and value, and leaves nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tako.config.schema import Produces, Resources, Step
from tako.journal.records import StepFinished
from tako.sandbox.policy import NAMESPACE, Limits
from tako.system.accounting.cgroups import NO_GROUPS, make_groups, remove
from tako.system.accounting.usage import disk_use
from tako.system.process.identity import start_time_of
from tako.values import evolve
from tests.support.isolations import LEVELS, isolation
from tests.support.segments import run, run_spec

every_level = pytest.mark.parametrize("level", LEVELS)
MIB = 1 << 20


def _ended(directory: Path, level: str, script: str, **resources: Any) -> StepFinished:  # noqa: ANN401 - limits
    step = Step(id="bomb", run=script, resources=Resources(**resources), timeout_s=40)
    ran = run(run_spec(directory, step, isolation=isolation(level)), grace_s=0.5)
    assert ran.end.status == "failed"
    return ran.step("bomb")


@every_level
def test_a_process_that_takes_too_much_memory_is_killed(tmp_path: Path, level: str) -> None:
    script = "python3 -c \"import time; held = b'x' * (300 << 20); time.sleep(600)\""
    ended = _ended(tmp_path, level, script, mem_limit=100 * MIB)
    assert (ended.limit, ended.limit_value) == ("memory", 100 * MIB)
    assert ended.message.startswith("over its limit of memory, 100.0 MiB")
    assert ended.usage.memory >= 100 * MIB


@pytest.fixture
def memory_groups() -> None:
    groups = make_groups(None, MIB)
    remove(groups)
    if not groups.memory:
        pytest.skip("control groups with a bound on memory cannot be made here")


@every_level
@pytest.mark.usefixtures("memory_groups")
@pytest.mark.parametrize("then", ["", "|| true", "|| sleep 600"])
def test_memory_taken_faster_than_anybody_looks_is_reported_by_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, then: str
) -> None:
    # The worker is forked from this process and finds it so.
    first_look_s = 0.25 if "sleep" in then else 3600.0
    monkeypatch.setattr("tako.sandbox.watchdog._FIRST_S", first_look_s)
    script = f"python3 -c \"x = b'x' * (300 << 20)\" {then}"
    ended = _ended(tmp_path, level, script, mem_limit=100 * MIB)
    assert (ended.limit, ended.limit_value) == ("memory", 100 * MIB)
    assert ended.message.startswith("over its limit of memory, 100.0 MiB")


@every_level
@pytest.mark.usefixtures("memory_groups")
def test_a_sandbox_that_itself_needs_more_memory_than_declared_did_not_fail(
    tmp_path: Path, level: str
) -> None:
    ended = _ended(tmp_path, level, "true", mem_limit=64 << 10)
    assert (ended.limit, ended.limit_value) == ("memory", 64 << 10)


@pytest.mark.usefixtures("memory_groups")
def test_files_read_and_written_do_not_count_as_memory(tmp_path: Path) -> None:
    step = Step(
        id="a",
        run="head -c 200000000 /dev/zero > big; cat big > /dev/null",
        resources=Resources(mem_limit=64 * MIB),
    )
    used = run(run_spec(tmp_path, step)).step("a")
    assert used.status == "succeeded"
    assert used.usage.memory < 64 * MIB


def test_no_group_is_left_behind(tmp_path: Path) -> None:
    groups = make_groups(1, MIB)
    remove(groups)
    if not groups.directories:
        pytest.skip("control groups cannot be made here")
    broken = evolve(isolation(LEVELS[0]), level="no such level")
    step = Step(id="a", run="true", network="none", resources=Resources(mem_limit=64 * MIB))
    for spec in (
        run_spec(tmp_path, "true", isolation=isolation(LEVELS[0])),
        run_spec(tmp_path, step, number=2, isolation=broken),
    ):
        run(spec)
    left = [name for group in groups.directories for name in os.listdir(Path(group).parent)]
    # Those of tests that run at the same time have living owners.
    owners = [name.split("-")[2:] for name in left if name.startswith("tako-")]
    assert [name for name in owners if str(start_time_of(name[0])) != name[1]] == []


@every_level
def test_many_small_processes_are_counted_together(tmp_path: Path, level: str) -> None:
    one = "python3 -c \"import time; held = b'x' * (40 << 20); time.sleep(600)\" &"
    ended = _ended(tmp_path, level, f"for i in 1 2 3 4 5; do {one} done; wait", mem_limit=120 * MIB)
    assert (ended.limit, ended.limit_value) == ("memory", 120 * MIB)


@pytest.mark.parametrize("level", LEVELS[2:])
def test_shared_memory_counts_as_memory(tmp_path: Path, level: str) -> None:
    ended = _ended(
        tmp_path, level, "head -c 90000000 /dev/zero > /dev/shm/held; sleep 600", mem_limit=64 * MIB
    )
    assert ended.limit == "memory"


@pytest.mark.parametrize("level", LEVELS[1:])
def test_shared_memory_holds_so_many_files_and_no_more(tmp_path: Path, level: str) -> None:
    limits = Limits(memory=MIB)
    spec = run_spec(tmp_path, "stat -f -c %c /dev/shm", isolation=isolation(level), limits=limits)
    if not spec.in_namespaces:
        pytest.skip("workers cannot have a /dev/shm of their own here")
    assert int(run(spec).log()) == 512


@every_level
@pytest.mark.parametrize(
    "bomb", ["b() { b | b & }; b; sleep 600", "b() { setsid sh -c 'sleep 600' & }; while :; do b; done"]
)
def test_a_fork_bomb_is_killed(tmp_path: Path, level: str, bomb: str) -> None:
    ended = _ended(tmp_path, level, bomb, process_limit=60)
    assert (ended.limit, ended.limit_value) == ("processes", 60)


def test_a_fork_bomb_of_roots_that_ends_at_the_wall_by_itself_is_reported_so(tmp_path: Path) -> None:
    groups = make_groups(300, None)
    remove(groups)
    if not groups.pids:
        pytest.skip("control groups with a bound on tasks cannot be made here")
    ended = _ended(tmp_path, LEVELS[0], "for i in $(seq 300); do sleep 60 & done", process_limit=90)
    assert (ended.limit, ended.limit_value) == ("processes", 90)


def test_a_step_that_fails_before_anybody_looked_is_judged_by_what_it_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for an ordinary user, who has no group."""
    # The worker is forked from this process and finds it so.
    monkeypatch.setattr("tako.sandbox.watchdog._FIRST_S", 3600.0)
    monkeypatch.setattr("tako.engine.steps.sandbox.make_groups", lambda *_, **__: NO_GROUPS)
    script = "for i in $(seq 80); do sleep 600 & done; exit 3"
    ended = _ended(tmp_path, LEVELS[0], script, process_limit=60)
    assert (ended.limit, ended.limit_value) == ("processes", 60)
    assert 80 <= ended.usage.tasks < 90


@every_level
def test_one_file_cannot_fill_the_disk(tmp_path: Path, level: str) -> None:
    ended = _ended(tmp_path, level, "exec head -c 100000000 /dev/zero > big", disk_limit=20 * MIB)
    assert ended.limit in ("file size", "disk")


@every_level
def test_many_files_cannot_fill_the_disk(tmp_path: Path, level: str) -> None:
    script = "i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero > f$i; done"
    ended = _ended(tmp_path, level, script, disk_limit=20 * MIB)
    assert (ended.limit, ended.limit_value) == ("disk", 20 * MIB)


def test_an_empty_file_takes_something_too(tmp_path: Path) -> None:
    before = disk_use([tmp_path])
    for number in range(1000):
        (tmp_path / str(number)).touch()
    assert disk_use([tmp_path]) - before >= 1000 * 512


@every_level
def test_the_temporary_directory_counts_too(tmp_path: Path, level: str) -> None:
    script = "i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero > $TMPDIR/f$i; done"
    assert _ended(tmp_path, level, script, disk_limit=20 * MIB).limit == "disk"


def test_files_written_through_a_tool_cache_count(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    spec = isolation(NAMESPACE)
    if not spec.overlays:
        pytest.skip("workers cannot mount overlays here")
    script = "cd ~/.cache/pip; i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero > f$i; done"
    step = Step(id="bomb", run=script, resources=Resources(disk_limit=20 * MIB), timeout_s=40)
    ran = run(run_spec(tmp_path, step, isolation=spec, tool_caches=((cache, ".cache/pip"),)))
    assert ran.step("bomb").limit == "disk"
    assert list(cache.iterdir()) == []


def test_a_file_removed_while_it_is_open_in_the_overlay_counts(tmp_path: Path) -> None:
    script = "exec 3>big; rm big; head -c 15000000 /dev/zero >&3; exec 4>big; rm big;"
    ended = _ended(
        tmp_path, NAMESPACE, f"{script} head -c 15000000 /dev/zero >&4; sleep 600", disk_limit=20 * MIB
    )
    assert ended.limit == "disk"


def test_what_tako_keeps_of_earlier_steps_counts_with_what_a_later_one_writes(tmp_path: Path) -> None:
    few = Resources(disk_limit=20 * MIB)
    produces = Produces(artifacts={"dist": ("made",)})
    steps = (
        Step(id="log", run="head -c 6000000 /dev/zero | tr '\\0' x", resources=few),
        Step(id="artifact", run="head -c 6000000 /dev/zero > made", resources=few, produces=produces),
        Step(id="more", run="rm made; head -c 10000000 /dev/zero > other; sleep 5", resources=few),
    )
    ran = run(run_spec(tmp_path, *steps))
    assert [ran.state.step(step.id).status for step in steps] == ["succeeded", "succeeded", "failed"]
    assert ran.step("more").limit == "disk"


@every_level
def test_the_usage_of_a_step_is_recorded(tmp_path: Path, level: str) -> None:
    script = "python3 -c \"import time; x = b'x' * (50 << 20); sum(range(3 * 10**6)); time.sleep(1)\""
    ran = run(run_spec(tmp_path, script, isolation=isolation(level)))
    used = ran.step().usage
    assert used.memory > 50 * MIB
    assert used.tasks >= 2
    assert used.cpu_s > 0.05


@every_level
def test_a_step_that_declares_its_cpus_gets_no_more(tmp_path: Path, level: str) -> None:
    step = Step(id="a", run="nproc", resources=Resources(cpu_limit=0.5))
    ran = run(run_spec(tmp_path, step, isolation=isolation(level)))
    assert ran.log("a") == "1\n"


@pytest.mark.parametrize("level", LEVELS[1:])
def test_a_step_that_declares_its_cpus_may_not_ask_for_others(tmp_path: Path, level: str) -> None:
    script = "python3 -c 'import os; os.sched_setaffinity(0, range(os.cpu_count()))' 2>&1 | tail -1"
    steps = (Step(id="a", run=script, resources=Resources(cpu_limit=1.0)), Step(id="b", run=script))
    ran = run(run_spec(tmp_path, *steps, isolation=isolation(level)))
    assert (ran.log("a"), ran.log("b")) == ("PermissionError: [Errno 1] Operation not permitted\n", "")


def test_a_step_that_declares_no_cpus_has_all_again_after_one_that_did(tmp_path: Path) -> None:
    steps = (Step(id="a", run="nproc", resources=Resources(cpu_limit=1.0)), Step(id="b", run="nproc"))
    ran = run(run_spec(tmp_path, *steps))
    assert (ran.log("a"), ran.log("b")) == ("1\n", f"{len(os.sched_getaffinity(0))}\n")


@every_level
def test_a_process_that_takes_too_much_cpu_time_is_ended(tmp_path: Path, level: str) -> None:
    ended = _ended(tmp_path, level, "while :; do :; done", cpu_time_limit=1.0)
    assert (ended.limit, ended.limit_value) == ("CPU time", 1)
    assert ended.message.startswith("over its limit of CPU time, 1.0s")
    assert ended.usage.cpu_s < 5


def test_the_cpu_time_of_many_processes_is_counted_together(tmp_path: Path) -> None:
    one = "timeout 600 sh -c 'i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done'"
    ended = _ended(tmp_path, LEVELS[0], f"while :; do {one}; done", cpu_time_limit=2.0)
    assert (ended.limit, ended.limit_value) == ("CPU time", 2)


def test_the_cpu_time_of_a_step_is_counted_when_it_ended_before_anybody_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The worker is forked from this process and finds it so.
    monkeypatch.setattr("tako.sandbox.watchdog._FIRST_S", 3600.0)
    half = "python3 -c 'import time\nwhile time.process_time() < 0.6: pass'"
    ended = _ended(tmp_path, LEVELS[0], f"{half}; {half}", cpu_time_limit=1.0)
    assert (ended.limit, ended.limit_value) == ("CPU time", 1)


@every_level
def test_a_signal_of_the_kernels_for_file_size_is_reported_with_its_value(tmp_path: Path, level: str) -> None:
    ended = _ended(tmp_path, level, "kill -XFSZ $$", disk_limit=20 * MIB)
    assert (ended.limit, ended.limit_value) == ("file size", 20 * MIB)
    assert ended.message == "over its limit of file size, 20.0 MiB"
