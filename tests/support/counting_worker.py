"""Preloaded by a test's forkserver: each worker says which modules and classes it had to make ready itself.

What it says goes to `$COUNTED/<run id>.json`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from tako import values
from tako.engine.run.spec import Segment, SegmentEnd
from tako.engine.workers import slot_process, worker
from tako.engine.workers.handover import Handover
from tako.system.walls.veils import Veils

DIRECTORY = Path(os.environ["COUNTED"])
_work = slot_process._work
_compile = values._compiled_init
_modules: set[str] = set()
_classes: list[str] = []


def _counted(kind: type) -> object:
    _classes.append(f"{kind.__module__}.{kind.__qualname__}")
    return _compile(kind)


def work(slot: slot_process._Slot, handover: Handover, veils: Veils | None) -> NoReturn:
    """Begin to count in the worker."""
    _modules.update(sys.modules)
    _classes.clear()
    _work(slot, handover, veils)


def run_segment(segment: Segment, *, on_hearing: Callable[[], Iterable[int]]) -> SegmentEnd:
    """Run the segment, then say what it took."""
    end = worker.run_segment(segment, on_hearing=on_hearing)
    found = {"modules": sorted(sys.modules.keys() - _modules), "classes": sorted(_classes)}
    (DIRECTORY / f"{segment.run.run_id}.json").write_text(json.dumps(found))
    return end


setattr(values, "_compiled_init", _counted)  # noqa: B010 - no type checker need like it
setattr(slot_process, "_work", work)  # noqa: B010
setattr(slot_process, "run_segment", run_segment)  # noqa: B010
