"""A `run:` step: a script that `sh -e` reads from a file.

In: the step, its templates' scope, its environment. Out: a `StepFinished` record, with the outputs
read and the artifacts collected after its processes were gone. A step that cannot be started or
whose outputs cannot be taken is a failed step; only a full disk leaves as an exception.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tako import exit_codes
from tako.config.schema import Step
from tako.engine.run.environment import step_variables, with_own_agent
from tako.engine.run.spec import Segment
from tako.engine.scheduler.limits import step_limits
from tako.engine.steps.artifacts import (
    ArtifactsTooLargeError,
    Collected,
    CollectionStoppedError,
    Collector,
    lines_of,
    stopping,
)
from tako.engine.steps.orders import MAKE_ROOM, Orders
from tako.engine.steps.outputs import (
    StepRefusedError,
    Streams,
    collect_outputs,
    output_kinds,
    read_environment,
)
from tako.engine.steps.process_tree import Ended, ProcessTree
from tako.engine.steps.sandbox import StepSandbox
from tako.engine.steps.stream import Log, OutputTooLargeError, Stream
from tako.errors import UsageError
from tako.expressions.text import render, rendered_all
from tako.journal.records import StepFinished
from tako.journal.redaction.scrubber import NOTHING, Scrubber
from tako.journal.statuses import CANCELLED, FAILED, SUCCEEDED, TIMED_OUT, is_failure
from tako.layout.names import hidden_script
from tako.sandbox.policy import Limits
from tako.sandbox.started import SandboxFailedError, Started
from tako.sandbox.watchdog import Watchdog
from tako.system import clock
from tako.system.accounting.usage import disk_use, free_on_disk
from tako.system.process.signals import name_of
from tako.system.storage.writing import disk_full, is_full, write_whole
from tako.units import format_bytes, format_duration
from tako.values import evolve, value

_LIMIT_SIGNALS = {"SIGXCPU": "CPU time", "SIGXFSZ": "file size"}
#: How values of limits are told that are not bytes.
_AMOUNTS: Mapping[str, Callable[[int], str]] = {"processes": str, "CPU time": format_duration}


@value
class ShellResult:
    """The step's record and the artifacts it produced."""

    finished: StepFinished
    artifacts: Mapping[str, Collected]


