"""The open descriptors of the calling process, as the kernel lists them (proc_pid_fd(5))."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress

_STANDARD_STREAMS = (0, 1, 2)


def close_all_but(kept: Collection[int]) -> None:
    """Close all but the standard streams and `kept`."""
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor not in _STANDARD_STREAMS and descriptor not in kept:
            # The directory's own is in its list.
            with suppress(OSError):
                os.close(descriptor)
