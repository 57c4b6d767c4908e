from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tako.config.schema import Produces, Step
from tako.engine.run.run_directory import make_directory
from tako.engine.run.spec import secrets_of
from tests.support.segments import Ran, run, run_spec


def _produces(**outputs: str) -> Produces:
    return Produces(outputs=outputs)


def _outputs(tmp_path: Path, script: str, **outputs: str) -> dict[str, Any]:
    return run(run_spec(tmp_path, Step(id="step-1", run=script, produces=_produces(**outputs)))).outputs()


def _refusal(tmp_path: Path, script: str, **outputs: str) -> str:
    finished = run(run_spec(tmp_path, Step(id="step-1", run=script, produces=_produces(**outputs)))).step()
    assert finished.status == "failed"
    assert finished.exit_code == 0
    return finished.message


def test_outputs_of_every_form(tmp_path: Path) -> None:
    outputs = run(
        run_spec(
            tmp_path,
            Step(
                id="step-1",
                run="echo '  out: 7 '; echo err >&2; echo -n file > f; echo NAME=va=lue >> $TAKO_ENV;"
                " echo own=1 >> $TAKO_OUTPUT",
                produces=_produces(
                    out="from_stdout",
                    err="from_stderr",
                    file="from_file:f",
                    env="from_env:NAME",
                    regex="out: ([0-9]+)",
                    template="{{ .inputs.x }}-{{ .outputs.regex }}-{{ .outputs.own }}",
                ),
            ),
            inputs={"x": "y"},
        )
    ).outputs()
    assert outputs == {
        "own": "1",
        "out": "  out: 7 ",
        "err": "err",
        "file": "file",
        "env": "va=lue",
        "regex": "7",
        "template": "y-7-1",
    }


def test_outputs_reach_later_steps_and_the_run(tmp_path: Path) -> None:
    ran = run(
        run_spec(
            tmp_path,
            Step(id="make", run="echo 1.2.3", produces=_produces(version="from_stdout")),
            Step(
                id="use",
                run="echo got {{ .steps.make.outputs.version | shell_quote }}; echo n=2 >> $TAKO_OUTPUT",
            ),
        )
    )
    assert ran.log("use") == "got 1.2.3\n"
    assert ran.state.finished is not None
    assert ran.state.finished.outputs == {"version": "1.2.3", "n": "2"}


def test_what_a_step_exports_is_in_the_environment_of_later_steps_and_templates(tmp_path: Path) -> None:
    ran = run(run_spec(tmp_path, "echo COLOUR=blue >> $TAKO_ENV", "echo $COLOUR {{ .env.COLOUR }}"))
    assert ran.log("step-2") == "blue blue\n"


def test_a_step_of_an_earlier_attempt_leaves_no_lines_to_a_later_one(tmp_path: Path) -> None:
    spec = run_spec(tmp_path, "true")
    make_directory(spec.paths)
    for directory in (spec.paths.work, spec.paths.exchange, spec.paths.repo, spec.paths.home):
        directory.mkdir()
    spec.paths.step_outputs("step-1").write_text("stale=1\n")
    assert run(spec).outputs() == {}


@pytest.mark.parametrize("lines", ["a=1\r\nb=2\r\n", "a=1\n\n  \nb=2", "a=0\na=1\nb=2\n"])
def test_lines_are_read_kindly(tmp_path: Path, lines: str) -> None:
    (tmp_path / "lines").write_text(lines)
    assert _outputs(tmp_path, f"cat '{tmp_path}/lines' > $TAKO_OUTPUT") == {"a": "1", "b": "2"}


def test_a_value_may_hold_what_only_unicode_calls_the_end_of_a_line(tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("a=one\x85two\u2028three\x85four\n")
    assert _outputs(tmp_path, f"cat '{tmp_path}/lines' > $TAKO_OUTPUT") == {
        "a": "one\x85two\u2028three\x85four"
    }


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo nonsense >> $TAKO_OUTPUT", "$TAKO_OUTPUT: expected name=value, got 'nonsense'"),
        ("echo '1a=b' >> $TAKO_ENV", "$TAKO_ENV: expected name=value, got '1a=b'"),
        (
            "head -c 66000 /dev/zero | tr '\\0' x | sed 's/^/big=/' >> $TAKO_OUTPUT",
            "'big' is larger than 64 KiB",
        ),
        # Bytes count, not characters: each of these has three.
        (
            "printf big= >>$TAKO_OUTPUT; yes € | head -n 30000 | tr -d '\\n' >>$TAKO_OUTPUT",
            "'big' is larger than 64 KiB",
        ),
        ("printf '%0101d=x\\n' 0 | tr 0 n >>$TAKO_OUTPUT", "is longer than 100 characters"),
        ("printf '%0101d=x\\n' 0 | tr 0 n >>$TAKO_ENV", "is longer than 100 characters"),
        (
            "printf 'a=x\\000y\\n' >>$TAKO_OUTPUT",
            "'a' cannot be used: it holds the control character U+0000",
        ),
        (
            "printf 'A=\\033[1m\\n' >>$TAKO_ENV",
            "'A' cannot be used: it holds the control character U+001B",
        ),
        ("head -c 1100000 /dev/zero >> $TAKO_OUTPUT", "is larger than 1048576 bytes"),
        ("mkfifo $TAKO_OUTPUT", "is a FIFO"),
        ("mkdir $TAKO_OUTPUT", "is a directory"),
        ("ln -s /etc/passwd $TAKO_OUTPUT", "leads outside"),
        ("ln -s /dev/zero $TAKO_ENV", "leads outside"),
    ],
)
def test_what_is_wrong_with_the_lines_a_step_wrote_fails_it(tmp_path: Path, script: str, said: str) -> None:
    assert said in _refusal(tmp_path, script)


