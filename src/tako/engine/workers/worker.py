"""What happens inside a worker process, from its first instruction to the end of its segment.

The worker is a child subreaper in a session of its own, and the kernel kills it when the root is
gone. It executes exactly one segment, and nothing that it has done or held reaches another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tako.engine.run.spec import FINISHED, Segment, SegmentEnd
from tako.engine.steps import workspace
from tako.engine.steps.orders import Orders
from tako.engine.steps.runner import Runner
from tako.errors import MachineError
from tako.journal.statuses import SUCCEEDED
from tako.system import clock, crash_points
from tako.system.libc import become_subreaper, forbid_dumps
from tako.system.process.sentinel import arm
from tako.system.process.signals import ignore_interrupts, raise_signal
from tako.system.storage.removal import remove_tree

if TYPE_CHECKING:
    from tako.system.walls.prepared import Prepared
    from tako.system.walls.veils import Hung, Veils

_owner = 0
_veiled: Hung | None = None
_not_entered = "the worker was not told to enter namespaces"


def become_worker(*sentinels: int, owner: int = 0) -> None:
    """Arm the death of this process with that of others; `owner` is the root's pid, by default the parent.

    Each sentinel is the read end of a pipe that only the other process can write to.
    """
    global _owner  # noqa: PLW0603 - a process works for one root
    _owner = owner or os.getppid()
    with suppress(PermissionError):
        os.setsid()
    ignore_interrupts()
    become_subreaper()
    forbid_dumps()
    for sentinel in sentinels:
        arm(sentinel)


def enter_prepared(prepared: Prepared | None, veils: Veils) -> None:
    """Enter namespaces that were made for many workers, and copies of its own; else do without them."""
    global _not_entered, _veiled
    if prepared is not None:
        with suppress(OSError):
            prepared.enter()
            _veiled, _not_entered = prepared.hung, ""
    if _veiled is None:
        enter_namespaces(veils)


def enter_namespaces(veils: Veils) -> None:
    """Enter a user, a mount and an IPC namespace of the worker's own, before it is given a segment.

    What steps are shown of the machine is put behind overlays there.

    A segment may hold secrets, and the worker can be read by others of its user for a moment. A failure is
    raised by the segment that needs it: what is run here has nobody that waits for it.
    """
    from tako.system.walls.veils import enter_veiled

    global _not_entered, _veiled  # noqa: PLW0603 - a process is in one set of namespaces
    try:
        _veiled = enter_veiled(veils)
        _not_entered = ""
    except OSError as error:
        _not_entered = f"a worker cannot have namespaces of its own: {error.strerror}"


def run_segment(segment: Segment, *, on_hearing: Callable[[], Iterable[int]] = tuple) -> SegmentEnd:
    """Execute one segment; removes the workspace of a run that succeeded.

    `on_hearing` is called as soon as orders are heard, and gives those that came before.
    """
    crash_points.act_as(f"worker {segment.run.repository} {segment.number}.{segment.attempt}", _owner)
    if segment.clock_start is not None:
        clock.follow(segment.clock_start)
    orders = Orders()
    for number in on_hearing():
        raise_signal(number)
    problem = _not_entered if segment.run.in_namespaces else ""
    try:
        end = Runner(segment, orders, on_step=_title_setter(segment), problem=problem, veiled=_veiled).run()
    finally:
        orders.close()
    if (end.kind == FINISHED and end.status == SUCCEEDED and not segment.run.keep) or end.makes_room:
        workspace.leave(segment.run)
    if end.makes_room:
        workspace.make_room(segment.run)
    # Here and not in the root, which has others to wait for: it may hold any number of files.
    with suppress(MachineError):
        remove_tree(Path(segment.temporary))
    return end


def _title_setter(segment: Segment) -> Callable[[str], None]:
    def set_title(step: str) -> None:
        # Imported after the step was started, so that the root run's first step does not wait for it.
        from setproctitle import setproctitle

        setproctitle(f"tako: {segment.run.repository} {segment.run.run_id} {step}")

    return set_title
