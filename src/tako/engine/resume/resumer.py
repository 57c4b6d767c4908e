"""Takes up runs that were cut off or did not succeed: decides, records it, says where each stands.

In: a run's spec, made as for a new run, whose journal the reaper has left complete. Out: the `NewRun` the
scheduler begins with. Fails as the journal does (damaged, held, disk full), or because the run would have to
repeat what must not be repeated: that is that run's failure.
"""

from __future__ import annotations

from collections.abc import Callable

from tako.engine.resume.decision import decide_resume, fresh_run, resumed, standing_run
from tako.engine.run.registry import Tree
from tako.engine.run.spec import RunSpec
from tako.engine.scheduler.stimuli import NewRun
from tako.engine.steps.workspace import why_lost
from tako.journal.fold import apply
from tako.journal.parts import ChildExecutionError
from tako.journal.records import WORKSPACE_CHANGED, ChildFinished, Noted
from tako.journal.run_state import FanOutState, RunState
from tako.journal.statuses import CANCELLED
from tako.repositories.caveats import Caveat
from tako.system import clock
from tako.system.storage.faults import fault_of
from tako.system.storage.writing import size_of
from tako.values import evolve, value
from tako.version import VERSION

_CHANGED = "it goes on in a workspace that `tako shell` has changed"
_LEFT_OUT = "it had not begun, and --failed-only leaves it out"


@value
class Resumption:
    """How a tree is taken up again; the last three say what the root's checkout is now, if it changed."""

    failed_only: bool = False
    #: Steps that say `rerun: never` may run again.
    may_repeat: bool = True
    commit: str = ""
    config_digest: str = ""
    tracked_changes: str = ""


class Resumer:
    """Takes up the runs of one tree, one by one, when their turn to be scheduled has come."""

    def __init__(
        self,
        tree: Tree,
        resumption: Resumption | None,
        clock: Callable[[], float] = clock.now,
        *,
        on_caveat: Callable[[RunSpec, Caveat], None] = lambda _spec, _caveat: None,
    ) -> None:
        """Without a `resumption` every run is a new one."""
        self._tree = tree
        self._on_caveat = on_caveat
        self._resumption = resumption
        self._clock = clock

    def enter(self, spec: RunSpec) -> tuple[NewRun, RunState | None]:
        """Give what the scheduler has to know of a run; the state of one that has begun before.

        Raises `TakoError` for one whose journal cannot be read or written.
        """
        if self._resumption is None or not self._has_begun(spec):
            return fresh_run(spec), None
        state = self._tree.journals.take_back(spec.paths)
        if state.started is None:
            self._tree.journals.close(spec.paths)
            return fresh_run(spec), None
        self._record(spec, state, self._resumption)
        # Most will not be written by the root again, and 10,000 open files are too many.
        self._tree.journals.close(spec.paths)
        return standing_run(spec, state, self._clock()), state

    def _has_begun(self, spec: RunSpec) -> bool:
        try:
            return size_of(spec.paths.journal) > 0
        except OSError as error:
            raise fault_of(error) or error from error

    def _record(self, spec: RunSpec, state: RunState, resumption: Resumption) -> None:
        decision = decide_resume(
            spec.workflow,
            state,
            why_lost(spec, state),
            failed_only=resumption.failed_only,
            may_repeat=resumption.may_repeat,
        )
        if any(warned.about == WORKSPACE_CHANGED for warned in state.warnings) and not decision.starts_over:
            self._on_caveat(spec, Caveat(WORKSPACE_CHANGED, spec.repository, _CHANGED))
            self._tree.record(spec.run_id, Noted(self._clock(), _CHANGED))
        record = resumed(decision, state, now=self._clock(), version=VERSION)
        if spec is self._tree.root:
            record = evolve(
                record,
                commit=resumption.commit,
                config_digest=resumption.config_digest,
                tracked_changes=resumption.tracked_changes,
            )
        self._tree.record(spec.run_id, record)
        apply(state, record)
        if resumption.failed_only:
            for name, fan_out in state.fan_outs.items():
                self._leave_out(spec, state, name, fan_out, again=frozenset(decision.children))

    def _leave_out(
        self, spec: RunSpec, state: RunState, name: str, fan_out: FanOutState, *, again: frozenset[str]
    ) -> None:
        """Record of children that never began that they do not now."""
        for child in fan_out.children.values():
            plan = child.plan
            if child.finished is None and plan.run_id not in again:
                error = ChildExecutionError(plan.repository, plan.workflow, plan.run_id, CANCELLED, _LEFT_OUT)
                ended = ChildFinished(self._clock(), name, plan.run_id, CANCELLED, error=error)
                self._tree.record(spec.run_id, ended)
                apply(state, ended)
