"""Attacks on what others are set to: limits and priorities of processes, locks and watches of files."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable

import psutil

from tako.sandbox.policy import LANDLOCK
from tests.sandbox.attacks.shot import Attack, Judge, Shot, python, said_so
from tests.sandbox.attacks.targets import Range

_OPEN_FILES = 77
_NICE = 7
#: The kernel sends SIGIO, which ends a process, when something can be read (fcntl(2)).
_OWNED = r"""
import fcntl
listen, say = os.pipe()
fcntl.fcntl(listen, fcntl.F_SETOWN, int(os.environ['VICTIM']))
fcntl.fcntl(listen, fcntl.F_SETFL, os.O_ASYNC)
os.write(say, b'x')
"""
_LEASE = r"""
import fcntl
fcntl.fcntl(os.open(os.environ['SHOWN'], os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK)
print('got', 'through')
"""
_WATCH = r"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
if libc.inotify_add_watch(libc.inotify_init(), os.path.dirname(os.environ['KEY']).encode(), 0xfff) >= 0:
    print('got', 'through')
"""
_FLOCK = r"""
import fcntl
try:
    fcntl.flock(os.open(os.environ['LOCKED'], os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    # Where it meets the lock of others, they would meet its own.
    print('got', 'through')
"""


def _victim(is_changed: Callable[[psutil.Process], bool]) -> Judge:
    def judge(scene: Range, _: Shot) -> bool:
        return scene.victim.poll() is not None or is_changed(psutil.Process(scene.victim.pid))

    return judge


ATTACKS = (
    Attack(
        "lower a limit of another process (prlimit)",
        f"prlimit --pid $VICTIM --nofile={_OPEN_FILES}:",
        _victim(lambda it: it.rlimit(resource.RLIMIT_NOFILE)[0] == _OPEN_FILES),
    ),
    Attack(
        "set a limit of tako's root process",
        "prlimit --pid $ROOT --fsize=1099511627776: && echo got through",
        said_so,
    ),
    Attack(
        "set a limit of tako's worker",
        "prlimit --pid $WORKER --fsize=1099511627776: && echo got through",
        said_so,
    ),
    Attack(
        "lower the priority of another process",
        f"renice -n {_NICE} -p $VICTIM",
        _victim(lambda it: it.nice() == _NICE),
    ),
    Attack(
        "change the scheduling of another process",
        "chrt --batch -p 0 $VICTIM",
        _victim(lambda it: os.sched_getscheduler(it.pid) != os.SCHED_OTHER),
    ),
    Attack("give another process fewer CPUs", "taskset -pc 0 $VICTIM && echo got through", said_so),
    Attack(
        "lower the I/O class of another process",
        "ionice -c 3 -p $VICTIM",
        _victim(lambda it: it.ionice().ioclass == psutil.IOPRIO_CLASS_IDLE),
    ),
    Attack(
        "end another process by the signal of a pipe (F_SETOWN)", python(_OWNED), _victim(lambda _: False)
    ),
    Attack("keep others from writing to a file that it may read (a lease)", python(_LEASE), said_so),
    Attack("lock a file that it may read (flock)", python(_FLOCK), said_so, by_namespaces=(LANDLOCK,)),
    Attack(
        "see that a file outside exists, its size and times",
        'stat "$KEY" && echo got through',
        said_so,
        by_namespaces=(LANDLOCK,),
    ),
    Attack("watch a directory outside (inotify)", python(_WATCH), said_so, by_namespaces=(LANDLOCK,)),
)
