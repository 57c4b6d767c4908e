"""A large event and large inputs lie once in the root run's directory, and are read when they are needed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tako.journal.log import line_of, read_records
from tako.journal.records import ChildFinished, EventEmitted, Record
from tests.support.scenes import Scene, Step, children, fan_out, kinds

pytestmark = pytest.mark.forked

_NOTES = "one of many lines, ünïcode\n" * 4000
_PAYLOAD = {"version": "1.2.3", "notes": _NOTES}
_FAN_OUT = fan_out(payload=_PAYLOAD)
_HEARS = {"inputs": {"notes": "{{ .event.payload.notes }}"}}
#: Succeeds if it has all of the notes, and the event has them too.
_COMPARES = (
    "[ {{ .inputs.notes | shell_quote }} = {{ .event.payload.notes | shell_quote }} ]\n"
    "printf %s {{ .inputs.notes | shell_quote }} | wc -l | grep -x 4000"
)


def _subscriber(scene: Scene, name: str, *steps: Step) -> None:
    scene.subscriber(name, *steps, subscribed=_HEARS, inputs={"notes": {"type": "string"}})


def _journals(run: Path) -> int:
    return sum(path.stat().st_size for path in run.rglob("journal.jsonl"))


def _cut(run: Path, last: type[Record]) -> None:
    """Leave a journal as if its writer had been killed after its last record of this kind."""
    records = list(read_records(run / "journal.jsonl"))
    end = max(number for number, record in enumerate(records) if isinstance(record, last)) + 1
    (run / "journal.jsonl").write_bytes(b"".join(map(line_of, records[:end])))


def _resume(scene: Scene, *options: str) -> Any:  # noqa: ANN401 - what the command printed
    [run] = scene.runs()
    return scene.tako("exec", "--resume", run.name, "--isolation", "process", *options)


def test_a_large_event_and_large_inputs_are_stored_once_for_all_children(scene: Scene) -> None:
    for number in range(3):
        _subscriber(scene, f"acme/app-{number}", _COMPARES)
    done = scene.tako("exec", "release", "--isolation", "process", cwd=scene.library(_FAN_OUT))
    assert done.code == 0, done.stderr
    [run] = scene.runs()
    stored = list((run / "values").iterdir())
    assert len(stored) == 2
    assert not list(run.glob("children/*/values"))
    assert {"EventEmitted/2", "ChildPlanned/2"} <= set(kinds(run))
    assert _journals(run) < 40_000
    told = scene.status()
    [step] = told["steps"]
    assert step["fan_out"]["event"]["payload"] == _PAYLOAD
    assert [child["inputs"] for child in children(told).values()] == [{"notes": _NOTES}] * 3
    # Who only wants to see how it ended reads none of it.
    for path in stored:
        path.unlink()
    assert "acme/app-0" in scene.tako("status").stdout


def test_a_secret_in_a_large_payload_is_not_stored(scene: Scene) -> None:
    scene.subscriber("acme/app", "true")
    says = {
        "id": "says",
        "run": 'echo "token=$TOKEN" >> "$TAKO_OUTPUT"',
        "secrets": ["TOKEN"],
    }
    payload = {"notes": _NOTES, "token": "{{ .steps.says.outputs.token }}"}
    checkout = scene.library(says, fan_out(payload=payload))
    done = scene.tako(
        "exec", "release", "--isolation", "process", cwd=checkout, env={"TOKEN": "correct-horse-battery"}
    )
    assert done.code == 0, done.stderr
    [run] = scene.runs()
    [stored] = (run / "values").iterdir()
    assert json.loads(stored.read_bytes()) == {"notes": _NOTES, "token": "***"}


@pytest.mark.measured
def test_a_stored_value_that_is_gone_is_the_failure_of_the_child_that_needs_it(scene: Scene) -> None:
    _subscriber(scene, "acme/app", f"{_COMPARES}\nfalse")
    scene.subscriber("acme/other", "[ -n {{ .event.type }} ]", "test -e /nowhere")
    assert scene.tako("exec", "release", "--isolation", "process", cwd=scene.library(_FAN_OUT)).code == 1
    [run] = scene.runs()
    for path in (run / "values").iterdir():
        path.unlink()
    for command in (["runs"], ["status"]):
        shown = scene.tako(*command)
        assert (shown.code, shown.stderr) == (0, "")
    told = scene.status()
    assert (told["steps"][0]["fan_out"]["event"]["payload"], told["status"]) == (None, "failed")
    assert _resume(scene, "--explain").code == 0
    again = _resume(scene)
    assert again.code == 1
    assert "Traceback" not in again.stderr
    found = children(scene.status())
    for name in ("acme/app", "acme/other"):
        assert re.search(r"the stored value .*/values/[0-9a-f]{64}\.json is missing", found[name]["message"])


@pytest.mark.measured
def test_an_event_that_is_damaged_before_its_children_are_planned_is_exit_4(scene: Scene) -> None:
    scene.subscriber("acme/app", "true")
    assert scene.tako("exec", "release", "--isolation", "process", cwd=scene.library(_FAN_OUT)).code == 0
    [run] = scene.runs()
    _cut(run, EventEmitted)
    [path] = (run / "values").iterdir()
    path.write_bytes(path.read_bytes().replace(b"many", b"some", 1))
    again = _resume(scene)
    assert again.code == 4
    assert f"the stored value {path} is damaged" in again.stderr
    assert "Traceback" not in again.stderr


def test_who_takes_a_run_up_needs_no_payload_for_what_is_planned(scene: Scene) -> None:
    _subscriber(scene, "acme/app", _COMPARES)
    checkout = scene.library(_FAN_OUT)
    assert scene.tako("exec", "release", "--isolation", "process", cwd=checkout).code == 0
    [run] = scene.runs()
    _cut(run, ChildFinished)
    for path in (run / "values").iterdir():
        path.unlink()
    again = _resume(scene)
    assert again.code == 0, again.stderr
