"""The time of day in journals: read once, then advanced by a clock that nobody can set.

An execution tree takes the difference between the two clocks when its root first asks, and gives it to its
workers: so all its times can be compared, and no duration is that of a clock that was moved meanwhile.
"""

from __future__ import annotations

import time

#: It goes on while the machine sleeps, as the time of day does (clock_gettime(2)).
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_start_of_steady: float | None = None


def now() -> float:
    """Seconds since the epoch."""
    return start_of_steady() + time.clock_gettime(_STEADY)


def start_of_steady() -> float:
    """When the steady clock was at 0, in seconds since the epoch; the same for the life of this process."""
    global _start_of_steady  # noqa: PLW0603 - a process works for one tree
    if _start_of_steady is None:
        _start_of_steady = time.time() - time.clock_gettime(_STEADY)
    return _start_of_steady


def follow(start: float) -> None:
    """Use the time of another process of this machine, which passed its `start_of_steady`."""
    global _start_of_steady  # noqa: PLW0603 - as above
    _start_of_steady = start