class ShellStep:
    """Runs one `run:` step of one segment."""

    def __init__(
        self,
        segment: Segment,
        sandbox: StepSandbox,
        orders: Orders,
        *,
        on_started: Callable[[str], None] = lambda _step: None,
        clock: Callable[[], float] = clock.now,
        scrubber: Scrubber = NOTHING,
    ) -> None:
        self._segment = segment
        self._scrubber = scrubber
        self._spec = segment.run
        self._sandbox = sandbox
        self._orders = orders
        self._on_started = on_started
        self._clock = clock

    def run(
        self, step: Step, attempt: int, scope: Mapping[str, Any], environment: Mapping[str, str]
    ) -> ShellResult:
        """Run the step once and say how it ended.

        Raises `DiskFullError` after the step's processes are gone.
        """
        started = time.monotonic()
        blank = StepFinished(at=0.0, step=step.id, attempt=attempt, status=FAILED)
        try:
            finished, artifacts = self._run(step, blank, scope, environment)
        except OutputTooLargeError as error:
            finished = evolve(blank, message=str(error), limit=error.limit, limit_value=error.most)
            artifacts = {}
        except (UsageError, StepRefusedError) as error:
            finished, artifacts = evolve(blank, message=str(error)), {}
        tolerated = step.continue_on_error and is_failure(finished.status)
        duration = round(time.monotonic() - started, 3)
        return ShellResult(
            evolve(finished, at=self._clock(), duration_s=duration, tolerated=tolerated), artifacts
        )

    def _run(
        self, step: Step, blank: StepFinished, scope: Mapping[str, Any], environment: Mapping[str, str]
    ) -> tuple[StepFinished, Mapping[str, Collected]]:
        own = rendered_all(step.env, scope)
        script = self._write_script(step, render(step.run, scope))
        limits = step_limits(self._spec.limits, self._spec.quota, self._spec.workflow, step)
        least = limits.min_free if self._spec.parent_run_id else None
        log = Log(self._spec.paths.log(step.id), most=limits.file_size, min_free=least)
        try:
            words = step_variables(self._spec, self._sandbox.seen, step.id)
            variables = self._with_secrets(step, {**environment, **own})
            started = self._sandbox.start(step, {**variables, **words}, limits, script)
            out, err = self._streams(step, started.process, log)
            self._on_started(step.id)
            tree = ProcessTree(
                started,
                (out, err),
                log,
                self._orders,
                timeout_s=step.timeout_s,
                grace_s=self._segment.grace_s,
                watchdog=Watchdog(limits, self._sandbox.watched()),
            )
            ended = tree.run()
            _check(started, ended, log)
        finally:
            self._sandbox.ended()
            log.close()
        if log.failure:
            raise log.failure
        finished = evolve(
            _verdict(blank, ended, step, limits), usage=ended.usage, last_lines=log.last_lines()
        )
        if finished.status != SUCCEEDED:
            return finished, {}
        return self._collect(step, finished, Streams(out.kept, err.kept, out.end), scope, limits)

    def _with_secrets(self, step: Step, variables: Mapping[str, str]) -> dict[str, str]:
        return with_own_agent(self._spec, variables) | self._segment.secrets.of(self._spec.workflow, step)

    def _write_script(self, step: Step, text: str) -> Path | None:
        """Keep the script beside the log; where it holds a secret, give the place that it is run from."""
        path = self._spec.paths.script(step.id)
        data = text.encode("utf-8", "surrogateescape")
        kept = self._scrubber.scrub(data)
        hidden = None if kept == data else hidden_script(self._segment.temporary, step.id)
        try:
            for stale in (self._spec.paths.step_outputs(step.id), self._spec.paths.step_environment(step.id)):
                stale.unlink(missing_ok=True)
            write_whole(path, kept)
            if hidden is not None:
                write_whole(hidden, data)
        except OSError as error:
            message = f"the step cannot be prepared: {error}"
            raise StepRefusedError(message) from error
        return hidden

    def _streams(self, step: Step, process: subprocess.Popen[bytes], log: Log) -> tuple[Stream, Stream]:
        kinds = output_kinds(step)
        assert process.stdout is not None
        assert process.stderr is not None
        # Own copies: the Popen object closes its files whenever it is collected.
        out = Stream(
            os.dup(process.stdout.fileno()),
            log,
            keep="stdout" in kinds,
            keep_end="regex" in kinds,
            scrubber=self._scrubber,
        )
        err = Stream(os.dup(process.stderr.fileno()), log, keep="stderr" in kinds, scrubber=self._scrubber)
        process.stdout.close()
        process.stderr.close()
        return out, err

    def _collect(
        self, step: Step, finished: StepFinished, streams: Streams, scope: Mapping[str, Any], limits: Limits
    ) -> tuple[StepFinished, Mapping[str, Collected]]:
        spec = self._spec
        try:
            wrote = read_environment(spec, step, self._scrubber)
            outputs = collect_outputs(spec, step, streams, scope, wrote, scrubber=self._scrubber)
            artifacts = self._artifacts(step, limits)
            return evolve(finished, outputs=outputs, environment=wrote, last_lines=()), artifacts
        except ArtifactsTooLargeError as error:
            refused = evolve(finished, status=FAILED, message=str(error))
            return evolve(refused, limit="disk", limit_value=limits.disk), {}
        except CollectionStoppedError as error:
            if error.status == MAKE_ROOM:
                return _over_reserve(finished, limits, finished.usage.disk), {}
            return evolve(finished, status=error.status, message=str(error)), {}
        except StepRefusedError as error:
            return evolve(finished, status=FAILED, message=str(error)), {}
        except OSError as error:
            if is_full(error):
                raise disk_full(error, spec.paths.artifacts) from error
            return evolve(finished, status=FAILED, message=f"its artifacts cannot be kept: {error}"), {}

    def _artifacts(self, step: Step, limits: Limits) -> Mapping[str, Collected]:
        if not step.produces.artifacts:
            return {}
        directories = self._sandbox.watched().directories
        room = None if limits.disk is None or not directories else max(0, limits.disk - disk_use(directories))
        if limits.min_free:
            above = max(0, free_on_disk(self._spec.directory) - limits.min_free)
            room = above if room is None else min(room, above)
        collector = Collector(
            self._spec, step, scrubber=self._scrubber, room=room, check=stopping(self._orders)
        )
        artifacts = collector.collect()
        if lines := lines_of(artifacts):
            log = Log(self._spec.paths.log(step.id))
            log.write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
            log.close()
        return artifacts


