"""Small hostile programs, run as steps, each judged from outside: by what it read, changed, reached or left.

In: a level. Out: for each attack whether it was stopped. `docs/sandbox.md` holds the outcome for every level;
`scripts/attack_table` writes it there, and a test compares.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import field, frozen

import tako
from tako.config.schema import Produces, Resources, Step
from tests.support.isolations import isolation
from tests.support.segments import Ran, run, run_spec

CANARY = "canary-5d1f0c"
MARK = "TAKO_ATTACK_MARK"
STOPPED, NOT_STOPPED, LIMITED = "stopped", "**not stopped**", "limited"
_MIB = 1 << 20


@frozen
class Range:
    """What is to be hurt: files, a process, sockets and shared memory outside of any sandbox."""

    directory: Path
    victim: subprocess.Popen[bytes]
    pathname: socket.socket
    abstract: socket.socket
    loopback: socket.socket
    shared: Path
    segment: str

    @property
    def key(self) -> Path:
        """A private key in a home."""
        return self.directory / "home" / ".ssh" / "id_ed25519"

    @property
    def profile(self) -> Path:
        """A file in a home that a login runs."""
        return self.directory / "home" / ".bashrc"

    @property
    def neighbour(self) -> Path:
        """A file in another child's workspace."""
        return self.directory / "neighbour" / "work" / "repo" / "file"

    @property
    def cached(self) -> Path:
        """A file in the cache."""
        return self.directory / "cache" / "repos" / "file"

    def words(self) -> dict[str, str]:
        """What scripts may name."""
        return {
            "key": str(self.key),
            "profile": str(self.profile),
            "neighbour": str(self.neighbour),
            "cached": str(self.cached),
            "pid": str(self.victim.pid),
            "socket": str(self.pathname.getsockname()),
            "abstract": self.abstract.getsockname()[1:].decode(),
            "port": str(self.loopback.getsockname()[1]),
            "shared": str(self.shared),
            "segment": self.segment,
            "mark": MARK,
        }


Judge = Callable[[Range, Ran], bool]


@frozen
class Attack:
    """`succeeded` says so from outside; `resources` make bombs small."""

    name: str
    script: str
    succeeded: Judge
    produces: Produces = field(factory=Produces)
    resources: Resources | None = None
    network: str = "default"


def _read_it(_: Range, ran: Ran) -> bool:
    told = str(ran.state.step("step").finished)
    return CANARY in ran.log("step") or CANARY in told


def _said_so(_: Range, ran: Ran) -> bool:
    return "got through" in ran.log("step")


def _changed(which: Callable[[Range], Path]) -> Judge:
    return lambda scene, _: which(scene).read_text() != CANARY or which(scene).stat().st_nlink > 1


def _connected(which: Callable[[Range], socket.socket]) -> Judge:
    def judge(scene: Range, _: Ran) -> bool:
        with contextlib.suppress(BlockingIOError):
            which(scene).accept()[0].close()
            return True
        return False

    return judge


def _connect(family: str, address: str) -> str:
    return f"python3 -c 'import socket; socket.socket(socket.{family}).connect({address})'"


def _left_a_process(*_: object) -> bool:
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if MARK.encode() in (entry / "cmdline").read_bytes():
                return True
    return False


def _segment_gone(scene: Range, _: Ran) -> bool:
    shown = subprocess.run(["ipcs", "-m", "-i", scene.segment], capture_output=True, check=False)
    return b"shmid" not in shown.stdout.lower()


def _output(path: str) -> Produces:
    return Produces(outputs={"taken": f"from_file:{path}"})


def _artifact(path: str) -> Produces:
    return Produces(artifacts={"taken": (path,)})


def _collected(_: Range, ran: Ran) -> bool:
    found = ran.spec.paths.artifacts
    return any(CANARY in path.read_text() for path in found.rglob("*") if path.is_file())


