"""Attacks on what builds a step's walls: it works outside of them, where an earlier step has written."""

from __future__ import annotations

from tako.sandbox.policy import LANDLOCK
from tests.sandbox.attacks.shot import SUCCESS, Attack, Shot, python, said_so
from tests.sandbox.attacks.targets import SHOWN_INSIDE, Range

_PARENT, _, _NAME = SHOWN_INSIDE.partition("/")
#: Run again, after what builds the walls has met the link. `/oldroot` is where bubblewrap keeps the machine
#: meanwhile (its source: setup_newroot).
_LINKS = f"""
outside=$(dirname "$PROFILE")
mkdir "$outside/{_NAME}" || :
cd "$(dirname "$TAKO_OUTPUT")"
[ ! -d {_PARENT} ] || mv {_PARENT} old
[ ! -L {_PARENT} ] || {{ rm {_PARENT}; ln -s "$outside" {_PARENT}; exit 1; }}
ln -s "/oldroot$outside" {_PARENT}
exit 1
"""
#: By what has them open or runs them, their paths may lie on a mount that is read-only.
_OPEN_ELSEWHERE = f"""
for path in /proc/1/exe /proc/$$/fd/0; do
    chmod "$(stat --dereference --format=%a $path)" $path && echo {SUCCESS} $path
done
true
"""
#: Local sockets with names are attacks of their own.
_FAMILIES = f"""
import socket
for family in range(3, 64):
    if family not in (socket.AF_INET6, socket.AF_NETLINK):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            try:
                socket.socket(family, kind).close()
                print("{SUCCESS}", family)
            except OSError:
                pass
"""
#: The step itself is bounded by its number of open files.
_INOTIFY = f"""
import ctypes
libc = ctypes.CDLL(None)
with open("/proc/sys/fs/inotify/max_user_instances") as file:
    most = int(file.read())
count = 0
while count < most and libc.inotify_init() >= 0:
    count += 1
print(count, "of", most)
if count > most // 4:
    print("{SUCCESS}")
"""


def _made_outside(scene: Range, _: Shot) -> bool:
    return (scene.profile.parent / _NAME).exists()


ATTACKS = (
    Attack(
        "a link where something is to be shown to the next step, which tako would mount by",
        _LINKS,
        _made_outside,
        attempts=3,
    ),
    Attack(
        "change the mode of a file that its sandbox has open or runs (/proc/PID/exe)",
        _OPEN_ELSEWHERE,
        said_so,
        by_namespaces=(LANDLOCK,),
    ),
    Attack(
        "a socket to the host of a virtual machine (vsock) in spite of `network: none`",
        python(_FAMILIES),
        said_so,
        network="none",
    ),
    Attack(
        "use up what the kernel lets the user have (inotify)",
        python(_INOTIFY),
        said_so,
        by_namespaces=(LANDLOCK,),
    ),
)
