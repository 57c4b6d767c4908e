from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

from tako.engine.root.results import fan_out_result
from tako.journal.parts import ChildExecutionError
from tako.journal.records import ChildPlanned, EventEmitted, RunFinished, StepStarted
from tako.layout.home import Home
from tako.layout.run import RunDirectory
from tako.report.reading import RunView, moment, read_run
from tako.report.result import write_result
from tako.values import asdict
from tests.support.records import T0, event, run_id, run_started, write_journal
from tests.support.told_runs import WHY, held


def _result(view: RunView, exit_code: int | None = None) -> Any:  # noqa: ANN401 - JSON
    stream = io.StringIO()
    write_result(view, stream, exit_code=exit_code)
    text = stream.getvalue()
    assert text.endswith("}\n")
    assert text.isascii()
    assert text.count("\n") == 1
    return json.loads(text)


def _steps(result: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {step["id"]: step for step in result["steps"]}


def _told(error: ChildExecutionError) -> Any:  # noqa: ANN401 - JSON
    """Give an error as a result tells it: as it is, but its time as people read it."""
    started = moment(error.started) if error.started else None
    return json.loads(json.dumps({**asdict(error), "started": started}))


def test_the_head_of_a_result(told: RunDirectory) -> None:
    result = _result(read_run(told))
    assert {key: result[key] for key in result if key not in {"steps", "failures"}} == {
        "run_id": run_id(0),
        "status": "failed",
        "repository": "acme/lib",
        "branch": "main",
        "commit": "c0ffee",
        "dirty": False,
        "workflow": "release",
        "inputs": {"bump": "minor"},
        "isolation": "process",
        "started": "2023-11-14T22:13:20Z",
        "duration_s": 65.0,
        "message": "step dependents: 3 of 4 children did not succeed",
        "outputs": {},
        "attempts": 1,
        "usage": {"cpu_s": 0.1, "max_rss": 2048, "memory": 0, "tasks": 0, "disk": 0},
        "exit_code": 1,
        "interrupted_at": None,
        "was_running": [],
        "warnings": [],
    }


def test_every_step_with_all_that_is_known_of_it(told: RunDirectory) -> None:
    steps = _steps(_result(read_run(told)))
    assert [(name, step["status"]) for name, step in steps.items()] == [
        ("build", "succeeded"),
        ("notes", "skipped"),
        ("lint", "failed"),
        ("dependents", "failed"),
        ("after", "pending"),
    ]
    assert steps["build"] == {
        "id": "build",
        "status": "succeeded",
        "attempts": 1,
        "earlier": [],
        "exit_code": 0,
        "signal": "",
        "limit": "",
        "limit_value": None,
        "message": "",
        "duration_s": 0.34,
        "tolerated": False,
        "outputs": {"v": "1.2.3 ✓"},
        "usage": {"cpu_s": 0.1, "max_rss": 2048, "memory": 0, "tasks": 0, "disk": 0},
        "artifacts": {"wheel": [{"path": "lib.whl", "sha256": "ab12", "size": 4096}]},
        "artifact_details": {"wheel": {"links": {}, "empty_directories": [], "left_out": []}},
    }
    assert steps["lint"]["tolerated"]
    assert (steps["after"]["exit_code"], steps["after"]["usage"], steps["after"]["attempts"]) == (
        None,
        None,
        0,
    )


def test_a_fan_out_agrees_with_the_fold(told: RunDirectory) -> None:
    view = read_run(told)
    written = _steps(_result(view))["dependents"]["fan_out"]
    folded = fan_out_result(view.state, "dependents")
    wanted = json.loads(json.dumps(asdict(folded)))
    wanted["errors"] = list(map(_told, folded.errors))
    assert {key: written[key] for key in wanted} == wanted
    assert written["filtered_out"] == [
        {
            "repository": "acme/old",
            "workflow": "check",
            "reason": "schema version 1.0.0 is outside [2.0.0...)",
        }
    ]


def test_the_children_are_results_again(told: RunDirectory) -> None:
    children = _steps(_result(read_run(told)))["dependents"]["fan_out"]["children"]
    assert [(child["repository"], child["status"]) for child in children] == [
        ("acme/app", "failed"),
        ("acme/tool", "succeeded"),
        ("acme/broken", "failed"),
        ("acme/late", "cancelled"),
    ]
    app, tool, broken, _ = children
    assert (app["attempts"], app["steps"][0]["attempts"], app["steps"][0]["exit_code"]) == (2, 2, 3)
    leaf = _steps(tool)["more"]["fan_out"]["children"]
    assert [(child["repository"], child["status"]) for child in leaf] == [("acme/leaf", "succeeded")]
    assert "exit_code" not in tool
    assert broken == {
        "run_id": run_id(3),
        "status": "failed",
        "repository": "acme/broken",
        "branch": "main",
        "commit": "beef",
        "workflow": "check",
        "inputs": {"v": "1"},
        "message": "tako.yml:1:1: bad\nmore",
        "steps": [],
    }


def test_failures_hold_their_kind_place_and_reason(told: RunDirectory) -> None:
    found = _result(read_run(told))["failures"]
    assert found[0] == _told(WHY)
    assert found[0]["started"] == "2023-11-14T22:13:22Z"
    assert [error["repository"] for error in found] == ["acme/app", "acme/broken", "acme/late"]


def test_the_exit_code_is_the_recorded_one_or_the_one_given(told: RunDirectory) -> None:
    assert _result(read_run(told))["exit_code"] == 1
    assert _result(read_run(told), exit_code=3)["exit_code"] == 3
    assert _result(read_run(told), exit_code=0)["exit_code"] == 0


def test_a_run_that_goes_on_has_a_result_so_far(home: Home) -> None:
    paths = home.run(run_id(0))
    records = (run_started(steps=("one",)), StepStarted(T0, "one", 1, "k"))
    with held(paths):
        write_journal(paths.journal, *records)
        result = _result(read_run(paths))
    assert (result["status"], result["duration_s"], result["exit_code"]) == ("running", None, None)
    assert result["steps"][0]["status"] == "running"
    assert _result(read_run(paths))["steps"][0]["status"] == "interrupted"


def test_a_planned_child_that_has_not_started_is_pending(home: Home) -> None:
    paths = home.run(run_id(0))
    plan = ChildPlanned(T0, "fan", run_id(1), "acme/app", "main", "c", "check", {})
    write_journal(paths.journal, run_started(), EventEmitted(T0, "fan", event()), plan)
    [child] = _result(read_run(paths))["steps"][0]["fan_out"]["children"]
    assert (child["status"], child["message"]) == ("pending", "")


def test_a_run_of_which_nothing_is_known_has_a_result(home: Home) -> None:
    paths = home.run(run_id(0))
    write_journal(paths.journal)
    result = _result(read_run(paths))
    assert (result["status"], result["repository"], result["steps"], result["failures"]) == (
        "interrupted",
        None,
        [],
        [],
    )


def test_a_result_is_written_piece_by_piece(told: RunDirectory) -> None:
    class Pieces:
        def __init__(self) -> None:
            self.lengths: list[int] = []

        def writelines(self, pieces: Iterator[str]) -> None:
            self.lengths += map(len, pieces)

        def write(self, piece: str) -> None:
            self.lengths.append(len(piece))

    stream = Pieces()
    write_result(read_run(told), stream)  # type: ignore[arg-type]
    assert max(stream.lengths) < sum(stream.lengths) / 3


def test_half_a_surrogate_pair_is_no_reason_to_fail(home: Home) -> None:
    paths = home.run(run_id(0))
    write_journal(paths.journal, run_started(), RunFinished(T0, "succeeded", outputs={"v": "caf\udce9"}))
    assert _result(read_run(paths))["outputs"] == {"v": "caf\udce9"}
