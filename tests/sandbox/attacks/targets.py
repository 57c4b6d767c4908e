"""What attacks aim at: files, a process, sockets, memory and a terminal outside of any sandbox.

In: a directory that is the attacked user's world. Out: a `Range`, taken away again at the end.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from tako.layout.machine import DEV_SHM

#: A file beside the tool that only root may read.
CLOSED = "closed"
#: A file beside the one that is shown, which a program outside has locked.
LOCKED = "locked"
#: Where the shown directory is to be seen once more, below one that the step writes.
SHOWN_INSIDE = "below/shown"
CANARY = "canary-5d1f0c"
_libc = ctypes.CDLL(None, use_errno=True)
_MESSAGE_MAX = 64
_KEYS_FROM, _KEYS = 0x7A000000, 16
_IPC_RMID = 0


class _QueueAttributes(ctypes.Structure):
    """`struct mq_attr` of mqueue.h."""

    _fields_ = (
        ("flags", ctypes.c_long),
        ("most", ctypes.c_long),
        ("size", ctypes.c_long),
        ("now", ctypes.c_long),
        ("room", ctypes.c_long * 4),
    )


@frozen
class Sockets:
    """Who listens outside: at two paths, at an abstract name, on the loopback, for datagrams."""

    pathname: socket.socket
    shown: socket.socket
    abstract: socket.socket
    loopback: socket.socket
    datagram: socket.socket


@frozen
class Range:
    """What is to be hurt, and how to see from outside whether it was."""

    directory: Path
    victim: subprocess.Popen[bytes]
    sockets: Sockets
    shared: Path
    segment: str
    queue: str
    #: The program that runs as another user where that can be made.
    tool: Path
    #: Its keyboard and screen, and the side that programs read and write.
    terminal: tuple[int, int]
    #: Where whoever reads the pipe hears of it.
    heard: int

    @property
    def mark(self) -> str:
        """What names and arguments of this attack's alone hold."""
        return f"tako-attack-{self.victim.pid}"

    @property
    def keys(self) -> range:
        """Keys of System V segments that are this attack's alone."""
        first = _KEYS_FROM + self.victim.pid * _KEYS
        return range(first, first + _KEYS)

    @property
    def key(self) -> Path:
        """A private key in a home."""
        return self.directory / "home" / ".ssh" / "id_ed25519"

    @property
    def credential(self) -> Path:
        """A file of passwords below a tool that steps are shown."""
        return self.directory / "home" / ".sdkman" / "candidates" / "java" / "17" / "jmxremote.password"

    @property
    def profile(self) -> Path:
        """A file in a home that a login runs."""
        return self.directory / "home" / ".bashrc"

    @property
    def neighbour(self) -> Path:
        """A file in another child's workspace."""
        return self.directory / "neighbour" / "work" / "repo" / "file"

    @property
    def shown(self) -> Path:
        """A file of the user's that every step may read."""
        return self.directory / "shown" / "file"

    @property
    def home_of_tako(self) -> Path:
        """A `TAKO_HOME`."""
        return self.directory / "tako"

    @property
    def pipe(self) -> Path:
        """A FIFO beside it, which a program outside reads."""
        return self.shown.parent / "pipe"

    @property
    def checkout(self) -> Path:
        """A repository that was put into the cache by hand."""
        return self.home_of_tako / "cache" / "repos" / "acme" / "dep" / "main"

    @property
    def cached(self) -> Path:
        """A file in the cache."""
        return self.checkout / "file"

    @property
    def planted(self) -> Path:
        """What exists once a program of the attacker's has run outside."""
        return self.directory / "planted"

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that no attack may change."""
        return (self.key, self.credential, self.profile, self.neighbour, self.shown, self.cached, self.shared)

    def words(self) -> dict[str, str]:
        """What scripts may name, as shell variables."""
        return {
            "KEY": str(self.key),
            "CREDENTIAL": str(self.credential),
            "PROFILE": str(self.profile),
            "NEIGHBOUR": str(self.neighbour),
            "SHOWN": str(self.shown),
            "HOME_OF_TAKO": str(self.home_of_tako),
            "CHECKOUT": str(self.checkout),
            "CACHED": str(self.cached),
            "PLANTED": str(self.planted),
            "VICTIM": str(self.victim.pid),
            "SOCKET": str(self.sockets.pathname.getsockname()),
            "SHOWN_SOCKET": str(self.sockets.shown.getsockname()),
            "PIPE": str(self.pipe),
            "LOCKED": str(self.pipe.with_name(LOCKED)),
            "CLOSED": str(self.tool.parent / CLOSED),
            "ABSTRACT": self.sockets.abstract.getsockname()[1:].decode(),
            "PORT": str(self.sockets.loopback.getsockname()[1]),
            "DATAGRAMS": str(self.sockets.datagram.getsockname()[1]),
            "SHARED": str(self.shared),
            "SEGMENT": self.segment,
            "QUEUE": self.queue,
            "KEYS": str(self.keys.start),
            "TOOL": str(self.tool),
            "TERMINAL": os.ttyname(self.terminal[1]),
            "MARK": self.mark,
        }


@contextlib.contextmanager
def targets(directory: Path, tool: Path) -> Iterator[Range]:
    """Give what is to be hurt, and take it away again."""
    with contextlib.ExitStack() as stack:
        shared = Path(stack.enter_context(tempfile.NamedTemporaryFile(dir="/dev/shm")).name)
        terminal = os.openpty()
        for end in terminal:
            stack.callback(os.close, end)
            os.set_blocking(end, False)
        shown = directory / "shown"
        shown.mkdir()
        os.mkfifo(shown / "pipe")
        heard = os.open(shown / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        stack.callback(os.close, heard)
        locked = stack.enter_context((shown / LOCKED).open("w"))
        fcntl.flock(locked, fcntl.LOCK_EX)
        scene = Range(
            directory,
            stack.enter_context(_victim(directory)),
            stack.enter_context(_sockets(directory)),
            shared,
            stack.enter_context(_segment()),
            stack.enter_context(_queue()),
            tool,
            terminal,
            heard,
        )
        for path in scene.files:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_text(CANARY)
        scene.home_of_tako.chmod(0o700)
        try:
            yield scene
        finally:
            (DEV_SHM / scene.mark).unlink(missing_ok=True)
            remove_segments(scene.keys)


def remove_segments(keys: range) -> int:
    """Remove System V segments by their keys, and give how many there were; shmget(2), shmctl(2)."""
    found = [segment for key in keys if (segment := _libc.shmget(key, 0, 0)) >= 0]
    for segment in found:
        _libc.shmctl(segment, _IPC_RMID, None)
    return len(found)


@contextlib.contextmanager
def _sockets(directory: Path) -> Iterator[Sockets]:
    with contextlib.ExitStack() as stack:
        made = {}
        for name, family, kind, address in (
            ("pathname", socket.AF_UNIX, socket.SOCK_STREAM, str(directory / "s")),
            ("shown", socket.AF_UNIX, socket.SOCK_STREAM, str(directory / "shown" / "s")),
            ("abstract", socket.AF_UNIX, socket.SOCK_STREAM, f"\0{directory}"),
            ("loopback", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            ("datagram", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
        ):
            bound = made[name] = stack.enter_context(socket.socket(family, kind))
            bound.bind(address)
            bound.setblocking(False)
            if kind == socket.SOCK_STREAM:
                bound.listen()
        yield Sockets(**made)


@contextlib.contextmanager
def _segment() -> Iterator[str]:
    """A System V shared memory segment."""
    made = subprocess.run(["ipcmk", "-M", "4096"], capture_output=True, check=True, text=True)
    segment = re.findall(r"\d+", made.stdout)[-1]
    try:
        yield segment
    finally:
        subprocess.run(["ipcrm", "-m", segment], capture_output=True, check=False)


@contextlib.contextmanager
def _queue() -> Iterator[str]:
    """A POSIX message queue with one message (mq_overview(7))."""
    # A pid is used again, a queue outlives whoever is killed.
    name = f"/tako-attack-{os.urandom(6).hex()}"
    attributes = _QueueAttributes(0, 1, _MESSAGE_MAX, 0, (ctypes.c_long * 4)())
    descriptor = _libc.mq_open(
        name.encode(), os.O_CREAT | os.O_RDWR | os.O_EXCL, ctypes.c_uint(0o600), ctypes.byref(attributes)
    )
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    try:
        assert _libc.mq_send(descriptor, CANARY.encode(), len(CANARY), 0) == 0
        yield name
    finally:
        os.close(descriptor)
        _libc.mq_unlink(name.encode())


def queue_is_whole(name: str) -> bool:
    """Whether the queue is still there with its message."""
    descriptor = _libc.mq_open(name.encode(), os.O_RDONLY)
    if descriptor < 0:
        return False
    attributes = _QueueAttributes()
    _libc.mq_getattr(descriptor, ctypes.byref(attributes))
    os.close(descriptor)
    return bool(attributes.now)


@contextlib.contextmanager
def _victim(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the canary in its environment and in an open file."""
    with tempfile.TemporaryFile() as held:
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
    try:
        yield victim
    finally:
        # One that an attack has ended is collected already: its pid may be another's by now.
        if victim.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(victim.pid, signal.SIGKILL)
            victim.wait()


def set_user_id_tool(directory: Path, owner: int) -> Path:
    """A copy of id(1) that runs as `owner`, where the calling user may make one of another's."""
    tool = directory / "tools" / "id"
    tool.parent.mkdir(mode=0o755)
    tool.write_bytes(Path("/usr/bin/id").read_bytes())
    with contextlib.suppress(PermissionError):
        os.chown(tool, owner, owner)
    tool.chmod(0o755 | stat.S_ISUID)
    closed = tool.parent / CLOSED
    closed.write_text(CANARY)
    # Its owner could read it; only root's steps are root.
    closed.chmod(0o600 if os.geteuid() == 0 else 0)
    return tool