def _check(started: Started, ended: Ended, log: Log) -> None:
    """Raise `SandboxFailedError` if the step never ran, unless its sandbox was ended for another reason."""
    try:
        started.check("\n".join(log.last_lines()))
    except SandboxFailedError:
        if ended.breach is None and not ended.stopped:
            raise


def _verdict(blank: StepFinished, ended: Ended, step: Step, limits: Limits) -> StepFinished:
    """How the step ended, in words."""
    if ended.stopped == TIMED_OUT:
        own = f"its timeout of {format_duration(step.timeout_s or 0.0)}"
        limit = "a timeout of its workflow or fan-out" if ended.ordered else own
        return evolve(blank, status=TIMED_OUT, message=f"ended by {limit}", **_code(ended.code))
    if ended.stopped == MAKE_ROOM:
        return _over_reserve(blank, limits, ended.usage.disk)
    if ended.stopped == CANCELLED:
        return evolve(
            blank, status=CANCELLED, message="ended because the run was stopped", **_code(ended.code)
        )
    number = -ended.code if ended.code < 0 else ended.code - exit_codes.SIGNAL_BASE
    limit = _LIMIT_SIGNALS.get(name_of(number), "") if number > 0 else ""
    if ended.breach is not None and ended.breach.limit != limit:
        return _over_limit(blank, ended.breach.limit, ended.breach.value, ended.breach.seen)
    if ended.left:
        message = f"processes that cannot be killed are left: {', '.join(map(str, ended.left))}"
        return evolve(blank, message=message, **_code(ended.code))
    if limit:
        value = {"CPU time": limits.cpu_s, "file size": limits.file_size}[limit]
        return _over_limit(evolve(blank, **_code(ended.code)), limit, value)
    if ended.code == 0:
        return evolve(blank, status=SUCCEEDED, exit_code=0)
    said = f"killed by {name_of(-ended.code)}" if ended.code < 0 else f"exit code {ended.code}"
    if ended.code > exit_codes.SIGNAL_BASE and name_of(number).startswith("SIG"):
        # Of a shell's own last command, or of the step itself, whose signal a sandbox tells in this way.
        said = f"{said} ({name_of(number)})"
    if number == signal.SIGKILL and ended.oom_kill:
        said = f"{said}, probably by the kernel for lack of memory"
    return evolve(blank, message=said, **_code(ended.code))


def _over_reserve(step: StepFinished, limits: Limits, held: int) -> StepFinished:
    failed = evolve(step, status=FAILED, limit=MAKE_ROOM, limit_value=limits.min_free)
    return evolve(failed, message=room_message(limits.min_free, held))


def room_message(least: int | None, held: int) -> str:
    """What is said of a run that had to make room."""
    used = f" (it used {format_bytes(held)})" if held else ""
    return (
        f"stopped because the disk had less free than min_free, {format_bytes(least or 0)}, and this run used"
        f" most of it{used}"
    )


def _over_limit(blank: StepFinished, limit: str, value: int | None, seen: int = 0) -> StepFinished:
    return evolve(blank, limit=limit, limit_value=value, message=over_limit_message(limit, value, seen))


def over_limit_message(limit: str, value: int | None, seen: int = 0) -> str:
    """What is said of a limit that was passed; one of the user's own shell has no value here."""
    told = _AMOUNTS.get(limit, format_bytes)
    message = f"over its limit of {limit}" + (f", {told(value)}" if value is not None else "")
    # The kernel lets nothing over its own bounds.
    return message + (f" (used {told(seen)})" if value is not None and seen > value else "")


def _code(code: int) -> dict[str, Any]:
    return {"signal": name_of(-code)} if code < 0 else {"exit_code": code}
