from __future__ import annotations

import errno
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tako.config.schema import EventSpec, Produces, Retry, Step
from tako.journal.log import Writer, read_records
from tako.journal.records import (
    ChildFinished,
    ChildPlanned,
    FanOutPlanned,
    Record,
    RunStarted,
    SegmentStarted,
    StepFinished,
)
from tako.sandbox.policy import Limits
from tako.values import evolve
from tests.support.records import T0, event, run_id
from tests.support.segments import Ran, run, run_spec


def _with(spec: Any, **workflow: Any) -> Any:  # noqa: ANN401 - a spec with another workflow
    return evolve(spec, workflow=evolve(spec.workflow, **workflow))


def _kinds(ran: Ran) -> list[str]:
    return [type(record).__name__ for record in read_records(ran.spec.paths.journal)]


def test_the_steps_run_in_order_and_the_run_succeeds(tmp_path: Path) -> None:
    ran = run(run_spec(tmp_path, "echo one > log", "cat log; echo two"))
    assert (ran.end.kind, ran.end.status, ran.state.status) == ("finished", "succeeded", "succeeded")
    assert ran.log("step-2") == "one\ntwo\n"
    assert _kinds(ran) == [
        "RunStarted",
        "SandboxEntered",
        *["StepStarted", "StepFinished"] * 2,
        "RunFinished",
    ]


def test_the_beginning_of_a_run_says_all_that_is_pinned(tmp_path: Path) -> None:
    spec = run_spec(
        tmp_path,
        "true",
        inputs={"a": 1},
        event=event(),
        ancestors=(("acme/lib", "release"),),
        parent_run_id=run_id(0),
        parent_step="fan",
    )
    ran = run(spec)
    begun = ran.state.started
    assert isinstance(begun, RunStarted)
    assert (begun.run_id, begun.repository, begun.commit, begun.workflow) == (
        run_id(1),
        "acme/app",
        "c0ffee",
        "check",
    )
    assert (begun.inputs, begun.event, begun.ancestors) == ({"a": 1}, event(), (("acme/lib", "release"),))
    assert (begun.parent_run_id, begun.parent_step, begun.steps) == (run_id(0), "fan", ("step-1",))
    assert begun.identity.pid != os.getpid()


def test_a_run_that_succeeded_leaves_no_workspace_and_no_scripts(tmp_path: Path) -> None:
    spec = run(run_spec(tmp_path, "mkdir -p a/b; chmod 000 a/b; chmod 500 a")).spec
    left = {path.name for path in spec.directory.iterdir()}
    assert {"journal.jsonl", "logs"} <= left
    assert not left & {"work", "scripts", ".new"}


def test_a_run_that_failed_or_is_to_be_kept_keeps_its_workspace(tmp_path: Path) -> None:
    failed = run(run_spec(tmp_path, "touch here; false")).spec
    assert (failed.paths.repo / "here").exists()
    kept = run(run_spec(tmp_path, "touch here", number=2, keep=True)).spec
    assert (kept.paths.repo / "here").exists()


def test_a_failing_step_ends_the_run_and_the_next_ones_stay_pending(tmp_path: Path) -> None:
    ran = run(run_spec(tmp_path, "echo before; exit 3", "true"))
    finished = ran.step()
    assert (finished.status, finished.exit_code, finished.message) == ("failed", 3, "exit code 3")
    assert finished.last_lines == ("before",)
    assert (ran.end.status, ran.end.message) == ("failed", "step step-1: exit code 3")
    assert ran.state.step("step-2").status == "pending"


def test_the_first_failing_command_ends_a_script(tmp_path: Path) -> None:
    assert run(run_spec(tmp_path, "false\necho not reached")).log() == ""


def test_a_script_is_a_file_so_that_its_length_and_signs_do_not_matter(tmp_path: Path) -> None:
    script = "echo \"it's ü ${#PATH}\" | sed 's/[0-9]*$//'\n" + "# " + "x" * 300_000
    assert run(run_spec(tmp_path, script)).log() == "it's ü \n"


def test_steps_read_nothing_from_standard_input(tmp_path: Path) -> None:
    assert run(run_spec(tmp_path, "cat; echo end; readlink /proc/self/fd/0")).log() == "end\n/dev/null\n"


def test_what_a_step_used_is_measured(tmp_path: Path) -> None:
    usage = run(run_spec(tmp_path, "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done")).step().usage
    assert usage.cpu_s > 0
    assert 100_000 < usage.max_rss < 10**9


