"""The state of an interrupted run when its tako died, and the command that continues it.

In: a `RunView`, reaped or not. Out: an `Interruption`, and its lines. It reads only runs that had not ended.
"""

from __future__ import annotations

from collections.abc import Iterator

from tako.journal.run_state import ChildState
from tako.journal.statuses import INTERRUPTED, PENDING, RUNNING
from tako.recovery.settled import last_sign
from tako.report.reading import RunView, moment, way_on
from tako.report.text import Style
from tako.values import field, mutable

_SHOWN = 20


@mutable
class Interruption:
    """`at` is the last sign of life, in seconds since the epoch, 0 of a run that ended before it began.

    `running` are the steps that were cut off.
    """

    way_on: str
    at: float = 0.0
    reaped: bool = False
    running: list[dict[str, str]] = field(factory=list)
    done_steps: int = 0
    done_children: int = 0
    waiting_steps: int = 0
    waiting_children: int = 0


def interruption(view: RunView) -> Interruption | None:
    """Look for it in the tree of a run; None of a run that was not interrupted."""
    if view.status != INTERRUPTED:
        return None
    found = Interruption(way_on(view), reaped=view.state.status == INTERRUPTED)
    if view.has_begun:
        _look(view, found)
    return found


def _look(view: RunView, found: Interruption) -> None:
    state = view.state
    found.at = max(found.at, last_sign(view.paths, state))
    for step in state.steps.values():
        if step.status in (RUNNING, INTERRUPTED):
            if step.id not in state.fan_outs:
                found.running.append(_named(view, step.id))
        elif step.status == PENDING:
            found.waiting_steps += 1
        else:
            found.done_steps += 1
    for fan_out in state.fan_outs.values():
        for child in fan_out.children.values():
            _look_at_child(view, child, found)


def _look_at_child(view: RunView, child: ChildState, found: Interruption) -> None:
    if child.finished is not None and child.finished.status != INTERRUPTED:
        found.done_children += 1
        return
    own = view.child(child.plan.run_id)
    if own is None or own.state.started is None:
        found.waiting_children += 1
    elif own.state.status not in (RUNNING, INTERRUPTED) and not own.state.fan_outs:
        # Its parent has not heard of it yet.
        found.done_children += 1
    else:
        _look(own, found)


def _named(view: RunView, step: str) -> dict[str, str]:
    started = view.state.started
    return {
        "repository": started.repository if started else "",
        "workflow": started.workflow if started else "",
        "run_id": view.paths.run_id,
        "step": step,
    }


def interruption_lines(found: Interruption, style: Style) -> Iterator[str]:
    """The same for people."""
    when = moment(found.at) if found.at else "before it began: nothing of it ran"
    yield f"{style.sign(INTERRUPTED)} interrupted {when}"
    for place in found.running[:_SHOWN]:
        yield f"    was running: {place['repository']} {place['workflow']}, step {place['step']}"
    if len(found.running) > _SHOWN:
        yield f"    and {len(found.running) - _SHOWN} more"
    done = _counted(found.done_steps, found.done_children)
    if found.at:
        yield f"    done: {done or 'nothing yet'}"
    waiting = _counted(found.waiting_steps, found.waiting_children)
    if waiting:
        yield f"    not begun: {waiting}"
    if not found.reaped:
        yield "    to clean up after it: tako reap"
    yield f"    {found.way_on}"


def _counted(steps: int, children: int) -> str:
    return ", ".join(
        f"{count} {one if count == 1 else many}"
        for count, one, many in ((steps, "step", "steps"), (children, "child", "children"))
        if count
    )
