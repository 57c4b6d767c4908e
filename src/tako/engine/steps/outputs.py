"""The outputs of a step, read only after its processes are gone.

In: the step, what its streams said, its workspace. Out: plain JSON outputs.
Everything is opened beneath the workspace, without following links out, regular files only, and
with a cap (64 KiB an output, 1 MiB a run's). Secrets in outputs are replaced. Fails with `StepRefusedError`,
which fails the step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tako.config.grammar import env_name_problem
from tako.config.reading.texts import text_problem
from tako.config.schema import Step
from tako.engine.run.spec import RunSpec
from tako.errors import TakoError, UsageError
from tako.expressions.text import render
from tako.journal.redaction.scrubber import NOTHING, Scrubber
from tako.system.storage.beneath import BeneathError, read_beneath
from tako.values import value

if TYPE_CHECKING:
    from tako.expressions.outputs import OutputSource

OUTPUT_MAX = 64 * 1024
#: Characters of a name that a step writes to $TAKO_OUTPUT or $TAKO_ENV.
NAME_MAX = 100
RUN_OUTPUTS_MAX = 1024 * 1024
#: How much of stdout a regular expression sees: the end of it.
REGEX_WINDOW = 1024 * 1024
_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)=(.*)", re.DOTALL)


class StepRefusedError(TakoError):
    """A step whose command may have succeeded, but whose outputs or artifacts cannot be taken."""


@value
class Streams:
    """What was kept of a step's streams; None where more came than an output may hold."""

    stdout: bytes | None = b""
    stderr: bytes | None = b""
    stdout_end: bytes = b""


def output_kinds(step: Step) -> set[str]:
    """Where the step's declared outputs come from, so that only those streams are kept."""
    if not step.produces.outputs:
        return set()
    from tako.expressions.outputs import parse_output

    return {parse_output(text).kind for text in step.produces.outputs.values()}


def collect_outputs(
    spec: RunSpec,
    step: Step,
    streams: Streams,
    scope: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    scrubber: Scrubber = NOTHING,
) -> dict[str, Any]:
    """The step's outputs: its `name=value` lines, then what `produces.outputs` declares.

    What is in `streams` and `environment` has no secrets any more.
    """
    file = spec.paths.step_outputs(step.id)
    outputs: dict[str, Any] = dict(read_lines(spec, file, "$TAKO_OUTPUT", scrubber))
    for name, text in step.produces.outputs.items():
        from tako.expressions.outputs import parse_output

        try:
            source = parse_output(text)
            found = _value(
                source, spec, streams, environment, {**scope, "outputs": outputs}, scrubber=scrubber
            )
            # A template may have put together what it took from several places.
            value = scrubber.scrub_text(found)
        except (BeneathError, UsageError, StepRefusedError) as error:
            message = f"output {name!r}: {error}"
            raise StepRefusedError(message) from error
        outputs[name] = _checked(f"output {name!r}", value)
    return outputs


def _value(
    source: OutputSource,
    spec: RunSpec,
    streams: Streams,
    environment: Mapping[str, str],
    scope: Mapping[str, Any],
    *,
    scrubber: Scrubber,
) -> str:
    match source.kind:
        case "stdout":
            return _text(streams.stdout, "stdout")
        case "stderr":
            return _text(streams.stderr, "stderr")
        case "file":
            data = read_beneath(root_of(spec), source.argument, OUTPUT_MAX)
            return _text(scrubber.scrub(data), source.argument)
        case "env":
            if source.argument not in environment:
                message = f"the step wrote no {source.argument} to $TAKO_ENV"
                raise StepRefusedError(message)
            return environment[source.argument]
        case "regex":
            from tako.expressions.outputs import match_regex

            found = match_regex(source.argument, streams.stdout_end.decode("utf-8", "replace"))
            if found is None:
                message = f"nothing in stdout matches {source.argument!r}"
                raise StepRefusedError(message)
            return found
        case _:
            return render(source.argument, scope)


def _text(data: bytes | None, what: str) -> str:
    if data is None:
        message = f"{what} is larger than 64 KiB"
        raise StepRefusedError(message)
    return data.decode("utf-8", "replace").rstrip("\r\n")


def root_of(spec: RunSpec) -> Path:
    """The directory that the run's paths are relative to: its copy, or the user's checkout."""
    return spec.source if spec.in_place else spec.paths.repo


def read_lines(spec: RunSpec, file: Path, what: str, scrubber: Scrubber = NOTHING) -> dict[str, str]:
    """Read the `name=value` lines a step wrote, without secrets; a missing file is no lines.

    Raises `StepRefusedError` for a line of another form, or anything but a regular file of at most 64 KiB
    for each output.
    """
    relative = str(file.relative_to(spec.paths.work))
    try:
        data = read_beneath(spec.paths.work, relative, RUN_OUTPUTS_MAX)
    except BeneathError as error:
        if error.missing:
            return {}
        message = f"{what}: {error}"
        raise StepRefusedError(message) from error
    found = {}
    # Not splitlines, which also takes form feeds and Unicode's own separators for the end of a line.
    for line in scrubber.scrub(data).decode("utf-8", "replace").split("\n"):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.removesuffix("\r"))
        if not match:
            message = f"{what}: expected name=value, got {line[:80]!r}"
            raise StepRefusedError(message)
        if len(match[1]) > NAME_MAX:
            message = f"{what}: the name {match[1][:20]}... is longer than {NAME_MAX} characters"
            raise StepRefusedError(message)
        found[match[1]] = _checked(f"{what}: {match[1]!r}", match[2])
    return found


def _checked(what: str, value: str) -> str:
    """Give a value back that conditions, templates and processes can be given whole."""
    if len(value.encode()) > OUTPUT_MAX:
        message = f"{what} is larger than 64 KiB"
        raise StepRefusedError(message)
    problem = text_problem(value)
    if problem:
        message = f"{what} cannot be used: {problem}; leave it out, colours too"
        raise StepRefusedError(message)
    return value


def read_environment(spec: RunSpec, step: Step, scrubber: Scrubber = NOTHING) -> dict[str, str]:
    """Read what a step wrote to `$TAKO_ENV`; raises `StepRefusedError` also for a name that tako keeps."""
    wrote = read_lines(spec, spec.paths.step_environment(step.id), "$TAKO_ENV", scrubber)
    problem = next(filter(None, map(env_name_problem, wrote)), "")
    if problem:
        message = f"$TAKO_ENV: {problem}"
        raise StepRefusedError(message)
    return wrote
