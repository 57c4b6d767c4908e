"""Preloaded by a test's forkserver: each worker says what it finds, then leaves behind all that it can.

What it says goes to `$LEAKY/<run id>.json`; what it leaves must not reach the next worker of the same slot.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from tako.engine.run.spec import Segment, SegmentEnd
from tako.engine.workers import slot_process, worker

DIRECTORY = Path(os.environ["LEAKY"])
_left: list[bytes] = []


def _found() -> dict[str, object]:
    return {
        "parent": os.getppid(),
        "descriptors": sorted(os.readlink(f"/proc/self/fd/{name}") for name in _open_descriptors()),
        "threads": threading.active_count(),
        "handler": signal.getsignal(signal.SIGWINCH) is signal.SIG_DFL,
        "environment": os.environ.get("LEAKED", ""),
        "memory": len(_left),
        "directory": os.getcwd(),
        "umask": os.umask(0o022),
        "leads a session": os.getsid(0) == os.getpid(),
    }


def _open_descriptors() -> list[str]:
    # Not that of the listing itself, which is closed by now.
    return [name for name in os.listdir("/proc/self/fd") if int(name) > 2 and _is_open(name)]


def _is_open(name: str) -> bool:
    try:
        os.fstat(int(name))
    except OSError:
        return False
    return True


def _leak() -> None:
    for _ in range(10):
        os.open("/dev/zero", os.O_RDONLY)
    os.environ["LEAKED"] = "by the worker before"
    signal.signal(signal.SIGWINCH, lambda *_: None)
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    _left.append(b"a secret")
    os.chdir("/tmp")


def run_segment(segment: Segment, *, on_hearing: Callable[[], Iterable[int]]) -> SegmentEnd:
    """Look, run the segment, leak."""
    (DIRECTORY / f"{segment.run.run_id}.json").write_text(json.dumps(_found()))
    try:
        return worker.run_segment(segment, on_hearing=on_hearing)
    finally:
        _leak()


setattr(slot_process, "run_segment", run_segment)  # noqa: B010 - no type checker need like it
