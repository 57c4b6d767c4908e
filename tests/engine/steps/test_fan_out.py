from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tako.config.schema import EventSpec, Produces, Step
from tako.engine.run.events import from_value, to_value
from tako.engine.steps.fan_out import build_event
from tako.errors import UsageError
from tako.journal.fold import fold
from tako.journal.records import EventEmitted, Record, StepFinished
from tako.journal.stored import Values
from tako.layout.run import RunDirectory
from tests.support.records import T0, event, run_id, run_started
from tests.support.segments import run_spec

MAKE = Step(
    id="make",
    run="true",
    produces=Produces(
        artifact="wheel", events=(EventSpec("built", "1.2.0", {"v": "{{ .outputs.v }}", "deep": [{"n": 1}]}),)
    ),
)
MADE: tuple[Record, ...] = (StepFinished(T0, "make", 1, "succeeded", outputs={"v": "1.2.3"}),)


def _emitted(
    tmp_path: Path,
    *steps: Step,
    records: tuple[Record, ...] = MADE,
    artifacts: tuple[str, ...] = (),
    **options: Any,  # noqa: ANN401 - whatever stands under `with`
) -> EventEmitted:
    fan = Step(id="fan", uses="tako/fan-out@v1", with_={"event_type": "built", **options})
    spec = run_spec(tmp_path, *steps, fan, artifact_names=artifacts)
    scope = {"inputs": {"v": "9.9.9", "type": "built"}, "steps": {}, "env": {}}
    return build_event(spec, fan, fold([run_started(), *records]), scope, clock=lambda: T0 + 5)


def test_type_alone_is_enough(tmp_path: Path) -> None:
    emitted = _emitted(tmp_path)
    assert (emitted.at, emitted.step) == (T0 + 5, "fan")
    assert emitted.event == event(source="acme/app", run_id=run_id(1), payload={})
    assert (
        emitted.wait_for_children,
        emitted.timeout_s,
        emitted.concurrency_limit,
        emitted.on_child_failure,
    ) == (
        True,
        None,
        None,
        "fail",
    )


def test_the_options_of_the_fan_out_are_kept(tmp_path: Path) -> None:
    emitted = _emitted(
        tmp_path, wait_for_children=False, timeout=60.0, concurrency_limit=2, on_child_failure="ignore"
    )
    assert (
        emitted.wait_for_children,
        emitted.timeout_s,
        emitted.concurrency_limit,
        emitted.on_child_failure,
    ) == (
        False,
        60.0,
        2,
        "ignore",
    )


def test_an_earlier_step_gives_artifact_version_and_payload(tmp_path: Path) -> None:
    emitted = _emitted(tmp_path, MAKE, artifacts=("a", "b"))
    assert (emitted.event.artifact, emitted.event.schema_version) == ("wheel", "1.2.0")
    assert emitted.event.payload == {"v": "1.2.3", "deep": [{"n": 1}]}


def test_the_fan_out_itself_has_the_last_word(tmp_path: Path) -> None:
    emitted = _emitted(
        tmp_path, MAKE, artifact="docs", schema_version="2.0.0", payload={"w": "{{ .inputs.v }}"}
    )
    assert (emitted.event.artifact, emitted.event.schema_version, emitted.event.payload) == (
        "docs",
        "2.0.0",
        {"w": "9.9.9"},
    )


def test_of_several_steps_with_that_type_the_nearest_earlier_one_counts(tmp_path: Path) -> None:
    other = Step(id="other", run="true", produces=Produces(events=(EventSpec("built", "3.0.0"),)))
    ended = (*MADE, StepFinished(T0, "other", 1, "succeeded"))
    assert _emitted(tmp_path, MAKE, other, records=ended).event.schema_version == "3.0.0"


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_a_step_that_did_not_succeed_gives_nothing(tmp_path: Path, status: str) -> None:
    ended = (StepFinished(T0, "make", 1, status, tolerated=True),)
    assert _emitted(tmp_path, MAKE, records=ended).event.schema_version == "1.0.0"


def test_a_step_after_the_fan_out_gives_nothing(tmp_path: Path) -> None:
    fan = Step(id="fan", uses="tako/fan-out@v1", with_={"event_type": "built"})
    spec = run_spec(tmp_path, fan, MAKE)
    emitted = build_event(spec, fan, fold([run_started(), *MADE]), {}, clock=lambda: T0)
    assert emitted.event.schema_version == "1.0.0"


@pytest.mark.parametrize(
    ("declared", "artifact"), [((), "default"), (("lib",), "lib"), (("lib", "docs"), "default")]
)
def test_without_a_word_the_only_artifact_declared_is_meant(
    tmp_path: Path, declared: tuple[str, ...], artifact: str
) -> None:
    assert _emitted(tmp_path, artifacts=declared).event.artifact == artifact


def test_the_type_may_be_a_template(tmp_path: Path) -> None:
    assert _emitted(tmp_path, event_type="{{ .inputs.type }}").event.type == "built"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"event_type": "no type"}, "event type"),
        ({"schema_version": "one"}, "schema_version"),
        ({"artifact": "../up"}, "artifact"),
        ({"payload": {"v": "{{ .inputs.nobody }}"}}, "nobody"),
        ({"payload": ["a", "list"]}, "payload"),
        ({"payload": {"big": "x" * (1 << 20)}}, "payload"),
    ],
)
def test_what_cannot_be_an_event_is_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        _emitted(tmp_path, **options)


def test_an_event_comes_back_from_its_value(tmp_path: Path) -> None:
    assert to_value(from_value(event(), Values(RunDirectory(tmp_path)))) == event()


def test_a_value_of_the_journal_that_is_no_event_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        from_value(event(type="no type"), Values(RunDirectory(tmp_path)))


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({"a": '{{ "x\\x00y" }}'}, "payload.a cannot be used: it holds the control character U+0000"),
        ({"a": [1, {"b c": "\x1b[2J"}]}, 'payload.a[1]["b c"] cannot be used: it holds the control'),
        ({"\x07": 1}, "a key of payload cannot be used: it holds the control character U+0007"),
    ],
)
def test_a_payload_holds_what_a_tako_yml_may_hold(tmp_path: Path, payload: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        _emitted(tmp_path, payload=payload)
    assert caught.value.message.startswith(said)
