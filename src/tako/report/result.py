"""The result as JSON, streamed: a child's result is written while its journal is read.

Keys: `run_id`, `status`, `repository`, `commit`, `dirty`, `branch`, `workflow`, `started`, `duration_s`,
`outputs`, `steps` (a fan-out's with `fan_out`, whose `children` are results again), and on the root
`exit_code`, `interrupted_at`, `was_running` and `failures`. All of it is ASCII, so that no stream's
encoding stands in its way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO

from tako.engine.root.results import fan_out_result
from tako.journal.parts import ChildExecutionError, EventValue, Held
from tako.journal.run_state import ChildState, StepState
from tako.journal.stored import StoredValueError, Values
from tako.report.failures import failures
from tako.report.interruption import interruption
from tako.report.reading import RunView, moment
from tako.repositories.caveats import DAMAGED, Caveat
from tako.values import asdict, evolve, field, mutable


@mutable
class _Reading:
    """The facts about a whole tree, kept while its runs are written one by one."""

    values: Values
    warnings: list[dict[str, Any]] = field(factory=list)

    def held(self, view: RunView, held: Held) -> Mapping[str, Any] | None:
        """Return a value that may be stored; None and a warning if its file is gone."""
        try:
            return self.values.read(held)
        except StoredValueError as error:
            self.warn(view, Caveat(DAMAGED, "", error.message))
            return None

    def warn(self, view: RunView, caveat: Caveat, step: str = "") -> None:
        """Add one to what is written at the end."""
        told = {"kind": caveat.kind, "repository": caveat.repository, "reason": caveat.reason}
        self.warnings.append({"run_id": view.paths.run_id, "step": step, **told})


def write_result(view: RunView, stream: TextIO, *, exit_code: int | None = None) -> None:
    """Write one JSON object and a newline."""
    stream.writelines(_run(view, _Reading(Values(view.paths)), top=True, exit_code=exit_code))
    stream.write("\n")


def _run(
    view: RunView, reading: _Reading, *, top: bool = False, exit_code: int | None = None
) -> Iterator[str]:
    for warned in view.state.warnings:
        reading.warn(view, Caveat(warned.about, warned.repository, warned.reason), warned.step)
    yield _open(_head(view, reading))
    yield ',"steps":['
    for number, step in enumerate(view.state.steps.values()):
        yield "," if number else ""
        yield from _step(view, step, reading)
    yield "]"
    if top:
        settled = view.state.settled
        code = settled.exit_code if settled and exit_code is None else exit_code
        yield f',"exit_code":{json.dumps(code)}{_interruption(view)},"failures":['
        yield from _joined(json.dumps(_failure(error)) for error in failures(view))
        yield f'],"warnings":{json.dumps(reading.warnings)}'
    yield "}"


def _interruption(view: RunView) -> str:
    found = interruption(view)
    at = moment(found.at) if found and found.at else None
    running = found.running if found else []
    return f',"interrupted_at":{json.dumps(at)},"was_running":{json.dumps(running)}'


def _failure(error: ChildExecutionError) -> dict[str, Any]:
    earlier = [asdict(attempt) | {"at": moment(attempt.at)} for attempt in error.earlier]
    started = moment(error.started) if error.started is not None else None
    return asdict(error) | {"started": started, "earlier": earlier}


def _open(values: dict[str, Any]) -> str:
    return json.dumps(values)[:-1]


def _joined(pieces: Iterable[str]) -> Iterator[str]:
    for number, piece in enumerate(pieces):
        yield f",{piece}" if number else piece


def _head(view: RunView, reading: _Reading) -> dict[str, Any]:
    started, finished = view.state.started, view.state.finished
    return {
        "run_id": view.paths.run_id,
        "status": view.status,
        "repository": started.repository if started else None,
        "branch": started.branch if started else None,
        "commit": started.commit if started else None,
        "dirty": bool(started and started.tracked_changes),
        "workflow": started.workflow if started else None,
        "inputs": reading.held(view, started.inputs) if started else {},
        "isolation": started.isolation if started else None,
        "started": moment(started.at) if started else None,
        "duration_s": finished.duration_s if finished else None,
        "message": finished.message if finished else "",
        "outputs": dict(finished.outputs) if finished else {},
        "attempts": view.state.attempts,
        "usage": asdict(view.state.usage),
    }


def _step(view: RunView, step: StepState, reading: _Reading) -> Iterator[str]:
    finished = step.finished
    yield _open(
        {
            "id": step.id,
            "status": view.status if step.status == "running" and not view.owned else step.status,
            "attempts": step.attempts,
            "earlier": [asdict(attempt) | {"at": moment(attempt.at)} for attempt in step.earlier],
            "exit_code": finished.exit_code if finished else None,
            "signal": finished.signal if finished else "",
            "limit": finished.limit if finished else "",
            "limit_value": finished.limit_value if finished else None,
            "message": finished.message if finished else "",
            "duration_s": finished.duration_s if finished else None,
            "tolerated": finished.tolerated if finished else False,
            "outputs": dict(view.state.outputs_of(step.id)),
            "usage": asdict(finished.usage) if finished else None,
            "artifacts": {
                name: [asdict(file) for file in record.files]
                for name, record in view.state.artifacts.items()
                if record.step == step.id
            },
            "artifact_details": {
                name: {
                    "links": dict(record.links),
                    "empty_directories": list(record.empty_directories),
                    "left_out": [asdict(left) for left in record.left_out],
                }
                for name, record in view.state.artifacts.items()
                if record.step == step.id
            },
        }
    )
    if step.id in view.state.fan_outs:
        yield from _fan_out(view, step.id, reading)
    yield "}"


def _fan_out(view: RunView, step_id: str, reading: _Reading) -> Iterator[str]:
    told = fan_out_result(view.state, step_id)
    result = asdict(told) | {
        "event": _event(view, told.event, reading),
        "errors": [_failure(error) for error in told.errors],
    }
    fan_out = view.state.fan_outs[step_id]
    result["filtered_out"] = [
        {"repository": record.repository, "workflow": record.workflow, "reason": record.reason}
        for record in fan_out.filtered
    ]
    yield ',"fan_out":'
    yield _open(result)
    yield ',"children":['
    for number, child in enumerate(fan_out.children.values()):
        yield "," if number else ""
        yield from _child(view, child, reading)
    yield "]}"


def _event(view: RunView, event: EventValue, reading: _Reading) -> dict[str, Any]:
    return asdict(evolve(event, payload={})) | {"payload": reading.held(view, event.payload)}


def _child(view: RunView, child: ChildState, reading: _Reading) -> Iterator[str]:
    own = view.child(child.plan.run_id)
    # One that was ended before its worker wrote a line has a journal that does not say what it is.
    if own is not None and own.state.started is not None:
        yield from _run(own, reading)
        return
    plan, finished = child.plan, child.finished
    yield json.dumps(
        {
            "run_id": plan.run_id,
            "status": finished.status if finished else "pending",
            "repository": plan.repository,
            "branch": plan.branch,
            "commit": plan.commit,
            "workflow": plan.workflow,
            "inputs": reading.held(view, plan.inputs),
            "message": finished.error.message if finished and finished.error else "",
            "steps": [],
        }
    )