@pytest.mark.parametrize(
    ("value", "said"), [("a\0b", "holds a NUL character"), ("x" * 200_000, "and a program takes 128.0 KiB")]
)
def test_a_variable_that_no_program_can_be_given_fails_the_step(
    tmp_path: Path, value: str, said: str
) -> None:
    step = Step(id="bad", run="true", env={"NAME": value})
    assert said in run(run_spec(tmp_path, step)).step("bad").message


def test_a_step_whose_condition_is_false_is_skipped(tmp_path: Path) -> None:
    steps = (
        Step(id="yes", run="true", condition="inputs.deploy == 'no'"),
        Step(id="no", run="false", condition="inputs.deploy == 'yes'"),
        Step(id="after", run="true", condition="steps.no.status == 'skipped' && steps.yes.exit_code == 0"),
    )
    ran = run(run_spec(tmp_path, *steps, inputs={"deploy": "no"}))
    assert ran.end.status == "succeeded"
    assert [ran.step(name).status for name in ("yes", "no", "after")] == ["succeeded", "skipped", "succeeded"]
    assert ran.step("no").message == "if: inputs.deploy == 'yes'"


def test_a_condition_that_cannot_be_decided_fails_the_step_and_its_clean_up_runs(tmp_path: Path) -> None:
    step = Step(
        id="a", run="true", condition="inputs.nobody == 1", on_failure=(Step(id="c", run="echo cleaned"),)
    )
    ran = run(run_spec(tmp_path, step))
    assert ran.step("a").status == "failed"
    assert ran.step("a").message.startswith("if: ")
    assert ran.log("c") == "cleaned\n"


def test_conditions_and_templates_see_the_event(tmp_path: Path) -> None:
    step = Step(id="a", run="echo {{ .event.payload.version }}", condition="event.type == 'built'")
    assert run(run_spec(tmp_path, step, event=event())).log("a") == "1.2.3\n"


def test_a_tolerated_failure_lets_the_run_go_on(tmp_path: Path) -> None:
    ran = run(run_spec(tmp_path, Step(id="a", run="exit 4", continue_on_error=True), "echo on"))
    assert (ran.end.status, ran.step("a").tolerated, ran.step("a").exit_code) == ("succeeded", True, 4)
    assert ran.log("step-2") == "on\n"


def test_after_a_failure_its_clean_up_runs_and_the_run_has_failed(tmp_path: Path) -> None:
    cleanup = (
        Step(id="c1", run="echo status {{ .steps.a.status }} {{ .steps.a.exit_code }}"),
        Step(id="c2", run="false"),
        Step(id="c3", run="true", condition="false"),
        Step(id="c4", run="echo still"),
    )
    ran = run(run_spec(tmp_path, Step(id="a", run="exit 4", on_failure=cleanup), "true"))
    assert (ran.end.status, ran.end.message) == ("failed", "step a: exit code 4")
    assert ran.log("c1") == "status failed 4\n"
    assert [ran.step(name).status for name in ("c2", "c3", "c4")] == ["failed", "skipped", "succeeded"]
    assert ran.state.step("step-2").status == "pending"


def test_a_template_that_cannot_be_rendered_fails_its_step(tmp_path: Path) -> None:
    ran = run(run_spec(tmp_path, "echo {{ .inputs.nobody }}"))
    assert ran.step().status == "failed"
    assert "nobody" in ran.step().message


def test_an_environment_that_cannot_be_rendered_fails_the_run_and_leaves_no_step_open(tmp_path: Path) -> None:
    ran = run(_with(run_spec(tmp_path, "true"), env={"V": "{{ .inputs.nobody }}"}))
    assert (ran.end.status, ran.step().status) == ("failed", "failed")
    assert ran.state.finished is not None
    assert ran.state.finished.error_kind == "config_invalid"
    assert not ran.end.machine_fault


def test_a_log_that_cannot_grow_ends_the_run_as_the_machines_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    # The worker is forked from this process and finds it so.
    monkeypatch.setattr("tako.engine.steps.stream.write_all", full)
    spec = run_spec(tmp_path, "echo hello; sleep 600", "true")
    ran = run(spec)
    assert (ran.end.status, ran.end.machine_fault, ran.state.status) == ("failed", True, "failed")
    assert "no space left while writing" in ran.end.message
    assert ran.step().status == "failed"
    assert ran.state.step("step-2").status == "pending"


