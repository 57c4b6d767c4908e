"""Bombs: each uses up something that all share. Small ones: the limits are."""

from __future__ import annotations

from tako.config.schema import Resources
from tako.layout.machine import DEV_SHM
from tako.sandbox.policy import LANDLOCK, LEVELS, PROCESS
from tests.sandbox.attacks.shot import Attack, Shot, python, said_so, succeeded, went_on
from tests.sandbox.attacks.targets import Range, remove_segments

_MIB = 1 << 20
_MEMORY = Resources(mem_limit=100 * _MIB)
_DISK = Resources(disk_limit=20 * _MIB)
_DESCRIPTORS = r"""
import resource
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
held = []
try:
    while len(held) <= most:
        held.append(os.open('/dev/null', os.O_RDONLY))
    print('got', 'through')
except OSError as error:
    print(len(held), error)
"""
_EMPTY_FILES = r"""
number = 0
while True:
    os.mkdir(str(number))
    for name in range(1000):
        os.close(os.open(f'{number}/{name}', os.O_WRONLY | os.O_CREAT, 0o600))
    number += 1
"""
_DETACHED = r"""
import ctypes, time
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
size, segments = 10 << 20, []
for number in range(15):
    segments.append(libc.shmget(int(os.environ['KEYS']) + number, size, 0o1600))
    place = ctypes.c_void_p(libc.shmat(segments[-1], None, 0))
    ctypes.memset(place, 1, size)
    libc.shmdt(place)
time.sleep(1)
for segment in segments:
    libc.shmctl(segment, 0, None)
"""
_LEFT = "import ctypes; exit(ctypes.CDLL(None).shmget(int(os.environ['KEYS']), 4096, 0o1600) < 0)"
_UNNAMED = r"""
import time
held = os.memfd_create('held')
for _ in range(150):
    os.write(held, bytes(1 << 20))
time.sleep(1)
"""


def _left_shared_memory(scene: Range, _: Shot) -> bool:
    left = DEV_SHM / scene.mark
    found = left.exists()
    left.unlink(missing_ok=True)
    return found


def _left_a_segment(scene: Range, _: Shot) -> bool:
    """Still known to the machine after the run."""
    return remove_segments(scene.keys) > 0


ATTACKS = (
    Attack("a fork bomb", "b() { b | b & }; b; sleep 600", went_on, resources=Resources(process_limit=50)),
    Attack(
        "a memory bomb",
        python("import time; x = b'x' * (300 << 20); time.sleep(600)"),
        went_on,
        resources=_MEMORY,
    ),
    Attack(
        "a memory bomb in many processes",
        "one() { python3 -c 'import time; x = b\"x\" * (30 << 20); time.sleep(600)'; }\n"
        "for n in 1 2 3 4 5 6; do one & done; wait",
        went_on,
        resources=_MEMORY,
    ),
    Attack(
        "a memory bomb in /dev/shm",
        "head -c 130000000 /dev/zero > /dev/shm/$MARK; sleep 1; rm /dev/shm/$MARK",
        went_on,
        resources=_MEMORY,
        by_group=(PROCESS,),
    ),
    Attack(
        "a memory bomb in files without a name (memfd)",
        python(_UNNAMED),
        went_on,
        resources=_MEMORY,
    ),
    Attack(
        "a memory bomb in System V segments", python(_DETACHED), went_on, resources=_MEMORY, by_group=LEVELS
    ),
    Attack("leave a file in /dev/shm", "echo x > /dev/shm/$MARK", _left_shared_memory),
    Attack("leave a System V segment", python(_LEFT), _left_a_segment, by_namespaces=(LANDLOCK,)),
    Attack(
        "a disk bomb in one file",
        "exec head -c 100000000 /dev/zero > big",
        went_on,
        resources=_DISK,
        either=("disk", "file size"),
    ),
    Attack(
        "a disk bomb of many files",
        "i=0; while :; do i=$((i+1)); head -c 1000000 /dev/zero > f$i; done",
        went_on,
        resources=_DISK,
    ),
    Attack(
        "a disk bomb of empty files",
        python(_EMPTY_FILES),
        went_on,
        resources=Resources(disk_limit=_MIB),
    ),
    Attack("a flood of output", "yes", succeeded, resources=_DISK),
    Attack("use up the CPU", "while :; do :; done", went_on, timeout_s=1.0),
    Attack("ignore SIGTERM", "trap '' TERM HUP INT; while :; do sleep 1; done", went_on, timeout_s=0.5),
    Attack("use up descriptors", python(_DESCRIPTORS), said_so),
)