@pytest.mark.parametrize(
    ("script", "form", "said"),
    [
        ("true", "from_file:nothing", "output 'o': nothing is missing"),
        ("mkfifo f", "from_file:f", "f is a FIFO"),
        ("mkdir f", "from_file:f", "f is a directory"),
        ("ln -s /etc/passwd f", "from_file:f", "leads outside"),
        ("ln -s ../../journal.jsonl f", "from_file:f", "leads outside"),
        ("ln -s f f", "from_file:f", "link that may not be followed"),
        ("head -c 65537 /dev/zero > f", "from_file:f", "is larger than 65536 bytes"),
        ("head -c 65539 /dev/zero", "from_stdout", "stdout is larger than 64 KiB"),
        ("head -c 65537 /dev/zero | tr '\\0' x", "from_stdout", "output 'o' is larger than 64 KiB"),
        ("head -c 99999 /dev/zero >&2", "from_stderr", "stderr is larger than 64 KiB"),
        ("true", "from_env:NAME", "the step wrote no NAME to $TAKO_ENV"),
        ("echo no", "v=([0-9]+)", "nothing in stdout matches 'v=([0-9]+)'"),
        ("true", "{{ .inputs.nobody }}", "output 'o': "),
        (
            "printf 'x\\000y'",
            "from_stdout",
            "output 'o' cannot be used: it holds the control",
        ),
        ("printf 'x\\007y' >&2", "from_stderr", "the control character U+0007"),
        ("printf 'x\\177y' >f", "from_file:f", "the control character U+007F"),
        ("printf 'v=\\033[1m'", "v=(.*)", "the control character U+001B"),
        ("true", '{{ "\\x01" }}', "the control character U+0001"),
    ],
)
def test_an_output_that_cannot_be_taken_fails_the_step(
    tmp_path: Path, script: str, form: str, said: str
) -> None:
    assert said in _refusal(tmp_path, script, o=form)


def test_an_output_may_be_as_large_as_the_limit(tmp_path: Path) -> None:
    outputs = _outputs(tmp_path, "head -c 65536 /dev/zero | tr '\\0' x; echo", o="from_stdout")
    assert len(outputs["o"]) == 65536


def test_a_regular_expression_sees_the_end_of_a_long_output(tmp_path: Path) -> None:
    script = "echo v=1; head -c 3000000 /dev/zero | tr '\\0' '\\n'; echo v=2; echo end"
    assert _outputs(tmp_path, script, o="v=([0-9]+)") == {"o": "2"}


def test_the_outputs_of_a_run_have_a_limit_together(tmp_path: Path) -> None:
    script = "for i in $(seq 17); do printf 'v%d=' $i; head -c 65000 /dev/zero | tr '\\0' x; echo; done"
    steps = [Step(id=f"s{n}", run=f"({script}) | sed 's/^v/{name}/' | head -9 > $TAKO_OUTPUT")
             for n, name in enumerate(("a", "b"))]  # fmt: skip
    ran = run(run_spec(tmp_path, *steps))
    assert ran.state.finished is not None
    assert (ran.end.status, ran.state.finished.outputs) == ("failed", {})
    assert ran.end.message == "the run's outputs are larger than 1 MiB"


def test_a_name_that_tako_keeps_for_itself_is_not_exported(tmp_path: Path) -> None:
    assert "$TAKO_ENV: " in _refusal(tmp_path, "echo TAKO_RUN_ID=mine >> $TAKO_ENV")


def _with_secrets(tmp_path: Path, script: str, produces: Produces, **values: str) -> Ran:
    step = Step(id="step-1", run=script, secrets=tuple(values), produces=produces)
    return run(run_spec(tmp_path, step), secrets=secrets_of(values))


def test_no_output_of_any_form_holds_a_secret(tmp_path: Path) -> None:
    script = """
        printf 'own=%s\n' "$A" >> $TAKO_OUTPUT
        printf 'HALF=%s\nSET=%s\n' "${A%of-it}" "$B" >> $TAKO_ENV
        printf '%s' "$B" | base64 -w 0 > file
        echo "of-it"
    """
    outputs = _produces(
        file="from_file:file", set="from_env:SET", both="{{ .outputs.half }}of-it", half="from_env:HALF"
    )
    # Declared in this order, `both` puts together what was no secret before.
    ordered = {name: outputs.outputs[name] for name in ("file", "set", "half", "both")}
    ran = _with_secrets(tmp_path, script, Produces(outputs=ordered), A="value-of-it", B="line one\nline two")
    assert ran.outputs() == {"own": "***", "file": "***", "set": "***", "half": "value-", "both": "***"}
    assert ran.step().environment == {"HALF": "value-", "SET": "***"}


def test_a_line_that_cannot_be_read_is_told_without_the_secret_in_it(tmp_path: Path) -> None:
    finished = _with_secrets(tmp_path, 'echo "$A" >> $TAKO_OUTPUT', Produces(), A="value-of-it").step()
    assert (finished.status, finished.message) == ("failed", "$TAKO_OUTPUT: expected name=value, got '***'")
