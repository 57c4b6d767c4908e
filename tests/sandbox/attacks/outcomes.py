"""Runs one attack at one level and says what came of it, judged from outside.

    the test ── judge ─┬─ what is to be hurt (targets.py)
                       └─ root ─┬─ worker ── the attack
                                └─ worker ── a quiet child, a repository with a secret of its own

In: an attack, a level, a directory. Out: an `Outcome`. The judge is a process of its own, so that it can be
another user and lose its root, and a subreaper, so that it sees what is left.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import select
import shlex
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from string import Template
from typing import NoReturn

import psutil
from attrs import asdict, field, frozen

import tako
from tako.config.schema import Retry, Step
from tako.engine.run.run_directory import machine_limits, make_directory
from tako.engine.run.spec import RunSpec, Secrets, Segment, SegmentEnd, secrets_of
from tako.engine.workers.forked_cell import ForkedCell
from tako.engine.workers.workflow_runner import WorkerLostError
from tako.journal.run_state import RunState
from tako.layout.machine import DEV_SHM
from tako.layout.run import SeenDirectory
from tako.sandbox.isolation import Isolation
from tako.sandbox.machine_view import machine_view
from tako.sandbox.policy import NAMESPACE, PROCESS, Mount
from tako.system.accounting.cgroups import make_groups, remove
from tako.system.libc import become_subreaper, forbid_dumps
from tako.system.process.descendants import end_orphans
from tako.values import evolve
from tests.sandbox.attacks.shot import Attack, Shot, output
from tests.sandbox.attacks.targets import CANARY, SHOWN_INSIDE, Range, set_user_id_tool, targets
from tests.support.processes import GRACE_S
from tests.support.segments import NO_SECRETS, run_spec, state_of
from tests.support.users import NOBODY, in_process

#: What the table says of an attack that only namespaces stop.
IN_NAMESPACES = "stopped in namespaces"
STOPPED, NOT_STOPPED, LIMITED = "stopped", "**not stopped**", "limited"
UNHURT = "quiet and done"
_BEGUN = "the step has begun"
_JOBS = 2
_GRACE_S = 0.5
_WITHIN_S = 60.0
_ENOUGH = 1 << 30
_QUIET = """
echo up > "$TMPDIR/up"
read line < "$TMPDIR/go"
echo "quiet and $line" > out
"""


@frozen
class Outcome:
    """What came of an attack: what it has left behind or changed, and the result of the child beside it."""

    word: str
    #: The step has begun: what never ran proves nothing.
    begun: bool
    #: Its user can make a control group that bounds memory.
    grouped: bool
    left: list[str] = field(factory=list)
    beside: str | None = None


@frozen
class _Fired:
    """What the root tells the judge."""

    end: SegmentEnd | None
    sibling: str | None


def outcome(attack: Attack, isolation: Isolation, directory: Path) -> Outcome:
    """Run one attack at one level as the user who runs the tests."""
    tool = set_user_id_tool(directory, NOBODY)
    judge = Judge(attack, isolation, directory, tool)
    return judged(lambda: judge)


def judged(judge: Callable[[], Judge]) -> Outcome:
    """Have a process of its own be the judge."""
    answer = in_process(lambda: json.dumps(asdict(judge()())))
    try:
        return Outcome(**json.loads(answer))
    except ValueError as error:
        raise AssertionError(answer) from error


@frozen
class Judge:
    """Fires one attack at one level, as whatever user the calling process is; `tool` see `Range`."""

    attack: Attack
    isolation: Isolation
    directory: Path
    tool: Path
    environment: Mapping[str, str] = field(factory=dict)

    def __call__(self) -> Outcome:
        """Give what came of it. The calling process becomes a subreaper and has no other children."""
        become_subreaper()
        # Whoever is killed leaves what it had there.
        tempfile.tempdir = str(self.directory / "t")
        (self.directory / "t").mkdir()
        with targets(self.directory, self.tool) as scene:
            shot = self._shot(scene)
            left = list(self._left(scene, shot))
            begun = _BEGUN in shot.log.splitlines()
            if self.attack.succeeded(scene, shot):
                return Outcome(NOT_STOPPED, begun, _can_group(), left, shot.sibling)
            left += [f"{path} is changed" for path in scene.files if path.read_text() != CANARY]
            return Outcome(self._word(shot.limit), begun, _can_group(), left, shot.sibling)

    def _word(self, limit: str) -> str:
        if not limit:
            return STOPPED
        return f"{LIMITED} ({' or '.join(self.attack.either) if limit in self.attack.either else limit})"

    def _spec(self, number: int, step: Step) -> RunSpec:
        source = self.directory / "source"
        source.mkdir(exist_ok=True)
        (source / "tracked").write_text(CANARY)
        spec = run_spec(self.directory, step, number=number, isolation=self._with_tools())
        shown = str(self.directory / "shown")
        return evolve(
            spec,
            environment=self.environment or spec.environment,
            limits=machine_limits(self.directory, _JOBS),
            # The second one lies in a directory that the step writes.
            mounts=(Mount(shown, shown), Mount(shown, str(self._exchange(spec) / SHOWN_INSIDE))),
        )

    def _exchange(self, spec: RunSpec) -> Path:
        paths = SeenDirectory(spec.directory) if self.isolation.level == NAMESPACE else spec.paths
        return paths.exchange

    def _with_tools(self) -> Isolation:
        """The level, with the tools of the attacked user's home and another."""
        machine = self.isolation.machine
        if machine is None:
            return self.isolation
        view = machine_view({}, (self.directory / "home",), ())
        hides = self.isolation.level == NAMESPACE or self.isolation.own_root
        view = view if hides else view.without_closed()
        tools = (*machine.tools, *view.tools, str(self.tool.parent))
        return evolve(self.isolation, machine=evolve(machine, tools=tools, closed=view.closed))

    def _shot(self, scene: Range) -> Shot:
        quiet = self._spec(2, Step(id="step", run=_QUIET, secrets=("TOKEN",), produces=output("out")))
        hostile = self._spec(1, self._step("", {}))
        listen, say = os.pipe2(os.O_CLOEXEC)
        root = os.fork()
        if root == 0:
            os.close(listen)
            _tell(say, lambda: self._fire(scene, hostile, quiet))
        os.close(say)
        with os.fdopen(listen, "rb") as file:
            said = file.read()
        os.waitpid(root, 0)
        # Nothing was said by a root that was killed.
        fired: _Fired | str = _Fired(None, None)
        if said:
            fired = pickle.loads(said)  # noqa: S301 - written by our own child process
        assert isinstance(fired, _Fired), fired
        state = state_of(hostile) if hostile.paths.journal.exists() else RunState()
        status = fired.end.status if fired.end else ""
        return Shot(hostile, state, status, fired.end is not None, bool(said), fired.sibling)

    def _step(self, prelude: str, words: Mapping[str, str]) -> Step:
        attack = self.attack
        given = attack.environment.items()
        return Step(
            id="step",
            run=prelude + attack.script,
            env={name: Template(value).safe_substitute(words) for name, value in given},
            produces=attack.produces,
            resources=attack.resources,
            network=attack.network,
            timeout_s=attack.timeout_s,
            retry=Retry(max_attempts=attack.attempts, backoff_s=0.0),
        )

    def _fire(self, scene: Range, hostile: RunSpec, quiet: RunSpec) -> _Fired:
        """What the root does: run the attack while a sibling is in the middle of its step."""
        become_subreaper()
        forbid_dumps()
        with _beside(quiet) as (sibling, go):
            cell = ForkedCell()
            words = (
                scene.words()
                | _pids(sibling, cell)
                | {
                    "JOURNAL": str(hostile.paths.journal),
                    "TAKO": str(Path(tako.__path__[0]) / "__main__.py"),
                }
            )
            exports = (f"export {name}={shlex.quote(value)}\n" for name, value in words.items())
            prelude = "".join((f"echo {_BEGUN}\n", *exports))
            workflow = evolve(hostile.workflow, steps=(self._step(prelude, words),))
            end = _ended(cell, evolve(hostile, workflow=workflow), sibling)
            # Its worker removes the FIFO where the attack has ended it.
            os.write(go, b"done\n")
            with contextlib.suppress(WorkerLostError):
                if sibling.wait().status == "succeeded":
                    return _Fired(end, state_of(quiet).outputs_of("step").get("taken"))
            return _Fired(end, None)

    def _left(self, scene: Range, shot: Shot) -> Iterator[str]:
        """What is still there once everything had the time that is promised."""
        yield from _processes_left(scene.victim.pid)
        # At `process` it is the machine's: that something stays there is an attack of its own.
        if self.isolation.level != PROCESS and (DEV_SHM / scene.mark).exists():
            yield "a file in /dev/shm"
        if str(self.directory) in Path("/proc/self/mountinfo").read_text():
            yield "a mount"
        if shot.status == "succeeded" and shot.spec.paths.work.exists():
            yield "the workspace"


