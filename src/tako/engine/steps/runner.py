"""Runs the steps of one segment of one run, in the worker process.

    journal ──fold──▶ where the run stands ──▶ the next steps ──▶ its end or its next fan-out

In: a `Segment`. Out: a `SegmentEnd`, and the journal that says the same in full. Going on after
children and going on after a crash are the same code: what the journal says is finished is not
repeated. A full disk ends the run by the ladder and is written with the reserved room; one that fails
ends it too, and what cannot be written the root's exit code tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tako.config.schema import Step
from tako.engine.run import retries
from tako.engine.run.environment import base_environment, idempotency_key
from tako.engine.run.scope import run_scope
from tako.engine.run.spec import FAN_OUT, FINISHED, RESTARTED, RunSpec, Segment, SegmentEnd
from tako.engine.steps import workspace
from tako.engine.steps.orders import MAKE_ROOM, Orders
from tako.engine.steps.outputs import RUN_OUTPUTS_MAX
from tako.engine.steps.sandbox import StepSandbox
from tako.engine.steps.shell import ShellStep, room_message
from tako.errors import DiskFullError, MachineError, TakoError, UsageError, WriteFailedError
from tako.journal.fold import apply
from tako.journal.log import Writer
from tako.journal.records import (
    ArtifactCollected,
    Noted,
    Record,
    RunFinished,
    RunRestarted,
    RunStarted,
    SandboxEntered,
    SegmentStarted,
    StepFinished,
    StepStarted,
    WorkspaceRebuilt,
)
from tako.journal.redaction.scrubber import Scrubber
from tako.journal.run_state import RunState
from tako.journal.statuses import CANCELLED, FAILED, RUNNING, SKIPPED, SUCCEEDED, TIMED_OUT, FailureKind
from tako.journal.stored import Values
from tako.sandbox.started import SandboxFailedError
from tako.system import clock
from tako.system.accounting.usage import free_on_disk
from tako.system.process.identity import own_identity
from tako.system.storage.writing import size_of
from tako.system.walls.veils import Hung
from tako.values import evolve
from tako.version import VERSION


class Runner:
    """One segment, from taking the journal's lock to giving it back."""

    def __init__(
        self,
        segment: Segment,
        orders: Orders,
        *,
        clock: Callable[[], float] = clock.now,
        on_step: Callable[[str], None] = lambda _step: None,
        problem: str = "",
        veiled: Hung | None = None,
    ) -> None:
        """`problem` is why the worker cannot keep what the segment promises: its run fails with it.

        `veiled` says where the worker has overlays of directories of the machine.
        """
        self._segment = segment
        self._spec: RunSpec = segment.run
        self._orders = orders
        self._clock = clock
        self._on_step = on_step
        self._problem = problem
        self._veiled = veiled or Hung()
        self._scrubber = Scrubber(segment.secrets.hidden)
        self._state = RunState()
        self._values = Values(segment.run.paths)

    def run(self) -> SegmentEnd:
        """Execute; a `TakoError` meanwhile is recorded as the run's failure.

        Raises `HeldError` if another process holds the run's journal, `MachineError` if the journal cannot
        be used at all, and what is no `TakoError`: a bug, or a refusal of the machine that nothing expected.
        """
        with Writer(self._spec.paths.journal) as journal:
            self._journal = journal
            for record in journal.records:
                apply(self._state, record)
            journal.records = []
            try:
                return self._execute()
            except WriteFailedError as error:
                full = isinstance(error, DiskFullError)
                # A child that finds no room has failed, and the others go on.
                fault = not full or not self._spec.parent_run_id
                return self._give_up(
                    error.message,
                    FailureKind.LIMIT_EXCEEDED if full else FailureKind.SANDBOX_FAILED,
                    fault=fault,
                )
            except TakoError as error:
                kind = (
                    FailureKind.SANDBOX_FAILED
                    if isinstance(error, MachineError)
                    else FailureKind.CONFIG_INVALID
                )
                return self._give_up(error.message, kind, fault=False)

    def _execute(self) -> SegmentEnd:
        self._record(self._opening())
        if self._problem:
            raise SandboxFailedError(self._problem, hint="`tako doctor` shows what works here")
        workspace.prepare(self._spec, self._state)
        if self._state.rebuilds:
            self._record(WorkspaceRebuilt(self._clock()))
        self._sandbox = StepSandbox(self._segment, self._veiled)
        self._record(SandboxEntered(self._clock(), self._spec.isolation.level, self._sandbox.enforced()))
        self._base = base_environment(self._spec, self._sandbox.seen, self._sandbox.temporary)
        for step in self._spec.workflow.steps:
            if self._orders.stop:
                return self._finish(self._orders.stop)
            if not self._state.step(step.id).allows_next_step:
                reached = self._step(step)
                if reached is not None:
                    return reached
        return self._finish(SUCCEEDED)

    def _opening(self) -> Record:
        spec, segment = self._spec, self._segment
        if self._state.started is not None:
            return SegmentStarted(
                self._clock(), segment.number, segment.attempt, own_identity(), segment.temporary
            )
        return RunStarted(
            at=self._clock(),
            run_id=spec.run_id,
            root_run_id=spec.root_run_id,
            repository=spec.repository,
            branch=spec.branch,
            commit=spec.commit,
            workflow=spec.workflow.name,
            inputs=spec.inputs,
            source=str(spec.source),
            config_digest=spec.config_digest,
            isolation=spec.isolation.level,
            identity=own_identity(),
            temporary=segment.temporary,
            version=VERSION,
            parent_run_id=spec.parent_run_id,
            parent_step=spec.parent_step,
            event=spec.event,
            ancestors=spec.ancestors,
            tracked_changes=spec.tracked_changes,
            steps=tuple(step.id for step in spec.workflow.steps),
            in_place=spec.in_place,
            keep=spec.keep,
            isolation_asked=spec.isolation_asked,
            strict=spec.strict,
        )

    def _step(self, step: Step) -> SegmentEnd | None:
        """Take one step; gives an end where the segment stops at it."""
        if not self._has_failed_before(step):
            if not self._wanted(step):
                return self._after_failure(step) if self._failed(step) else None
            if step.uses:
                return self._fan_out(step)
            self._shell(step)
        while self._is_tried_again(step):
            if retries.starts_over(step, self._spec):
                return self._restart(step)
            self._shell(step)
        return self._after_failure(step) if self._failed(step) else None

    def _failed(self, step: Step) -> bool:
        return not self._state.step(step.id).allows_next_step

    def _is_tried_again(self, step: Step) -> bool:
        """Whether a failed step has an attempt left; returns when it is time for it."""
        wait_s = retries.wait_s(step, self._state.step(step.id))
        if wait_s is None or self._orders.stop:
            return False
        refusal = retries.refusal(step, self._spec, self._state)
        if refusal:
            self._record(Noted(self._clock(), refusal, step.id))
            return False
        self._record(
            Noted(self._clock(), retries.announcement(step, self._state.step(step.id), wait_s), step.id)
        )
        self._orders.wait(wait_s)
        return not self._orders.stop

    def _restart(self, step: Step) -> SegmentEnd:
        """Have the whole run begin again: its next segment makes the workspace anew."""
        finished = self._state.step(step.id).finished
        assert finished is not None
        self._record(RunRestarted(self._clock(), step.id, finished.message))
        self._journal.sync()
        return SegmentEnd(RESTARTED, step=step.id)

    def _wanted(self, step: Step) -> bool:
        """Decide the step's `if:`; a step that is left out, or whose condition fails, is recorded so."""
        if not step.condition:
            return True
        from tako.expressions.cel import compile_condition

        scope = run_scope(self._spec, self._state, self._values)
        try:
            # Without an event `has(event.type)` is false, so that one workflow can serve both causes.
            if compile_condition(step.condition, tuple({*scope, "event"})).evaluate(scope):
                return True
        except UsageError as error:
            message, tolerated = f"if: {error}", step.continue_on_error
            self._record(
                StepFinished(self._clock(), step.id, 1, FAILED, message=message, tolerated=tolerated)
            )
            return False
        self._record(StepFinished(self._clock(), step.id, 1, SKIPPED, message=f"if: {step.condition}"))
        return False

    def _shell(self, step: Step) -> None:
        """Run one attempt of a step, unless the last one was cut off and it may not run twice."""
        attempt = self._state.step(step.id).attempts + 1
        if retries.may_not_run_twice(step, self._state.step(step.id)):
            refused = StepFinished(self._clock(), step.id, attempt - 1, FAILED, message=retries.CUT_OFF)
            self._record(refused)
            return
        key = idempotency_key(self._spec.run_id, step.id)
        offset = size_of(self._spec.paths.log(step.id))
        self._record(StepStarted(self._clock(), step.id, attempt, key, offset))
        shell = ShellStep(
            self._segment,
            self._sandbox,
            self._orders,
            on_started=self._on_step,
            clock=self._clock,
            scrubber=self._scrubber,
        )
        scope = run_scope(self._spec, self._state, self._values)
        result = shell.run(step, attempt, scope, {**self._base, **scope["env"]})
        for artifact, made in result.artifacts.items():
            kept = made.files, made.links, made.empty_directories, made.left_out
            self._record(ArtifactCollected(self._clock(), step.id, artifact, *kept))
        finished = result.finished
        left = retries.has_attempts_left(step, self._state.step(step.id), finished)
        if finished.tolerated and left and not retries.refusal(step, self._spec, self._state):
            # Only the last failure is tolerated: a worker that dies before the next attempt must not go on.
            finished = evolve(finished, tolerated=False)
        self._record(finished)
        if step.id != self._spec.workflow.steps[-1].id:
            # The run's own end is synced right after its last step.
            self._journal.sync()

    def _fan_out(self, step: Step) -> SegmentEnd | None:
        from tako.engine.steps.fan_out import build_event

        try:
            scope = run_scope(self._spec, self._state, self._values)
            emitted = build_event(self._spec, step, self._state, scope, clock=self._clock)
        except (UsageError, ValueError) as error:
            self._record(
                StepFinished(
                    self._clock(), step.id, 1, FAILED, message=str(error), tolerated=step.continue_on_error
                )
            )
            return None if step.continue_on_error else self._after_failure(step)
        self._record(emitted)
        self._journal.sync()
        return SegmentEnd(FAN_OUT, step=step.id)

    def _after_failure(self, step: Step) -> SegmentEnd:
        """Run the failed step's `on_failure` steps, then end the run as that step ended."""
        finished = self._state.step(step.id).finished
        assert finished is not None
        if not self._orders.stop:
            for cleanup in step.on_failure:
                self._clean_up(cleanup)
        message = f"step {step.id}: {finished.message}"
        return self._finish(self._orders.stop or finished.status, message=message)

    def _clean_up(self, cleanup: Step) -> None:
        if not self._has_failed_before(cleanup):
            if self._state.step(cleanup.id).allows_next_step or not self._wanted(cleanup):
                return
            self._shell(cleanup)
        while self._is_tried_again(cleanup):
            self._shell(cleanup)

    def _has_failed_before(self, step: Step) -> bool:
        """Whether an earlier worker has recorded a failure of it, after which only a retry may run it."""
        finished = self._state.step(step.id).finished
        return finished is not None and finished.status in (FAILED, TIMED_OUT, CANCELLED)

    def _give_up(self, message: str, kind: str, *, fault: bool) -> SegmentEnd:
        if self._state.finished is not None:
            # Its end stands there, and only its syncing failed.
            told = self._scrubber.scrub_text(message)
            return SegmentEnd(FINISHED, self._state.finished.status, machine_fault=fault, message=told)
        for step in list(self._state.steps.values()):
            if step.status == RUNNING:
                ended = StepFinished(self._clock(), step.id, step.attempts, FAILED, message=message)
                self._record(ended, final=True)
        return self._finish(FAILED, message=message, kind=kind, fault=fault)

    def _finish(self, status: str, *, message: str = "", kind: str = "", fault: bool = False) -> SegmentEnd:
        if status == MAKE_ROOM:
            status, kind = FAILED, FailureKind.LIMIT_EXCEEDED
            message = message or room_message(self._spec.limits.min_free, 0)
        makes_room = status != SUCCEEDED and self._must_make_room()
        if makes_room:
            said = (
                "its workspace is removed, and if need be its artifacts and the ends of its logs, because the"
                " disk has less free than min_free"
            )
            self._record(Noted(self._clock(), said), final=True)
        outputs = self._run_outputs() if status == SUCCEEDED else {}
        now = self._clock()
        if status == SUCCEEDED and sum(len(str(value)) for value in outputs.values()) > RUN_OUTPUTS_MAX:
            status, kind, outputs = FAILED, FailureKind.LIMIT_EXCEEDED, {}
            message = "the run's outputs are larger than 1 MiB"
        ended = RunFinished(now, status, self._state.duration_s(now), message, kind, outputs)
        self._record(ended, final=True)
        self._journal.sync()
        told = self._scrubber.scrub_text(message)
        return SegmentEnd(FINISHED, status, machine_fault=fault, message=told, makes_room=makes_room)

    def _must_make_room(self) -> bool:
        least = self._spec.limits.min_free
        if not least or self._spec.in_place or self._spec.keep:
            return False
        return self._orders.stop == MAKE_ROOM or free_on_disk(self._spec.directory) < least

    def _run_outputs(self) -> dict[str, Any]:
        outputs: dict[str, Any] = {}
        for step in self._spec.workflow.steps:
            if step.id not in self._state.fan_outs:
                outputs.update(self._state.outputs_of(step.id))
        return outputs

    def _record(self, record: Record, *, final: bool = False) -> None:
        record = self._values.keep_event(self._scrubber.scrub_record(record))
        self._journal.append(record, final=final)
        apply(self._state, record)
