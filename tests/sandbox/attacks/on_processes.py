"""Attacks on other processes: the user's, a sibling, tako's own worker and root."""

from __future__ import annotations

from tako.sandbox.policy import LANDLOCK
from tests.sandbox.attacks.shot import Attack, Shot, left_a_process, python, read_it, said_so
from tests.sandbox.attacks.targets import Range

_PTRACE = "import ctypes; exit(ctypes.CDLL(None).ptrace(16, int(os.environ['VICTIM']), 0, 0) != 0)"
#: Looks through the private memory of a process for what only that process knows.
_MEMORY = r"""
looked_for = b'canary-' + b'5d1f0c'
aim = '/proc/' + os.environ['AIM']
with open(aim + '/maps') as maps, open(aim + '/mem', 'rb', 0) as memory:
    for line in maps:
        where, mode = line.split()[:2]
        start, end = (int(text, 16) for text in where.split('-'))
        if mode != 'rw-p' or '[v' in line:
            continue
        try:
            memory.seek(start)
            held = memory.read(end - start)
        except OSError:
            continue
        if looked_for in held:
            print((looked_for + b' found').decode())
            raise SystemExit
"""
_WRITE_MEMORY = "os.close(os.open('/proc/' + os.environ['AIM'] + '/mem', os.O_RDWR)); print('got', 'through')"
_OPEN_FILES = r"""
import stat
for pid in (os.environ['WORKER'], os.environ['ROOT']):
    for name in os.listdir(f'/proc/{pid}/fd'):
        try:
            descriptor = os.open(f'/proc/{pid}/fd/{name}', os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            continue
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            print('got', 'through', os.readlink(f'/proc/self/fd/{descriptor}'))
"""
#: pidfd_open(2) and pidfd_getfd(2) have the same numbers everywhere.
_TAKE = r"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for pid in (os.environ['WORKER'], os.environ['ROOT']):
    pidfd = libc.syscall(434, int(pid), 0)
    if pidfd >= 0 and libc.syscall(438, pidfd, 1, 0) >= 0:
        print('got', 'through')
"""
_TOLD_BY_PROC = (
    "for pid in $ROOT $WORKER $SIBLING; do for file in environ cmdline fd/0 fd/1 fd/2; do"
    " timeout 1 head -c 100000 /proc/$pid/$file < /dev/null | tr '\\0' '\\n'; done; done; true"
)


def _victim_ended(scene: Range, _: Shot) -> bool:
    return scene.victim.poll() is not None


def _worker_ended(_: Range, shot: Shot) -> bool:
    return not shot.worker_lives


def _root_ended(_: Range, shot: Shot) -> bool:
    return not shot.root_lives


def _sibling_hurt(_: Range, shot: Shot) -> bool:
    return shot.sibling is None


def _aimed(word: str, program: str) -> str:
    return f"export AIM=${word}\n" + python(program)


ATTACKS = (
    Attack("read another process's environment", "tr '\\0' '\\n' < /proc/$VICTIM/environ", read_it),
    Attack(
        "read another process's command line",
        "tr '\\0' ' ' < /proc/$VICTIM/cmdline",
        said_so,
        by_namespaces=(LANDLOCK,),
    ),
    Attack("read another process's files", "cat /proc/$VICTIM/fd/0", read_it),
    Attack("read another process's memory", _aimed("VICTIM", _MEMORY), read_it),
    Attack("trace another process", python(_PTRACE) + "\necho got through", said_so),
    Attack("end another process", "kill -KILL $VICTIM", _victim_ended),
    Attack("stop another process", "kill -STOP $VICTIM && echo got through", said_so),
    Attack("end tako's worker", "kill -KILL $WORKER; sleep 0.2", _worker_ended),
    Attack("end tako's root process", "kill -KILL $ROOT; sleep 0.2", _root_ended),
    Attack("end a sibling's worker", "kill -KILL $SIBLING", _sibling_hurt),
    Attack("end a sibling's step", "kill -KILL $SIBLING_STEP", _sibling_hurt),
    Attack("read the memory of tako's root process", _aimed("ROOT", _MEMORY), read_it),
    Attack("read the memory of a sibling's worker", _aimed("SIBLING", _MEMORY), read_it),
    Attack("write to the memory of its own worker", _aimed("WORKER", _WRITE_MEMORY), said_so),
    Attack("open the files of tako's processes (`/proc/PID/fd`)", python(_OPEN_FILES), said_so),
    Attack("take descriptors of tako's processes (pidfd_getfd)", python(_TAKE), said_so),
    Attack("read a sibling's secret from its step", "tr '\\0' '\\n' < /proc/$SIBLING_STEP/environ", read_it),
    Attack("read a sibling's secret from `/proc` of tako's processes", _TOLD_BY_PROC, read_it),
    Attack(
        "leave a daemon: double fork, own session, deaf to SIGTERM",
        "(setsid sh -c \"trap '' TERM HUP; : $MARK; sleep 600\" > /dev/null 2>&1 &) ; sleep 0.2",
        left_a_process,
    ),
    Attack(
        "stop itself and stay",
        '(setsid sh -c ": $MARK; kill -STOP \\$\\$; sleep 600" > /dev/null 2>&1 &); sleep 0.2',
        left_a_process,
    ),
    Attack(
        "use a descriptor of tako's",
        "for n in 3 4 5 6 7 8 9; do { true <&$n; } 2>/dev/null && echo got through; done; true",
        said_so,
    ),
)
