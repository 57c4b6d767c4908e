"""Ways around limits: what is used is where a plain look at files and processes does not see it."""

from __future__ import annotations

from tako.config.schema import Resources
from tako.system.accounting.usage import disk_use
from tests.sandbox.attacks.shot import Attack, Shot, artifact, python, said_so, went_on
from tests.sandbox.attacks.targets import Range

_MIB = 1 << 20
_DISK = Resources(disk_limit=20 * _MIB)
_MEMORY = Resources(mem_limit=100 * _MIB)
#: Twice as much as is allowed, then they wait to be found.
_REMOVED = r"""
import time
held = []
for number in range(40):
    held.append(os.open(str(number), os.O_RDWR | os.O_CREAT, 0o600))
    os.unlink(str(number))
    os.write(held[-1], bytes(1 << 20))
time.sleep(5)
"""
_NEVER_NAMED = r"""
import time
held = []
for number in range(40):
    held.append(os.open(os.environ['TMPDIR'], os.O_RDWR | os.O_TMPFILE, 0o600))
    os.write(held[-1], bytes(1 << 20))
time.sleep(5)
"""
_MAPPED = r"""
import ctypes, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [ctypes.c_long]
for number in range(40):
    held = os.open(str(number), os.O_RDWR | os.O_CREAT, 0o600)
    os.unlink(str(number))
    os.write(held, bytes(1 << 20))
    libc.mmap(None, 1 << 20, 1, 1, held, 0)
    os.close(held)
time.sleep(5)
"""
#: Each for longer than until the next look, so that it counts also where no control group does.
_UNCOLLECTED = r"""
import signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in range(20):
    if not os.fork():
        while time.process_time() < 0.6:
            pass
        os._exit(0)
    try:
        os.wait()
    except ChildProcessError:
        pass
"""
_AFFINITY = r"""
import time
try:
    os.sched_setaffinity(0, range(os.cpu_count()))
    time.sleep(1)
except OSError as error:
    print(error)
if len(os.sched_getaffinity(0)) > 1:
    print('got', 'through')
"""

#: Also where few files may be open: both ends of each hold as much as they take.
_SOCKETS = r"""
import socket, time
held = []
for _ in range(450):
    held.append(socket.socketpair())
    for end in held[-1]:
        end.setblocking(False)
        try:
            while True:
                end.send(bytes(1 << 15))
        except BlockingIOError:
            pass
time.sleep(3)
"""
#: Pages that are only read are all the same one, but each needs an entry.
_TABLES = r"""
import mmap, time
size = 60 << 30
flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000
held = mmap.mmap(-1, size, flags=flags, prot=mmap.PROT_READ)
held.madvise(mmap.MADV_NOHUGEPAGE)
for place in range(0, size, 2 << 20):
    held[place]
time.sleep(3)
"""


def _kept_more_than_allowed(_: Range, shot: Shot) -> bool:
    return shot.status != "succeeded" or disk_use([shot.spec.paths.artifacts]) > 20 * _MIB


ATTACKS = (
    Attack("a disk bomb of files that were removed while open", python(_REMOVED), went_on, resources=_DISK),
    Attack(
        "a disk bomb of files that never had a name (O_TMPFILE)",
        python(_NEVER_NAMED),
        went_on,
        resources=_DISK,
    ),
    Attack("a disk bomb of removed files that are only mapped", python(_MAPPED), went_on, resources=_DISK),
    Attack(
        "CPU time of processes that nobody collects",
        python(_UNCOLLECTED),
        went_on,
        resources=Resources(cpu_time_limit=2.0),
    ),
    Attack(
        "take more CPUs than were declared (sched_setaffinity)",
        python(_AFFINITY),
        said_so,
        resources=Resources(cpu_limit=1.0),
    ),
    Attack(
        "artifacts that grow when they are copied (holes)",
        "mkdir d; for n in 1 2 3 4 5 6; do truncate -s 15M d/$n; done",
        _kept_more_than_allowed,
        produces=artifact("d/"),
        resources=_DISK,
    ),
    Attack(
        "artifacts that grow when they are copied (hard links)",
        "mkdir d; head -c 5000000 /dev/zero > d/0; for n in 1 2 3 4 5 6; do ln d/0 d/$n; done",
        _kept_more_than_allowed,
        produces=artifact("d/"),
        resources=_DISK,
    ),
    Attack("a memory bomb in the buffers of sockets", python(_SOCKETS), went_on, resources=_MEMORY),
    Attack("a memory bomb in page tables", python(_TABLES), went_on, resources=_MEMORY),
)