def _can_group() -> bool:
    groups = make_groups(None, _ENOUGH)
    remove(groups)
    return bool(groups.memory)


def _tell(say: int, fire: Callable[[], _Fired]) -> NoReturn:
    """End this process with what it has to say, or with what went wrong in it."""
    told: _Fired | str = ""
    try:
        told = fire()
    except BaseException:  # noqa: BLE001 - told to the judge, which fails with it
        told = traceback.format_exc()
    finally:
        with os.fdopen(say, "wb") as file:
            file.write(pickle.dumps(told))
        os._exit(0)


@contextlib.contextmanager
def _started(cell: ForkedCell, spec: RunSpec, secrets: Secrets) -> Iterator[Path]:
    """Start a run's first segment; gives its TMPDIR."""
    make_directory(spec.paths)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        try:
            for name in ("up", "go"):
                os.mkfifo(Path(temporary) / name)
            cell.start(Segment(spec, 0, 1, temporary, _GRACE_S, secrets))
            yield Path(temporary)
        finally:
            cell.worker.end()
            cell.close()


@contextlib.contextmanager
def _beside(spec: RunSpec) -> Iterator[tuple[ForkedCell, int]]:
    """A sibling that is in the middle of its step, which goes on when the descriptor is written to."""
    cell = ForkedCell()
    with _started(cell, spec, secrets_of({"TOKEN": CANARY})) as temporary:
        up, go = (os.open(temporary / name, os.O_RDWR | os.O_NONBLOCK) for name in ("up", "go"))
        try:
            ready, _, _ = select.select([up], [], [], _WITHIN_S)
            assert ready, "the sibling has not started"
            yield cell, go
        finally:
            os.close(up)
            os.close(go)


