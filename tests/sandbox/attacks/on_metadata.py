"""Attacks on what a file is besides its content: mode, owner, times, attributes, flags."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

from tako.sandbox.policy import LANDLOCK
from tests.sandbox.attacks.shot import Attack, Judge, Shot, changed, python, said_so
from tests.sandbox.attacks.targets import Range

_FOR_OTHERS = stat.S_IXOTH
_LONG_AGO = 1_000_000_000
_ATTRIBUTE = "user.tako-attack"
#: FS_NODUMP_FL, FS_IOC_GETFLAGS and FS_IOC_SETFLAGS of linux/fs.h.
_NO_DUMP, _GET_FLAGS, _SET_FLAGS = 0x40, 0x80086601, 0x40086602
_BY_DESCRIPTOR = r"""
import stat
path = f"/proc/self/fd/{os.open(os.environ['KEY'], os.O_PATH)}"
os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) | stat.S_IXOTH)
"""
_FLAGS = rf"""
import fcntl, struct
shown = os.open(os.environ['SHOWN'], os.O_RDONLY)
fcntl.ioctl(shown, {_SET_FLAGS}, struct.pack('l', {_NO_DUMP}))
"""
#: Gives the device the mode that it has.
_DEVICE = (
    "import stat; os.chmod('/dev/null', stat.S_IMODE(os.stat('/dev/null').st_mode)); print('got', 'through')"
)


def _for_others(which: Callable[[Range, Shot], Path]) -> Judge:
    """The mode of a file or directory lets others do what they could not."""

    def judge(scene: Range, shot: Shot) -> bool:
        return bool(which(scene, shot).stat().st_mode & _FOR_OTHERS)

    return judge


def _attributed(scene: Range, _: Shot) -> bool:
    return _ATTRIBUTE in os.listxattr(scene.key)


def _dated(scene: Range, _: Shot) -> bool:
    return scene.key.stat().st_mtime == _LONG_AGO


def _flagged(scene: Range, _: Shot) -> bool:
    held = os.open(scene.shown, os.O_RDONLY)
    try:
        flags = struct.unpack("l", fcntl.ioctl(held, _GET_FLAGS, bytes(struct.calcsize("l"))))[0]
    finally:
        os.close(held)
    return bool(flags & _NO_DUMP)


def _attack(name: str, script: str, succeeded: Judge) -> Attack:
    """Only mounts of a step's own stop it at `landlock`: a filter sees no paths."""
    return Attack(name, script, succeeded, by_namespaces=(LANDLOCK,))


ATTACKS = (
    _attack(
        "make a private file accessible to others (chmod)",
        'chmod o+x "$KEY"',
        _for_others(lambda s, _: s.key),
    ),
    _attack("the same by a descriptor (O_PATH)", python(_BY_DESCRIPTOR), _for_others(lambda s, _: s.key)),
    _attack(
        "open the directory of the user's settings to others",
        'chmod o+x "$(dirname "$KEY")"',
        _for_others(lambda s, _: s.key.parent),
    ),
    _attack(
        "change the mode of TAKO_HOME", 'chmod o+x "$HOME_OF_TAKO"', _for_others(lambda s, _: s.home_of_tako)
    ),
    _attack(
        "change the mode of its own journal",
        'chmod o+x "$JOURNAL"',
        _for_others(lambda _, shot: shot.spec.paths.journal),
    ),
    _attack(
        "change the mode of a file that it may read", 'chmod o+x "$SHOWN"', _for_others(lambda s, _: s.shown)
    ),
    _attack("change the mode of a device", python(_DEVICE), said_so),
    _attack("give a file of the user's an owner", 'chown "$(id -u)" "$KEY" && echo got through', said_so),
    _attack("change the times of a file of the user's", f'touch -d @{_LONG_AGO} "$KEY"', _dated),
    _attack(
        "give a file of the user's an extended attribute",
        python(f"os.setxattr(os.environ['KEY'], '{_ATTRIBUTE}', b'x')"),
        _attributed,
    ),
    Attack("set flags of a file that it may read (FS_IOC_SETFLAGS)", python(_FLAGS), _flagged),
    Attack(
        "empty a file by its path (truncate)",
        python("os.truncate(os.environ['KEY'], 0)"),
        changed(lambda scene: scene.key),
    ),
)
