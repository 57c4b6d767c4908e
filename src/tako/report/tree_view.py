"""The tree of a run: one line for each step of the root and each child, with times and counts.

In: a `RunView`. Out: lines, produced while the journals are read, so that 10,000 children need no
memory. What failed is spelled out by `report/failures.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tako.engine.root.results import fan_out_result
from tako.journal.parts import ChildExecutionError
from tako.journal.run_state import ChildState, StepState
from tako.journal.statuses import SKIPPED
from tako.report.reading import RunView
from tako.report.text import Style, first_line, told
from tako.units import format_duration


def tree_lines(view: RunView, style: Style) -> Iterator[str]:
    """The whole tree of a run."""
    yield f"{style.sign(view.status)} {_run_line(view)}"
    yield from _below(view, style, "")


def _run_line(view: RunView) -> str:
    started = view.state.started
    if started is None:
        return f"{view.paths.run_id}  {view.status}"
    parts = [started.repository, started.workflow, view.paths.run_id, view.status]
    finished = view.state.finished
    if finished:
        settled = view.state.settled
        whole = view.state.duration_s(settled.at) if settled else finished.duration_s
        parts.append(format_duration(whole))
    return "  ".join(parts)


def _below(view: RunView, style: Style, indent: str) -> Iterator[str]:
    steps = list(view.state.steps.values())
    messages = [*_warnings(view), *(note.message for note in view.state.notes)]
    for position, step in enumerate(steps):
        last = position == len(steps) - 1 and not messages
        yield from _step_lines(view, step, style, indent, last=last)
    yield from _message_lines(messages, style, indent)


def _warnings(view: RunView) -> list[str]:
    return [warned.reason for warned in view.state.warnings]


def _message_lines(messages: Sequence[str], style: Style, indent: str) -> Iterator[str]:
    for position, message in enumerate(messages):
        yield f"{indent}{style.branch(last=position == len(messages) - 1)[0]}! {told(message)}"


def _step_lines(view: RunView, step: StepState, style: Style, indent: str, *, last: bool) -> Iterator[str]:
    before, below = style.branch(last=last)
    status = view.status if step.status == "running" and not view.owned else step.status
    parts = [f"{style.sign(status)} {step.id}"]
    if step.finished:
        parts += [format_duration(step.finished.duration_s)] if status != SKIPPED else []
        parts += [_with_exit(step)] if step.finished.message else []
        parts += ["(tolerated)"] if step.finished.tolerated else []
    if step.id in view.state.fan_outs:
        parts.append(_counts(view, step.id))
    yield f"{indent}{before}{'  '.join(parts)}"
    if step.id in view.state.fan_outs:
        yield from _children(view, step.id, style, indent + below)


def _with_exit(step: StepState) -> str:
    assert step.finished is not None
    return first_line(step.finished.message)


def _counts(view: RunView, step_id: str) -> str:
    result = fan_out_result(view.state, step_id)
    ended = result.succeeded + result.failed + result.timed_out + result.cancelled + result.interrupted
    open_ones = result.triggered - ended
    counts = {
        "succeeded": result.succeeded,
        "failed": result.failed,
        "timed out": result.timed_out,
        "cancelled": result.cancelled,
        "interrupted": result.interrupted,
        "open": open_ones,
        "filtered": result.filtered,
        "skipped": result.skipped,
    }
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"{result.event.type}: {said or 'no subscribers'}"


def _children(view: RunView, step_id: str, style: Style, indent: str) -> Iterator[str]:
    fan_out = view.state.fan_outs[step_id]
    entries = len(fan_out.children) + len(fan_out.filtered)
    for position, child in enumerate(fan_out.children.values(), 1):
        yield from _child_lines(view, child, style, indent, last=position == entries)
    for position, filtered in enumerate(fan_out.filtered, len(fan_out.children) + 1):
        before, _ = style.branch(last=position == entries)
        line = f"- {filtered.repository}  {filtered.workflow}  {told(filtered.reason)}"
        yield f"{indent}{before}{style.paint(line, '2')}"


def _child_lines(view: RunView, child: ChildState, style: Style, indent: str, *, last: bool) -> Iterator[str]:
    before, below = style.branch(last=last)
    own = view.child(child.plan.run_id)
    status = child.finished.status if child.finished else (own.status if own else "pending")
    parts = [child.plan.repository, child.plan.workflow or "?", child.plan.run_id]
    if child.finished and own:
        parts.append(format_duration(child.finished.duration_s))
    error = child.finished.error if child.finished else None
    if error:
        parts.append(_why(error))
    yield f"{indent}{before}{style.sign(status)} {'  '.join(parts)}"
    if own and own.state.fan_outs:
        yield from _below(own, style, indent + below)
    elif own:
        yield from _message_lines(_warnings(own), style, indent + below)


def _why(error: ChildExecutionError) -> str:
    message = first_line(error.message) or error.kind
    return f"step {error.step}: {message}" if error.step else message
