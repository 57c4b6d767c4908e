"""The failures of a tree, and how each is printed: the list at the end of a run and of `tako status`.

In: a `RunView`. Out: the failures, each at its own run, and the lines of one.
"""

from __future__ import annotations

from collections.abc import Iterator

from tako.journal.outcomes import attempts_before, blamed_step
from tako.journal.parts import ChildExecutionError
from tako.journal.statuses import CANCELLED, FAILED, INTERRUPTED, SUCCEEDED, FailureKind
from tako.report.reading import RunView
from tako.report.text import Style, first_line, told
from tako.system.terminal.text import plain


def failures(view: RunView) -> Iterator[ChildExecutionError]:
    """Return the failures of the tree, each at its own run.

    A fan-out that failed because of its children is no failure, nor is what was interrupted.
    """
    own = _own_failure(view)
    if own:
        yield own
    for fan_out in view.state.fan_outs.values():
        for child in fan_out.children.values():
            if child.finished and child.finished.error:
                below = view.child(child.plan.run_id)
                deeper = list(failures(below)) if below and below.state.fan_outs else []
                cut_off = child.finished.status == INTERRUPTED
                yield from deeper or ([] if cut_off else [child.finished.error])


def _own_failure(view: RunView) -> ChildExecutionError | None:
    """The failure of the root run's own step; failures of children are in their parents' journals."""
    started, finished = view.state.started, view.state.finished
    if started is None or finished is None or started.parent_run_id:
        return None
    if finished.status in (SUCCEEDED, INTERRUPTED):
        return None
    step = blamed_step(view.state)
    if step is not None and step.step in view.state.fan_outs and step.counts:
        return None
    kind: str = FailureKind.STEP_FAILED if finished.status == FAILED else finished.status
    if step is not None and step.limit:
        kind = FailureKind.LIMIT_EXCEEDED
    return ChildExecutionError(
        repository=started.repository,
        workflow=started.workflow,
        run_id=started.run_id,
        kind=finished.error_kind or kind,
        message=step.message if step else finished.message,
        step=step.step if step else "",
        exit_code=step.exit_code if step else None,
        signal=step.signal if step else "",
        limit=step.limit if step else "",
        limit_value=step.limit_value if step else None,
        started=started.at,
        duration_s=finished.duration_s,
        attempts=view.state.attempts,
        last_lines=step.last_lines if step else (),
        earlier=attempts_before(view.state, step),
    )


def failure_lines(error: ChildExecutionError, style: Style) -> Iterator[str]:
    """One failure spelled out: where, why, and the last lines of its output."""
    where = f"{error.repository} {error.workflow}".rstrip() + (f", step {error.step}" if error.step else "")
    yield f"{style.sign(CANCELLED if error.kind == CANCELLED else 'failed')} {where}: {told(error.message)}"
    for line in error.last_lines:
        yield f"    {plain(line, colour=style.colour)}"
    for attempt in error.earlier:
        yield f"    attempt {attempt.attempt} {attempt.status}: {first_line(attempt.message) or '-'}"
    if error.attempts > 1:
        yield f"    ({error.attempts} attempts)"
    if error.last_lines:
        yield f"    all of it: tako logs {error.run_id} {error.step}"