_BOMBED: Judge = lambda _, ran: not ran.step("step").limit  # noqa: E731 - a value like its neighbours
_PTRACE = "import ctypes, os; c = ctypes.CDLL(None); exit(c.ptrace(16, {pid}, 0, 0) != 0)"

ATTACKS = (
    Attack("read an ssh key", "cat {key}", _read_it),
    Attack(
        "read it by `..` from the workspace",
        "cat ./../../../../../../../../../../../../../../..{key}",
        _read_it,
    ),
    Attack("read it through a link in the workspace", "ln -s {key} link && cat link", _read_it),
    Attack("read it through `/proc/PID/root`", "cat /proc/{pid}/root{key}", _read_it),
    Attack("read it through `/proc/PID/cwd`", "cat /proc/{pid}/cwd/home/.ssh/id_ed25519", _read_it),
    Attack("make a hard link to it", "ln {key} mine; exit 1", _changed(lambda scene: scene.key)),
    Attack("change a login script of the user", "echo x >> {profile}", _changed(lambda scene: scene.profile)),
    Attack("read another child's workspace", "cat {neighbour}", _read_it),
    Attack("change another child's workspace", "echo x > {neighbour}", _changed(lambda s: s.neighbour)),
    Attack("change the cache", "echo x > {cached}", _changed(lambda scene: scene.cached)),
    Attack("open its own journal for writing", ": >> {journal} && echo got through", _said_so),
    Attack("open tako's own files for writing", ": >> {tako} && echo got through", _said_so),
    Attack("an output that is a link to a file outside", "ln -s {key} out", _read_it, _output("out")),
    Attack(
        "an output behind a linked directory", "ln -s $(dirname {key}) d", _read_it, _output("d/id_ed25519")
    ),
    Attack("an artifact that is a link to a file outside", "ln -s {key} out", _collected, _artifact("out")),
    Attack("an artifact behind a linked directory", "ln -s $(dirname {key}) d", _collected, _artifact("d/*")),
    Attack(
        "an output that is a FIFO", "mkfifo out", lambda _, ran: ran.end.status != "failed", _output("out")
    ),
    Attack(
        "an output that is a device",
        "mknod out c 1 5 || ln -s /dev/zero out",
        lambda _, ran: ran.end.status != "failed",
        _output("out"),
    ),
    Attack("read another process's environment", "tr '\\0' '\\n' < /proc/{pid}/environ", _read_it),
    Attack("read another process's command line", "tr '\\0' ' ' < /proc/{pid}/cmdline", _said_so),
    Attack("read another process's files", "cat /proc/{pid}/fd/0", _read_it),
    Attack("trace another process", f'python3 -c "{_PTRACE}" && echo got through', _said_so),
    Attack(
        "end another process", "kill -KILL {pid}; sleep 0.2", lambda scene, _: scene.victim.poll() is not None
    ),
    Attack(
        "connect to an abstract socket",
        _connect("AF_UNIX", '"\\0{abstract}"'),
        _connected(lambda scene: scene.abstract),
    ),
    Attack(
        "connect to a socket with a path (docker, D-Bus)",
        _connect("AF_UNIX", '"{socket}"'),
        _connected(lambda scene: scene.pathname),
    ),
    Attack(
        "use the network in spite of `network: none`",
        _connect("AF_INET", '("127.0.0.1", {port})'),
        _connected(lambda scene: scene.loopback),
        network="none",
    ),
    Attack("read shared memory of others in /dev/shm", "cat {shared}", _read_it),
    Attack("remove a System V segment of others", "ipcrm -m {segment}", _segment_gone),
    Attack("a user namespace of its own", "unshare -Ur true && echo got through", _said_so),
    Attack("a mount", "unshare -Urm mount -t tmpfs x /mnt && echo got through", _said_so),
    Attack(
        "leave a daemon: double fork, own session, deaf to SIGTERM",
        "(setsid sh -c \"trap '' TERM HUP; : {mark}; sleep 600\" > /dev/null 2>&1 &) ; sleep 0.2",
        _left_a_process,
    ),
    Attack(
        "stop itself and stay",
        "(setsid sh -c ': {mark}; kill -STOP $$; sleep 600' > /dev/null 2>&1 &); sleep 0.2",
        _left_a_process,
    ),
    Attack(
        "use a descriptor of tako's",
        "for n in 3 4 5 6 7 8 9; do {{ true <&$n; }} 2>/dev/null && echo got through; done; true",
        _said_so,
    ),
    Attack("read a terminal's input (TIOCSTI)", "script -qc true /dev/tty && echo got through", _said_so),
    Attack(
        "a fork bomb",
        "b() {{ b | b & }}; b; sleep 600",
        _BOMBED,
        resources=Resources(process_limit=50),
    ),
    Attack(
        "a memory bomb",
        "python3 -c 'import time; x = b\"x\" * (300 << 20); time.sleep(600)'",
        _BOMBED,
        resources=Resources(mem_limit=100 * _MIB),
    ),
    Attack(
        "a disk bomb of many files",
        "i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero > f$i; done",
        _BOMBED,
        resources=Resources(disk_limit=20 * _MIB),
    ),
    Attack(
        "a flood of output",
        "yes",
        lambda _, ran: ran.end.status != "failed",
        resources=Resources(disk_limit=20 * _MIB),
    ),
)


