"""Attacks by what else the kernel offers: sockets, shared memory, terminals, namespaces, other users."""

from __future__ import annotations

import subprocess

from tako.sandbox.policy import LANDLOCK
from tests.sandbox.attacks.shot import Attack, Shot, connected, python, read_it, said_so, typed
from tests.sandbox.attacks.targets import Range, queue_is_whole

_TERMINAL = r"""
import fcntl, termios
terminal = os.open(os.environ['TERMINAL'], os.O_RDWR)
for byte in b'rm -rf /\n':
    fcntl.ioctl(terminal, termios.TIOCSTI, bytes([byte]))
"""
_QUEUE = r"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
queue = libc.mq_open(os.environ['QUEUE'].encode(), os.O_RDONLY | os.O_NONBLOCK)
message = ctypes.create_string_buffer(8192)
libc.mq_receive(queue, message, 8192, None)
print(message.value.decode())
"""
#: io_uring_setup(2) has the same number everywhere.
_URING = "import ctypes; print('got through' if ctypes.CDLL(None).syscall(425, 1, bytes(120)) >= 0 else 'no')"
_KEYS = r"""
import ctypes, platform
number = {'x86_64': 250, 'aarch64': 219}[platform.machine()]
print('got through' if ctypes.CDLL(None).syscall(number, 0, -4, 0) >= 0 else 'no')
"""
_NAMESPACES = "for n in net ipc uts cgroup mount time; do unshare --$n true && echo got through; done; true"
_ENTER = "for n in net ipc uts mount; do nsenter --target $VICTIM --$n true && echo got through; done; true"


def _connect(family: str, address: str) -> str:
    return python(f"import socket; socket.socket(socket.{family}).connect({address})")


_ABSTRACT = "'\\0' + os.environ['ABSTRACT']"
_DATAGRAM = (
    "import socket\n"
    "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as by:\n"
    "    by.sendto(b'what is the address of', ('127.0.0.1', int(os.environ['DATAGRAMS'])))"
)


def _segment_gone(scene: Range, _: Shot) -> bool:
    shown = subprocess.run(["ipcs", "-m", "-i", scene.segment], capture_output=True, check=False)
    return b"shmid" not in shown.stdout.lower()


def _queue_gone(scene: Range, _: Shot) -> bool:
    return not queue_is_whole(scene.queue)


ATTACKS = (
    Attack(
        "connect to an abstract socket",
        _connect("AF_UNIX", _ABSTRACT),
        connected(lambda scene: scene.sockets.abstract),
    ),
    Attack(
        "connect to a socket with a path (docker, D-Bus)",
        _connect("AF_UNIX", "os.environ['SOCKET']"),
        connected(lambda scene: scene.sockets.pathname),
        by_namespaces=(LANDLOCK,),
    ),
    Attack(
        "use the network in spite of `network: none`",
        _connect("AF_INET", "('127.0.0.1', int(os.environ['PORT']))"),
        connected(lambda scene: scene.sockets.loopback),
        network="none",
    ),
    Attack(
        "send a datagram (DNS) in spite of `network: none`",
        python(_DATAGRAM),
        connected(lambda scene: scene.sockets.datagram),
        network="none",
    ),
    Attack(
        "connect to an abstract socket in spite of `network: none`",
        _connect("AF_UNIX", _ABSTRACT),
        connected(lambda scene: scene.sockets.abstract),
        network="none",
    ),
    Attack("read shared memory of others in /dev/shm", 'cat "$SHARED"', read_it),
    Attack(
        "remove a System V segment of others",
        "ipcrm -m $SEGMENT",
        _segment_gone,
        by_namespaces=(LANDLOCK,),
    ),
    Attack("read a message from a queue of others", python(_QUEUE), _queue_gone),
    Attack("a user namespace of its own", "unshare -Ur true && echo got through", said_so),
    Attack("other namespaces of its own", _NAMESPACES, said_so),
    Attack("enter the namespaces of another process", _ENTER, said_so),
    Attack("a mount", "unshare -Urm mount -t tmpfs x /mnt && echo got through", said_so),
    Attack("a root directory of its own (chroot)", "chroot / true && echo got through", said_so),
    Attack(
        "become another user by a set-user-ID program",
        'seen=$("$TOOL" -u); test "$seen" = "$(id -u)" || echo got through',
        said_so,
    ),
    Attack("type into a terminal (TIOCSTI)", python(_TERMINAL), typed(1)),
    Attack("write to a terminal", 'echo "all is well" > "$TERMINAL"', typed(0)),
    Attack("io_uring", python(_URING), said_so),
    Attack("keyrings of the kernel", python(_KEYS), said_so),
)
