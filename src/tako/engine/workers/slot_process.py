"""What happens in a slot's process: it forks a worker for each segment, waits for it, and does nothing else.

    root ──(pool)──▶ slot ──fork──▶ worker: a segment ──▶ step

A worker inherits nothing of the worker before it: the slot never holds a segment, and a worker has of the
slot's descriptors only the two of its `Handover` and what tells it that root or slot have died. What a dead
worker leaves becomes the slot's, a child subreaper, which ends all of it before it says that the segment is
over. In: descriptors through a socket, as a pool passes none. Out: the worker's wait status (waitpid(2)).
"""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Collection
from contextlib import suppress
from typing import NoReturn

from tako.engine.run.spec import SegmentEnd
from tako.engine.workers.handover import Handover
from tako.engine.workers.worker import become_worker, enter_prepared, run_segment
from tako.system import crash_points
from tako.system.descriptors import close_all_but
from tako.system.process.descendants import end_descendants
from tako.system.process.identity import own_identity
from tako.system.process.sentinel import own_view
from tako.system.walls.prepared import Prepared, prepare
from tako.system.walls.veils import Veils
from tako.values import field, mutable

#: Repositories that are granted something of their own are shown something of their own.
_PREPARED_MAX = 4


@mutable
class _Slot:
    """What this process holds as a slot."""

    line: socket.socket
    root_pid: int
    #: The pipes at whose end of file a worker dies: with the root, with this process.
    root: int
    own: int
    #: What was made for the workers before, by what they show: children of one tree mostly show the same.
    prepared: dict[Veils, Prepared | None] = field(factory=dict)


_slot: _Slot | None = None


def become_slot(line: socket.socket) -> None:
    """Make this process a slot: the initializer of a pool's only process."""
    global _slot  # noqa: PLW0603 - a process is one slot
    import multiprocessing

    from setproctitle import setproctitle

    parent = multiprocessing.parent_process()
    assert parent is not None
    assert parent.pid is not None
    become_worker(parent.sentinel, owner=parent.pid)
    setproctitle("tako: slot")
    # The write end stays open here alone.
    own, _ = os.pipe2(os.O_CLOEXEC)
    _slot = _Slot(line, parent.pid, parent.sentinel, own)


def fork_worker(veils: Veils | None) -> int:
    """Fork a worker with the next two descriptors; gives its wait status when nothing of it is left.

    It enters namespaces in which `veils` hang, unless they are None.

    Raises `OSError` if it cannot be forked, or if something that it has started cannot be killed.
    """
    slot = _slot
    assert slot is not None
    _, descriptors, _, _ = socket.recv_fds(slot.line, 1, 2)
    crash_points.act_as("slot", slot.root_pid)
    crash_points.before("start", "worker")
    try:
        if veils is not None:
            _prepare(slot, veils)
        pid = os.fork()
        if pid == 0:
            _work(slot, Handover(*descriptors), veils)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    crash_points.after("start", "worker")
    _, status = os.waitpid(pid, 0)
    if left := end_descendants():
        message = f"processes {', '.join(map(str, left))} cannot be killed"
        raise OSError(message)
    return status


def _prepare(slot: _Slot, veils: Veils) -> None:
    if veils in slot.prepared:
        return
    while len(slot.prepared) >= _PREPARED_MAX:
        if (oldest := slot.prepared.pop(next(iter(slot.prepared)))) is not None:
            oldest.close()
    slot.prepared[veils] = prepare(veils)


def _work(slot: _Slot, handover: Handover, veils: Veils | None) -> NoReturn:
    code = 1
    # The slot tells the death of this process by its wait status, the root by the missing word.
    with suppress(BaseException):
        deaths = (own_view(slot.root), own_view(slot.own))
        become_worker(*deaths, owner=slot.root_pid)
        if veils is not None:
            enter_prepared(slot.prepared[veils], veils)
        _let_go({*handover.descriptors, *deaths})
        handover.say(_end_of(handover))
        code = 0
    os._exit(code)


def _let_go(kept: Collection[int]) -> None:
    """Close what belongs to the slot."""
    close_all_but(kept)


def _end_of(handover: Handover) -> SegmentEnd | Exception:
    """How the segment ended, or the exception that it raised."""
    try:
        end: SegmentEnd | Exception = run_segment(
            handover.take(), on_hearing=lambda: handover.hear(own_identity())
        )
        pickle.dumps(end)
    except Exception as error:  # noqa: BLE001 - raised again in the root, as a pool does
        return error
    return end