def test_a_snapshot_that_has_vanished_is_the_machines_fault_told_of_this_run(tmp_path: Path) -> None:
    ran = run(run_spec(tmp_path, "true", source=tmp_path / "gone"))
    assert ran.end.status == "failed"
    assert ran.state.finished is not None
    assert ran.state.finished.error_kind == "sandbox_failed"
    assert "gone" in ran.end.message


def test_things_in_a_repository_that_are_no_files_do_not_hinder(tmp_path: Path) -> None:
    spec = run_spec(tmp_path, "ls -A")
    os.mkfifo(spec.source / "fifo")
    (spec.source / "dangling").symlink_to("nowhere")
    (spec.source / "directory").symlink_to(".")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(spec.source)
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
    assert run(spec).log().split() == ["dangling", "directory"]


FAN_OUT = Step(id="fan", uses="tako/fan-out@v1", with_={"event_type": "built"})


def test_a_segment_ends_at_a_fan_out_with_its_event(tmp_path: Path) -> None:
    produces = Produces(outputs={"version": "from_stdout"}, artifact="wheel", events=(
        EventSpec("built", "1.2.0", {"version": "{{ .outputs.version }}", "n": 1}),
    ))  # fmt: skip
    ran = run(run_spec(tmp_path, Step(id="make", run="echo 1.2.3", produces=produces), FAN_OUT, "true"))
    assert (ran.end.kind, ran.end.step, ran.state.finished) == ("fan_out", "fan", None)
    emitted = ran.state.fan_outs["fan"].emitted
    assert (emitted.event.payload, emitted.event.schema_version) == ({"version": "1.2.3", "n": 1}, "1.2.0")
    assert (emitted.event.source, emitted.event.artifact, emitted.event.run_id) == (
        "acme/app",
        "wheel",
        run_id(1),
    )
    assert ran.spec.paths.work.exists()


def _after(spec: Any, *records: Record) -> Ran:  # noqa: ANN401 - a spec
    """Run the segment after the fan-out, with what the root recorded in between."""
    with Writer(spec.paths.journal) as journal:
        for record in records:
            journal.append(record)
    return run(spec, number=1)


def _child(spec: Any, status: str = "succeeded", **outputs: object) -> tuple[Record, ...]:  # noqa: ANN401
    planned = ChildPlanned(T0, "fan", run_id(7), "acme/dep", "main", "c", "check", {})
    return (
        planned,
        FanOutPlanned(T0, "fan", 1, 1),
        ChildFinished(T0, "fan", run_id(7), status, outputs=outputs),
    )


def test_after_its_children_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    spec = run_spec(
        tmp_path,
        "touch here",
        FAN_OUT,
        "ls; echo {{ .steps.fan.outputs | json_escape }}; cat $TAKO_CHILDREN/acme/dep/wheel/w",
    )
    assert run(spec).end.kind == "fan_out"
    made = spec.paths.child(run_id(7)).artifacts / "wheel"
    made.mkdir(parents=True)
    (made / "w").write_text("from the child\n")
    ran = _after(spec, *_child(spec, version="9"), StepFinished(T0, "fan", 1, "succeeded"))
    assert ran.end.status == "succeeded", ran.end.message
    listed, outputs, artifact = ran.log("step-3").splitlines()
    assert (listed, artifact) == ("here", "from the child")
    assert "acme/dep" in outputs
    assert isinstance([*read_records(spec.paths.journal)][-5], SegmentStarted)


def test_after_a_failed_fan_out_its_clean_up_runs(tmp_path: Path) -> None:
    fan_out = evolve(FAN_OUT, on_failure=(Step(id="c", run="echo cleaned {{ .steps.fan.status }}"),))
    spec = run_spec(tmp_path, fan_out, "true")
    run(spec)
    ran = _after(
        spec, *_child(spec, "failed"), StepFinished(T0, "fan", 1, "failed", message="1 of 1 children")
    )
    assert (ran.end.status, ran.end.message) == ("failed", "step fan: 1 of 1 children")
    assert ran.log("c") == "cleaned failed\n"


def test_a_tolerated_fan_out_lets_the_run_go_on(tmp_path: Path) -> None:
    spec = run_spec(tmp_path, FAN_OUT, "echo on")
    run(spec)
    ran = _after(spec, *_child(spec, "failed"), StepFinished(T0, "fan", 1, "failed", tolerated=True))
    assert (ran.end.status, ran.log("step-2")) == ("succeeded", "on\n")