def _pids(sibling: ForkedCell, cell: ForkedCell) -> dict[str, str]:
    worker = sibling.worker.identity.pid
    step = psutil.Process(worker).children(recursive=True)[-1].pid
    pids = {"ROOT": os.getpid(), "WORKER": cell.worker.identity.pid, "SIBLING": worker, "SIBLING_STEP": step}
    return {name: str(pid) for name, pid in pids.items()}


def _ended(cell: ForkedCell, spec: RunSpec, sibling: ForkedCell) -> SegmentEnd | None:
    """How the run ended; None if its worker died, whose orphans are ended as the root does it."""
    with _started(cell, spec, NO_SECRETS):
        try:
            return cell.wait()
        except WorkerLostError:
            end_orphans(spare=lambda: (sibling.worker.identity.pid,))
            return None


def _processes_left(victim: int) -> Iterator[str]:
    """Whoever lives longer than is promised; ended here."""
    own = psutil.Process()
    deadline = time.monotonic() + GRACE_S

    def alive() -> list[psutil.Process]:
        with contextlib.suppress(ChildProcessError):
            for child in own.children():
                if child.pid != victim:
                    os.waitpid(child.pid, os.WNOHANG)
        return [process for process in own.children(recursive=True) if process.pid != victim]

    while (found := alive()) and time.monotonic() < deadline:
        time.sleep(0.01)
    for process in found:
        with contextlib.suppress(psutil.Error):
            yield f"process {process.pid} {process.name()}"
            process.kill()
