"""The scheduler's decisions: a stimulus comes in, instructions go out. No I/O, no clock.

    Began ─▶ StartSegment ─▶ SegmentEnded ─┬─ finished ─▶ ReportChild to its parent's fan-out
                                           └─ fan-out ──▶ PlanFanOut ─▶ FanOutPlanned ─▶ children
    all children of a waiting fan-out settled ─▶ CloseFanOut ─▶ the run's next segment

A run is finished when its own steps have ended, settled when its subtree has. Times are seconds of
one monotonic clock, given with the stimuli. Only unsettled runs are kept in the state.
"""

from __future__ import annotations

from collections.abc import Iterable

from tako.engine.scheduler.deadlines import Deadlines
from tako.engine.scheduler.instructions import (
    CancelSegment,
    CloseFanOut,
    FinishRun,
    Instruction,
    PlanFanOut,
    ReportChild,
    SettleTree,
    StartSegment,
    StopPlanning,
    Tally,
)
from tako.engine.scheduler.resources import BOUNDLESS, Amounts, Claim, ResourceManager
from tako.engine.scheduler.state import FanOut, Phase, Run
from tako.engine.scheduler.stimuli import (
    Began,
    FanOutFailed,
    FanOutPlanned,
    NewRun,
    RoomChanged,
    SegmentEnded,
    Stimulus,
    StopAsked,
    TimePassed,
    WorkerLost,
)
from tako.journal.statuses import CANCELLED, FAILED, SUCCEEDED, TIMED_OUT, FailureKind, is_good
from tako.values import evolve

#: With so many dead workers of one segment its run has failed.
WORKER_DEATHS_MAX = 3
#: Seconds between the first of these deaths and the next worker; twice as long after each.
WORKER_BACKOFF_S = 0.2