@contextlib.contextmanager
def targets(directory: Path) -> Iterator[Range]:
    """Give what is to be hurt, and take it away again."""
    with contextlib.ExitStack() as stack:
        shared = Path(stack.enter_context(tempfile.NamedTemporaryFile(dir="/dev/shm")).name)
        made = subprocess.run(["ipcmk", "-M", "4096"], capture_output=True, check=True, text=True)
        segment = re.findall(r"\d+", made.stdout)[-1]
        stack.callback(subprocess.run, ["ipcrm", "-m", segment], capture_output=True, check=False)
        sockets = {}
        for name, family, address in (
            ("pathname", socket.AF_UNIX, str(directory / "s")),
            ("abstract", socket.AF_UNIX, f"\0{directory}"),
            ("loopback", socket.AF_INET, ("127.0.0.1", 0)),
        ):
            listening = sockets[name] = stack.enter_context(socket.socket(family))
            listening.bind(address)
            listening.listen()
            listening.setblocking(False)
        held = stack.enter_context(tempfile.TemporaryFile())
        held.write(CANARY.encode())
        held.flush()
        victim = subprocess.Popen(
            ["got through", "600"],
            executable="/bin/sleep",
            env={"CANARY": CANARY},
            stdin=held,
            cwd=directory,
            start_new_session=True,
        )
        stack.callback(_end, victim)
        scene = Range(directory, victim, segment=segment, shared=shared, **sockets)
        for path in (scene.key, scene.profile, scene.neighbour, scene.cached, scene.shared):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_text(CANARY)
        yield scene


def _end(victim: subprocess.Popen[bytes]) -> None:
    # One that an attack has ended is collected already: its pid may be another's by now.
    if victim.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()


def outcome(attack: Attack, level: str, directory: Path) -> str:
    """Run one attack at one level and say what came of it."""
    with targets(directory) as scene:
        spec = run_spec(directory, "true", isolation=isolation(level))
        words = scene.words() | {
            "journal": str(spec.paths.journal),
            "tako": str(Path(tako.__path__[0]) / "__main__.py"),
        }
        step = Step(
            id="step",
            run=attack.script.format(**words),
            produces=attack.produces,
            resources=attack.resources,
            network=attack.network,
            timeout_s=60,
        )
        ran = run(run_spec(directory, step, isolation=isolation(level)), grace_s=0.5)
        if attack.succeeded(scene, ran):
            return NOT_STOPPED
        finished = ran.state.step("step").finished
        limit = finished.limit if finished is not None else ""
        return f"{LIMITED} ({limit})" if limit else STOPPED