@pytest.mark.parametrize("tolerated", [True, False])
def test_an_event_that_cannot_be_built_fails_its_step(tmp_path: Path, tolerated: bool) -> None:
    fan_out = evolve(
        FAN_OUT, with_={"event_type": "built", "schema_version": "one"}, continue_on_error=tolerated
    )
    ran = run(run_spec(tmp_path, fan_out, "true"))
    assert ran.step("fan").status == "failed"
    assert "schema_version" in ran.step("fan").message
    assert ran.step("fan").tolerated == tolerated
    assert ran.end.status == ("succeeded" if tolerated else "failed")


def test_a_fan_out_can_have_a_condition(tmp_path: Path) -> None:
    ran = run(run_spec(tmp_path, evolve(FAN_OUT, condition="false"), "true"))
    assert (ran.end.kind, ran.end.status, ran.state.fan_outs) == ("finished", "succeeded", {})


def test_what_the_journal_holds_is_plain_json(tmp_path: Path) -> None:
    spec = run(run_spec(tmp_path, "echo v=ü >> $TAKO_OUTPUT")).spec
    bodies = [json.loads(line) for line in spec.paths.journal.read_bytes().splitlines()]
    assert bodies[3]["outputs"] == {"v": "ü"}


def test_a_step_that_cannot_be_prepared_fails_alone(tmp_path: Path) -> None:
    ran = run(run_spec(tmp_path, "mkdir $TAKO_WORKSPACE/tmp/step-2.outputs", "true"))
    assert ran.step("step-2").message.startswith("the step cannot be prepared: ")
    assert not ran.end.machine_fault


def test_artifacts_that_find_no_room_are_the_machines_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    # The worker is forked from this process and finds it so.
    monkeypatch.setattr("tako.engine.steps.shell.collect_outputs", full)
    ran = run(run_spec(tmp_path, "true"))
    assert (ran.end.status, ran.end.machine_fault) == ("failed", True)
    assert ran.step().status == "failed"
    assert "no space left while writing" in ran.end.message


def test_a_process_that_cannot_be_killed_fails_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tako.engine.steps.process_tree.end_descendants", lambda: [4242])
    assert run(run_spec(tmp_path, "true")).step().message == "processes that cannot be killed are left: 4242"


def test_a_step_that_tolerates_timeouts_does_not_outlive_that_of_its_run(tmp_path: Path) -> None:
    # What the root sends when the time of the run is over.
    patient = Step(id="a", run="kill -USR1 $PPID; sleep 600", continue_on_error=True)
    ran = run(run_spec(tmp_path, patient, "true"))
    assert (ran.end.status, ran.step("a").tolerated) == ("timed_out", True)
    assert ran.state.step("step-2").status == "pending"


def test_a_run_that_is_to_make_room_fails_at_once_and_gives_up_its_workspace(tmp_path: Path) -> None:
    limits = Limits(min_free=1 << 20)
    # What the root sends; no grace, no further attempt, nothing tolerated.
    greedy = Step(
        id="a",
        run="trap '' TERM; kill -RTMIN $PPID; sleep 600",
        continue_on_error=True,
        retry=Retry(max_attempts=3, backoff_s=0.0),
    )
    ran = run(run_spec(tmp_path, greedy, "true", limits=limits, parent_run_id=run_id(0)))
    finished = ran.step("a")
    assert (finished.status, finished.limit, finished.limit_value) == ("failed", "min_free", 1 << 20)
    assert finished.message.startswith("stopped because the disk had less free than min_free, 1.0 MiB")
    assert ran.state.finished is not None
    assert (ran.end.status, ran.state.finished.error_kind) == ("failed", "limit_exceeded")
    assert not ran.end.machine_fault
    assert ran.state.step("step-2").finished is None
    assert not ran.spec.paths.work.exists()


def test_a_child_that_finds_no_room_has_failed_and_is_not_the_machines_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    # The worker is forked from this process and finds it so.
    monkeypatch.setattr("tako.engine.steps.shell.collect_outputs", full)
    ran = run(run_spec(tmp_path, "true", parent_run_id=run_id(0)))
    assert (ran.end.status, ran.end.machine_fault) == ("failed", False)
    assert ran.state.finished is not None
    assert ran.state.finished.error_kind == "limit_exceeded"
    assert ran.spec.paths.work.exists()