class Machine:
    """All unsettled runs of one tree; `handle` is the only way to change it."""

    def __init__(self, slots: int, capacity: Amounts = BOUNDLESS) -> None:
        """`slots` is how many segments may run at once, `capacity` what they may declare together."""
        self._resources = ResourceManager(slots, capacity)
        self._runs: dict[str, Run] = {}
        self._deadlines = Deadlines()
        self._stopping = False
        #: Nothing starts as long as the disk is too full.
        self._held_back = False
        self._now = 0.0
        self._out: list[Instruction] = []

    def handle(self, stimulus: Stimulus, now: float = 0.0) -> list[Instruction]:
        """Take one stimulus into account and say what to do, in order; `now` is when it is told."""
        self._now = max(self._now, now)
        self._out = []
        match stimulus:
            case Began():
                self._began(stimulus)
            case SegmentEnded():
                self._segment_ended(stimulus)
            case WorkerLost():
                self._worker_lost(self._runs[stimulus.run_id], restarting=stimulus.restarting)
            case FanOutPlanned():
                self._fan_out_planned(stimulus)
            case FanOutFailed():
                self._fan_out_failed(stimulus)
            case TimePassed():
                self._time_passed(stimulus.now)
            case RoomChanged(enough):
                self._held_back = not enough
            case StopAsked():
                self._stop()
        self._start_what_may()
        return self._out

    @property
    def next_deadline(self) -> float | None:
        """When `TimePassed` is due."""
        return self._deadlines.next

    @property
    def wanted_soon(self) -> int:
        """How many segments wait for a slot."""
        return self._resources.waiting

    # --- beginning ---

    def _began(self, stimulus: Began) -> None:
        self._now = stimulus.now
        run = self._add(stimulus.run, None)
        if stimulus.running:
            self._resources.want(self._claim(run, goes_on=True))
            self._resources.grant()
            self._runs_now(run)
        else:
            self._enter(run)

    def _enter(self, run: Run) -> None:
        """Let a new run begin, or one that is taken up again go on from where it stands."""
        new = run.new
        run.segment = new.segment
        run.late_failure = new.late_failure
        for step in new.open_fan_outs:
            run.reopening.add(step)
            self._out.append(PlanFanOut(run.run_id, step))
        if new.finished:
            self._finished(run, new.finished)
        elif new.fan_out:
            run.phase = Phase.PLANNING
            self._start_clock(run)
            self._out.append(PlanFanOut(run.run_id, new.fan_out))
        else:
            self._queue(run, goes_on=new.segment > 0)

    def _add(self, new: NewRun, parent: FanOut | None) -> Run:
        run = Run(new, parent)
        self._runs[new.run_id] = run
        return run

    def _claim(self, run: Run, *, goes_on: bool) -> Claim:
        place = run.parent.place if run.parent else ""
        return Claim(run.run_id, run.new.turn, place, run.depth, goes_on, run.new.needs, run.new.quota)

    def _queue(self, run: Run, *, goes_on: bool) -> None:
        run.phase = Phase.QUEUED
        self._resources.want(self._claim(run, goes_on=goes_on))

    def _start_what_may(self) -> None:
        if self._held_back:
            return
        for run_id in self._resources.grant():
            run = self._runs[run_id]
            self._runs_now(run)
            self._out.append(StartSegment(run_id, run.segment, run.attempt))

    def _runs_now(self, run: Run) -> None:
        run.phase = Phase.RUNNING
        self._start_clock(run)

    def _start_clock(self, run: Run) -> None:
        if run.new.timeout_s is not None and run.deadline is None and not run.doomed:
            run.deadline = self._now + run.new.timeout_s
            self._deadlines.watch(run.run_id, run)

    # --- a segment ended ---

    def _segment_ended(self, stimulus: SegmentEnded) -> None:
        run = self._runs[stimulus.run_id]
        self._resources.release(run.run_id)
        if stimulus.status:
            self._finished(run, stimulus.status)
        elif run.doomed:
            if stimulus.step:
                self._out.append(CloseFanOut(run.run_id, stimulus.step, run.doomed, Tally()))
            self._end_without_worker(run)
        elif stimulus.restarted and run.has_open_children:
            # They answer an event that it may come to again.
            run.phase = Phase.RESTARTING
        elif stimulus.restarted:
            self._go_on(run)
        else:
            run.phase = Phase.PLANNING
            self._out.append(PlanFanOut(run.run_id, stimulus.step))
        if stimulus.machine_fault:
            self._stop()

    def _worker_lost(self, run: Run, *, restarting: bool) -> None:
        self._resources.release(run.run_id)
        if run.doomed:
            self._end_without_worker(run)
        elif restarting and run.has_open_children:
            # They answer an event that it may come to again.
            run.phase = Phase.RESTARTING
        elif run.attempt >= WORKER_DEATHS_MAX:
            self._out.append(FinishRun(run.run_id, FAILED, FailureKind.WORKER_DIED))
            self._finished(run, FAILED)
        else:
            run.phase = Phase.RESTING
            self._deadlines.rest(run.run_id, self._now + WORKER_BACKOFF_S * 2 ** (run.attempt - 1))
            run.attempt += 1

    def _go_on(self, run: Run) -> None:
        if run.doomed:
            self._end_without_worker(run)
            return
        run.segment += 1
        run.attempt = 1
        self._queue(run, goes_on=True)

    def _end_without_worker(self, run: Run) -> None:
        self._out.append(FinishRun(run.run_id, run.doomed, run.doomed))
        self._finished(run, run.doomed)

    def _finished(self, run: Run, status: str) -> None:
        run.phase, run.status = Phase.FINISHED, run.doomed or status
        run.deadline = None
        self._deadlines.drop(run.run_id)
        if not run.has_open_children:
            self._settled(run)

    # --- fan-outs ---

    def _fan_out_planned(self, stimulus: FanOutPlanned) -> None:
        self._now = max(self._now, stimulus.now)
        run = self._runs[stimulus.run_id]
        fan_out = FanOut(run, stimulus)
        run.fan_outs[stimulus.step] = fan_out
        if stimulus.limit is not None:
            self._resources.limit(fan_out.place, stimulus.limit)
        if stimulus.timeout_s is not None:
            fan_out.deadline = stimulus.now + stimulus.timeout_s
            self._deadlines.watch(fan_out.place, fan_out)
        run.reopening.discard(stimulus.step)
        ready = [new for new in stimulus.children if not new.failed]
        for new in ready:
            fan_out.open[new.run_id] = self._add(new, fan_out)
        ended = stimulus.ended
        fan_out.tally = evolve(ended, failed=ended.failed + len(stimulus.children) - len(ready))
        for child in list(fan_out.open.values()):
            self._enter(child)
        self._after_planning(run, fan_out)

    def _after_planning(self, run: Run, fan_out: FanOut) -> None:
        if fan_out.planned.wait:
            run.phase = Phase.WAITING
        elif not fan_out.planned.closed:
            self._out.append(CloseFanOut(run.run_id, fan_out.planned.step, SUCCEEDED, fan_out.tally))
            self._go_on(run)
        if run.doomed:
            self._doom_all(fan_out.open.values(), run.doomed)
        elif fan_out.tally.failed:
            self._fail_fast(fan_out)
        self._close_if_settled(fan_out)

    def _fan_out_failed(self, stimulus: FanOutFailed) -> None:
        run = self._runs[stimulus.run_id]
        if not stimulus.closed:
            if stimulus.stopped:
                self._out.append(CloseFanOut(run.run_id, stimulus.step, run.doomed, Tally()))
            self._go_on(run)
            return
        run.reopening.discard(stimulus.step)
        run.late_failure = True
        self._after_open_children(run)

    def _fail_fast(self, fan_out: FanOut) -> None:
        # Once only: each child that this ends comes back here, for thousands as many calls deep.
        if fan_out.planned.on_child_failure == "fail_fast" and not fan_out.failed_fast:
            fan_out.failed_fast = True
            self._doom_all(fan_out.open.values(), CANCELLED)

    def _settled(self, run: Run) -> None:
        del self._runs[run.run_id]
        fan_out = run.parent
        if fan_out is None:
            self._out.append(SettleTree(run.status, run.late_failure))
            return
        status = FAILED if run.late_failure and run.status == SUCCEEDED else run.status
        step = fan_out.planned.step
        self._out.append(ReportChild(fan_out.run.run_id, step, run.run_id, status))
        del fan_out.open[run.run_id]
        fan_out.tally = fan_out.tally.with_one(status)
        if not is_good(status):
            self._fail_fast(fan_out)
        self._close_if_settled(fan_out)

    def _close_if_settled(self, fan_out: FanOut) -> None:
        run = fan_out.run
        step = fan_out.planned.step
        if fan_out.open or run.fan_outs.get(step) is not fan_out:
            return
        del run.fan_outs[step]
        self._deadlines.drop(fan_out.place)
        if fan_out.planned.wait:
            self._out.append(CloseFanOut(run.run_id, step, fan_out.outcome, fan_out.tally))
            self._go_on(run)
            return
        if fan_out.outcome != SUCCEEDED:
            run.late_failure = True
        self._after_open_children(run)

    def _after_open_children(self, run: Run) -> None:
        """Go on with a run that waited only for children nobody else waits for, if none is left."""
        if run.has_open_children:
            return
        if run.phase == Phase.RESTARTING:
            self._go_on(run)
        elif run.phase == Phase.FINISHED:
            self._settled(run)

    # --- ending early ---

    def _time_passed(self, now: float) -> None:
        self._now = now
        for run_id in self._deadlines.rested(now):
            self._queue(self._runs[run_id], goes_on=True)
        for held in self._deadlines.passed(now):
            if isinstance(held, FanOut):
                held.timed_out = True
                self._doom_all(list(held.open.values()), TIMED_OUT)
            else:
                self._doom(held, TIMED_OUT)

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._doom_all([run for run in self._runs.values() if run.parent is None], CANCELLED)

    def _doom_all(self, runs: Iterable[Run], status: str) -> None:
        for run in list(runs):
            self._doom(run, status)

    def _doom(self, run: Run, status: str) -> None:
        """End a run and its subtree: by the ladder what runs, at once what has not started.

        One that waits for its children, for a plan or for a restart ends when that is over.
        """
        for fan_out in list(run.fan_outs.values()):
            self._doom_all(fan_out.open.values(), status)
        if run.phase == Phase.PLANNING or run.reopening:
            self._out.append(StopPlanning(run.run_id))
        if run.phase == Phase.FINISHED and run.reopening:
            # For the children that are being found.
            run.doomed = run.doomed or status
        if run.doomed or run.phase == Phase.FINISHED or run.run_id not in self._runs:
            return
        run.doomed = status
        if run.phase == Phase.RUNNING:
            self._out.append(CancelSegment(run.run_id, status))
        elif run.phase == Phase.QUEUED:
            self._resources.drop(run.run_id)
            self._end_without_worker(run)
        elif run.phase == Phase.RESTING:
            self._deadlines.end_rest(run.run_id)
            self._end_without_worker(run)
