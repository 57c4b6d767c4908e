"""One attack as a value, what is seen of it when it is over, and the judges that say whether it succeeded."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import field, frozen

from tako.config.schema import Produces, Resources
from tako.engine.run.spec import RunSpec
from tako.journal.run_state import RunState
from tests.sandbox.attacks.targets import CANARY, Range

SUCCESS = "got through"


@frozen
class Shot:
    """What came of a step: its run, what its journal says, and which of tako's processes it has ended."""

    spec: RunSpec
    state: RunState
    #: How the run ended; empty if its worker or its root died.
    status: str
    worker_lives: bool
    root_lives: bool
    #: What the quiet child beside it gave; None if that child did not succeed.
    sibling: str | None

    @property
    def log(self) -> str:
        """What the step said."""
        log = self.spec.paths.log("step")
        return log.read_text("utf-8", "backslashreplace") if log.exists() else ""

    @property
    def limit(self) -> str:
        """The limit that ended the step; empty if none did."""
        finished = self.state.step("step").finished
        if finished is None:
            return ""
        return "timeout" if finished.status == "timed_out" else finished.limit

    @property
    def told(self) -> str:
        """The record of the step's end, with its outputs."""
        return str(self.state.step("step").finished)


Judge = Callable[[Range, Shot], bool]


@frozen
class Attack:
    """`succeeded` says so from outside; `resources` and `timeout_s` make bombs small.

    `environment` is the step's `env:`, whose values may name what scripts may name.
    """

    name: str
    script: str
    succeeded: Judge
    produces: Produces = field(factory=Produces)
    resources: Resources | None = None
    network: str = "default"
    environment: Mapping[str, str] = field(factory=dict)
    timeout_s: float = 60.0
    #: How often the step runs, if it fails, in what it has left behind.
    attempts: int = 1
    #: Limits with the same value, of which either may be met first.
    either: tuple[str, ...] = ()
    #: Levels at which only a control group stops it: who cannot make one is not protected.
    by_group: tuple[str, ...] = ()
    #: Levels at which only namespaces stop it: not stopped where workers cannot have any.
    by_namespaces: tuple[str, ...] = ()


def python(program: str) -> str:
    """A script that is a program in Python."""
    return f"python3 - <<'END'\nimport os\n{program}\nEND"


def read_it(_: Range, shot: Shot) -> bool:
    """What is secret is in what the step said or gave."""
    return CANARY in shot.log or CANARY in shot.told


def said_so(_: Range, shot: Shot) -> bool:
    """The step says so itself: nothing outside has changed that could be seen."""
    return SUCCESS in shot.log


def changed(which: Callable[[Range], Path]) -> Judge:
    """A file is gone, has other content or another name."""

    def judge(scene: Range, _: Shot) -> bool:
        path = which(scene)
        return not path.exists() or path.read_text() != CANARY or path.stat().st_nlink > 1

    return judge


def connected(which: Callable[[Range], socket.socket]) -> Judge:
    """Somebody has connected to a socket, or sent something to it."""

    def judge(scene: Range, _: Shot) -> bool:
        bound = which(scene)
        with contextlib.suppress(BlockingIOError):
            if bound.type == socket.SOCK_DGRAM:
                bound.recv(1)
            else:
                bound.accept()[0].close()
            return True
        return False

    return judge


def typed(side: int) -> Judge:
    """Something can be read at one side of the terminal."""

    def judge(scene: Range, _: Shot) -> bool:
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(scene.terminal[side], 64))
        return False

    return judge


def left_a_process(scene: Range, _: Shot) -> bool:
    """A process with the mark is still there."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if scene.mark.encode() in (entry / "cmdline").read_bytes():
                return True
    return False


def went_on(_: Range, shot: Shot) -> bool:
    """No limit has ended it."""
    return not shot.limit


def succeeded(_: Range, shot: Shot) -> bool:
    """The step was taken for a good one."""
    return shot.status != "failed"


def collected(_: Range, shot: Shot) -> bool:
    """The secret is among the run's artifacts."""
    found = shot.spec.paths.artifacts
    return any(CANARY in path.read_text() for path in found.rglob("*") if path.is_file())


def output(path: str) -> Produces:
    """An output that is read from a file."""
    return Produces(outputs={"taken": f"from_file:{path}"})


def artifact(path: str) -> Produces:
    """An artifact of files."""
    return Produces(artifacts={"taken": (path,)})
