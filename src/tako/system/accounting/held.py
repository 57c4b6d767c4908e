"""Files that are in no directory any more, but that open descriptors keep alive.

In: pids, the devices that count. Out: bytes. A file that was unlinked while it was open, or was made by
O_TMPFILE, takes its blocks until the last descriptor and mapping of it is gone (unlink(2)). Processes whose
descriptors may not be read count as nothing.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress

_BLOCK = 512
#: Descriptors looked at in one go, 0.1 s; of more, others each time.
_MOST = 50_000
_DELETED = b" (deleted)"


def nameless_files(
    pids: Collection[int], devices: Collection[int], *, blocks: int | None = None, most: int = _MOST
) -> int:
    """Bytes of files without a name on these devices that the processes have open, each file once.

    With `blocks` those also count that lie on another device of so many blocks: an overlay, whose device is
    known only where it is mounted, reports the numbers of its upper file system (statvfs(3)).
    """
    found: dict[tuple[int, int], int] = {}
    for path in _descriptors(pids, most):
        with suppress(OSError):
            held = os.stat(path)
            if not stat.S_ISREG(held.st_mode) or held.st_nlink:
                continue
            if held.st_dev in devices or (blocks is not None and os.statvfs(path).f_blocks == blocks):
                found[held.st_dev, held.st_ino] = held.st_blocks * _BLOCK
    return sum(found.values())


def _descriptors(pids: Collection[int], most: int) -> Iterator[str]:
    left = most
    # Whoever opens very many to hide one does not know which are looked at.
    for pid in random.sample(list(pids), len(pids)):
        with suppress(OSError):
            names = os.listdir(f"/proc/{pid}/fd")
            if len(names) > left:
                names = random.sample(names, left)
            left -= len(names)
            for name in names:
                yield f"/proc/{pid}/fd/{name}"
        if left <= 0:
            return


def nameless_mappings(pids: Collection[int], devices: Collection[int]) -> int:
    """Bytes that mappings of files without a name on these devices span, each file once (proc_pid_maps(5)).

    Never less than the blocks behind them; more where a file has holes, or a mapping goes beyond its end.
    """
    spans: dict[tuple[int, bytes], int] = {}
    for pid in pids:
        with suppress(OSError), open(f"/proc/{pid}/maps", "rb") as file:
            for line in file:
                if line.rstrip().endswith(_DELETED):
                    place, _, offset, device, inode = line.split(None, 5)[:5]
                    if _device(device) in devices:
                        start, _, end = place.partition(b"-")
                        key = (_device(device), inode)
                        spans[key] = max(spans.get(key, 0), int(offset, 16) + int(end, 16) - int(start, 16))
    return sum(spans.values())


def _device(text: bytes) -> int:
    major, _, minor = text.partition(b":")
    return os.makedev(int(major, 16), int(minor, 16))
