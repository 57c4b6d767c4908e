"""Run ids: `exec-YYYYMMDD-HHMMSS-<8 hex>` in UTC."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from tako.errors import MachineError

_DRAWS_MAX = 100


class RunIds:
    """Draws run ids, `exec-YYYYMMDD-HHMMSS-<8 hex>` in UTC, each only once."""

    def __init__(self, draw: Callable[[], str], clock: Callable[[], float] = time.time) -> None:
        """`draw` gives eight hex digits."""
        self._draw = draw
        self._clock = clock
        self._taken: set[str] = set()
        self._lock = threading.Lock()

    def new(self) -> str:
        """An id that this object has not given before."""
        with self._lock:
            stamp = datetime.fromtimestamp(self._clock(), UTC).strftime("%Y%m%d-%H%M%S")
            for _ in range(_DRAWS_MAX):
                run_id = f"exec-{stamp}-{self._draw()}"
                if run_id not in self._taken:
                    self._taken.add(run_id)
                    return run_id
        message = "no run id left in this second"
        raise MachineError(message)
