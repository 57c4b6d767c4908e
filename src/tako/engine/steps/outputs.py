"""What a step gives: outputs and artifacts, read only after its processes are gone.

In: the step, what its streams said, its workspace. Out: plain JSON outputs and collected files.
Everything is opened beneath the workspace, without following links out, regular files only, and
with a cap (64 KiB an output, 1 MiB a run's). Secrets in outputs are replaced; artifacts, which may be
binary, are refused if they hold one. Fails with `StepRefusedError`, which fails the step.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tako.config.grammar import env_name_problem
from tako.config.schema import Step
from tako.engine.run.spec import RunSpec
from tako.errors import TakoError, UsageError
from tako.expressions.text import render
from tako.journal.records import CollectedFile
from tako.journal.redaction import NOTHING, Scrubber
from tako.layout import checked_name
from tako.system.beneath import BeneathError, copy_beneath, glob_beneath, open_beneath, read_beneath
from tako.system.files import sync_directory
from tako.values import value

if TYPE_CHECKING:
    from tako.expressions.outputs import OutputSource

OUTPUT_MAX = 64 * 1024
RUN_OUTPUTS_MAX = 1024 * 1024
#: How much of stdout a regular expression sees: the end of it.
REGEX_WINDOW = 1024 * 1024
_CHUNK = 1 << 20
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
        if len(value.encode()) > OUTPUT_MAX:
            message = f"output {name!r} is larger than 64 KiB"
            raise StepRefusedError(message)
        outputs[name] = value
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
        if len(match[2]) > OUTPUT_MAX:
            message = f"{what}: {match[1]!r} is larger than 64 KiB"
            raise StepRefusedError(message)
        found[match[1]] = match[2]
    return found


def read_environment(spec: RunSpec, step: Step, scrubber: Scrubber = NOTHING) -> dict[str, str]:
    """Read what a step wrote to `$TAKO_ENV`; raises `StepRefusedError` also for a name that tako keeps."""
    wrote = read_lines(spec, spec.paths.step_environment(step.id), "$TAKO_ENV", scrubber)
    problem = next(filter(None, map(env_name_problem, wrote)), "")
    if problem:
        message = f"$TAKO_ENV: {problem}"
        raise StepRefusedError(message)
    return wrote


def collect_artifacts(
    spec: RunSpec, step: Step, scrubber: Scrubber = NOTHING
) -> dict[str, tuple[CollectedFile, ...]]:
    """Copy the files that `produces.artifacts` names into the run's `artifacts/<artifact>/`."""
    collected = {}
    for artifact, globs in step.produces.artifacts.items():
        target = spec.paths.artifacts / checked_name(artifact, "artifact")
        paths = sorted({path for pattern in globs for path in _matches(spec, artifact, pattern)})
        for path in paths if scrubber else ():
            _refuse_secret(root_of(spec), path, scrubber)
        collected[artifact] = tuple(_collect(root_of(spec), path, target) for path in paths)
        _sync_names(spec.paths.artifacts, [target / path for path in paths])
    return collected


def _sync_names(top: Path, files: list[Path]) -> None:
    """Have the names of these files on the disk: what is recorded next will say that they are there."""
    directories = {parent for file in files for parent in file.parents if parent.is_relative_to(top)}
    for directory in (*directories, top.parent):
        sync_directory(directory)


def _matches(spec: RunSpec, artifact: str, pattern: str) -> list[str]:
    try:
        found = glob_beneath(root_of(spec), pattern)
    except BeneathError as error:
        message = f"artifact {artifact!r}: {error}"
        raise StepRefusedError(message) from error
    if not found:
        message = f"artifact {artifact!r}: no regular file matches {pattern!r}"
        raise StepRefusedError(message)
    return found


def _refuse_secret(root: Path, path: str, scrubber: Scrubber) -> None:
    """Raise `StepRefusedError` if a file, which nobody writes to any more, holds a secret."""
    shown = scrubber.scrub_text(path)
    try:
        if shown == path and not scrubber.carried_by(_pieces(root, path)):
            return
    except BeneathError as error:
        message = f"artifact file {shown!r}: {error}"
        raise StepRefusedError(message) from error
    where = "holds" if shown == path else "has in its name"
    message = (
        f"artifact file {shown!r} {where} the value of a secret of this run;"
        " artifacts are kept and handed on: leave it out of the file"
    )
    raise StepRefusedError(message)


def _pieces(root: Path, path: str) -> Iterator[bytes]:
    with os.fdopen(open_beneath(root, path), "rb", buffering=0) as file:
        while piece := file.read(_CHUNK):
            yield piece


def _collect(root: Path, path: str, target: Path) -> CollectedFile:
    place = target / path
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # An attempt that died while it collected, or an earlier step with the same artifact, may have left one.
    place.unlink(missing_ok=True)
    try:
        sha256, size = copy_beneath(root, path, place)
    except BeneathError as error:
        message = f"artifact file {path!r}: {error}"
        raise StepRefusedError(message) from error
    return CollectedFile(path, sha256, size)
