"""What happens between fork and exec of a step."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterable

from tako.system.libc import request_signal_at_parents_death
from tako.system.signals import restore_defaults


def prepare_step(limits: Iterable[tuple[int, int, int]], owner: int) -> None:
    """Make the forked process a step's: default signals, dies with `owner`, limited."""
    restore_defaults()
    request_signal_at_parents_death(signal.SIGKILL)
    if os.getppid() != owner:
        # The owner died between fork and the line above: nobody would ever end this step.
        os.kill(os.getpid(), signal.SIGKILL)
    for name, soft, hard in limits:
        resource.setrlimit(name, (soft, hard))
