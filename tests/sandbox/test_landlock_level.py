"""What level `landlock` has where workers can have namespaces: processes and read-only mounts."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import pytest

from tako.engine.workers.workflow_runner import WorkerLostError
from tako.sandbox import landlock_level
from tako.sandbox.isolation import Isolation
from tako.sandbox.policy import LANDLOCK, Mount, Policy
from tako.sandbox.started import SandboxFailedError
from tako.system.process.descendants import children
from tako.system.walls.namespaces import enter_own_namespaces
from tako.values import evolve
from tests.support.isolations import isolation
from tests.support.processes import GRACE_S
from tests.support.segments import Ran, run, run_spec, started
from tests.support.users import in_process

#: Ends with 0 if no path of a step's own is read-only.
_WRITES = r"""
for path in "$PWD" "$HOME" "$TMPDIR" "$(dirname "$TAKO_OUTPUT")" /dev/shm; do
  echo yes > "$path/written"
  chmod 640 "$path/written"
  touch -d @0 "$path/written"
done
chmod 750 tracked-before
echo yes > /dev/null
echo seen > "$WRITABLE/mark"
chmod 640 "$WRITABLE/mark"
"""
_DAEMON = r"""
(setsid sh -c "trap '' TERM HUP; exec 9> '$FIFO'; echo up >&9; exec sleep 600" > /dev/null 2>&1 &)
sleep 600
"""


@pytest.fixture
def apart() -> Isolation:
    """Give the level as it is in namespaces; skips where there can be none."""
    found = isolation(LANDLOCK)
    if not found.own_processes:
        pytest.skip("workers can have no namespaces here")
    return found


def _ran(directory: Path, held_by: Isolation, *steps: str) -> Ran:
    return run(run_spec(directory, *steps, isolation=held_by))


def test_a_step_is_alone_with_its_init(tmp_path: Path, apart: Isolation) -> None:
    ran = _ran(tmp_path, apart, "cd /proc && echo [0-9]*; echo I am $$", "cd /proc && echo [0-9]*")
    assert ran.log().split() == ["1", "2", "I", "am", "2"]
    assert ran.log("step-2").split() == ["1", "2"]
    assert ran.state.sandbox is not None
    assert {"pid namespace", "file system of its own"} <= set(ran.state.sandbox.enforced)


@pytest.mark.parametrize(
    ("script", "seen"), [("exit 7", (7, "")), ("kill -USR1 $$", (None, "SIGUSR1")), ("true", (0, ""))]
)
def test_exit_code_and_signal_are_those_of_the_step(
    tmp_path: Path, apart: Isolation, script: str, seen: tuple[int | None, str]
) -> None:
    finished = _ran(tmp_path, apart, script).step()
    assert (finished.exit_code, finished.signal or "") == seen


def test_signals_to_init_end_nothing_and_give_the_worker_no_orders(tmp_path: Path, apart: Isolation) -> None:
    sent = "; ".join(f"kill -{name} 1 || true" for name in ("TERM", "USR1", "USR2", "TSTP", "KILL", "STOP"))
    ran = _ran(tmp_path, apart, f"{sent}; echo still here")
    assert ran.step().status == "succeeded"
    assert "still here" in ran.log()


def test_orphans_are_collected_while_the_step_runs(tmp_path: Path, apart: Isolation) -> None:
    wait = "while test -e /proc/$(cat pid); do sleep 0.01; done"
    assert _ran(tmp_path, apart, f"(sh -c 'echo $$ > pid' &); sleep 0.05; {wait}").end.status == "succeeded"


def test_init_is_no_process_of_the_step(tmp_path: Path, apart: Isolation) -> None:
    # So long that the watchdog has a look, also on a busy machine.
    usage = _ran(tmp_path, apart, "sleep 1").step().usage
    assert usage is not None
    assert usage.tasks == 2


def test_a_step_can_change_its_own_files(tmp_path: Path, apart: Isolation) -> None:
    for name in ("source", "writable"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "tracked-before").touch()
    spec = run_spec(tmp_path, _WRITES, isolation=apart)
    writable = str(tmp_path / "writable")
    environment = {**spec.environment, "WRITABLE": writable}
    mounts = (Mount(writable, writable, writable=True),)
    ran = run(evolve(spec, mounts=mounts, environment=environment))
    assert ran.end.status == "succeeded", ran.log()
    assert (tmp_path / "writable" / "mark").read_text() == "seen\n"


def test_daemons_end_with_their_worker_though_nobody_ends_them(tmp_path: Path, apart: Isolation) -> None:
    """The kernel does it, so that nothing of a step lives on when all of tako is killed at once."""
    fifo = tmp_path / "fifos" / "held"
    fifo.parent.mkdir()
    os.mkfifo(fifo)
    spec = run_spec(tmp_path, _DAEMON, isolation=apart)
    spec = evolve(
        spec,
        mounts=(Mount(str(fifo.parent), str(fifo.parent), writable=True),),
        environment={**spec.environment, "FIFO": str(fifo)},
    )
    listen = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with started(spec) as cell:
            assert select.select([listen], [], [], 60.0)[0]
            assert os.read(listen, 10) == b"up\n"
            cell.worker.send(signal.SIGKILL)
            assert select.select([listen], [], [], GRACE_S)[0], "the daemon lives"
            assert os.read(listen, 10) == b""
            with pytest.raises(WorkerLostError):
                cell.wait()
    finally:
        os.close(listen)


def test_a_step_that_cannot_be_started_leaves_no_init(tmp_path: Path, apart: Isolation) -> None:
    assert apart.own_processes
    policy = Policy({}, str(tmp_path), groups=(str(tmp_path / "no group"),))

    def tried() -> str:
        enter_own_namespaces()
        with pytest.raises(SandboxFailedError):
            landlock_level.launch(policy, ("/bin/true",), own_root=True, own_processes=True)
        return f"left {children()}"

    assert in_process(tried) == "left []"


def test_where_proc_cannot_be_mounted_a_step_has_a_root_of_its_own_all_the_same(
    tmp_path: Path, apart: Isolation
) -> None:
    ran = _ran(tmp_path, evolve(apart, own_processes=False), "test -e /proc/self/fd; test ! -e /var; echo $$")
    assert int(ran.log()) > 2
    assert ran.state.sandbox is not None
    assert "file system of its own" in ran.state.sandbox.enforced
    assert "pid namespace" not in ran.state.sandbox.enforced


def test_the_level_without_namespaces_reports_fewer_measures(tmp_path: Path) -> None:
    bare = evolve(isolation(LANDLOCK), overlays=False, own_root=False, own_processes=False)
    ran = _ran(tmp_path, bare, "nice -n 1 true; ulimit -n 100; taskset 1 true || taskset 2 true")
    assert ran.end.status == "succeeded", ran.log()
    assert ran.state.sandbox is not None
    assert not {"pid namespace", "file system of its own"} & set(ran.state.sandbox.enforced)
