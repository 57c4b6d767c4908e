"""Random trees with random fates: what must hold for all of them, and that each comes to its end."""

from __future__ import annotations

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tako.engine.scheduler import instructions as i
from tako.engine.scheduler import machine as m
from tako.engine.scheduler import stimuli as h
from tako.values import evolve

SLOTS = 3
ENDS = ("succeeded", "failed", "timed_out", "cancelled")
TIMEOUTS = st.none() | st.floats(1, 20)
TURNS = st.sampled_from(["", "lib", "app", "tool"])
NEW = st.builds(
    h.NewRun,
    run_id=st.just(""),
    turn=TURNS,
    timeout_s=TIMEOUTS,
    failed=st.sampled_from([False] * 4 + [True]),
)
#: Taken up again: waiting for a worker, at a fan-out, or only for children nobody waited for.
STANDING = st.builds(
    h.NewRun,
    run_id=st.just(""),
    turn=TURNS,
    timeout_s=TIMEOUTS,
    segment=st.integers(1, 5),
    fan_out=st.sampled_from(["", "stood"]),
    open_fan_outs=st.sampled_from([(), ("late",), ("late", "later")]),
) | st.builds(
    h.NewRun,
    run_id=st.just(""),
    turn=TURNS,
    segment=st.just(3),
    open_fan_outs=st.sampled_from([("late",), ("late", "later")]),
    finished=st.just("succeeded"),
)
CHILDREN = NEW | STANDING
ENDED = st.builds(i.Tally, succeeded=st.integers(0, 3), failed=st.integers(0, 2))
PLANS = st.builds(
    h.FanOutPlanned,
    run_id=st.just(""),
    step=st.just(""),
    children=st.lists(CHILDREN, max_size=5).map(tuple),
    now=st.just(0.0),
    wait=st.booleans(),
    timeout_s=TIMEOUTS,
    limit=st.none() | st.integers(1, 3),
    on_child_failure=st.sampled_from(["fail", "fail_fast", "ignore"]),
    ended=ENDED,
)


@define
class SimulatedRun:
    """What the world outside of the machine knows of one run."""

    new: h.NewRun
    parent: str = ""
    step: str = ""
    phase: str = "waits to start"
    segments: int = 0
    cancelled: bool = False
    status: str = ""
    fan_outs: list[str] = field(factory=list)
    reopening: set[str] = field(factory=set)
    #: Fan-outs that it came to and that have no end yet.
    reached: set[str] = field(factory=set)
    starts_over: bool = False

    @property
    def ended(self) -> bool:
        return bool(self.status)


@define
class SimulatedFanOut:
    """One fan-out, and who of it is open."""

    planned: h.FanOutPlanned
    open: set[str]
    reported: dict[str, str] = field(factory=dict)
    closed: bool = False


class RandomTrees(RuleBasedStateMachine):
    """Carries out instructions, checking that each makes sense, and makes happen whatever may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = m.Machine(SLOTS)
        self.runs: dict[str, SimulatedRun] = {}
        self.fan_outs: dict[tuple[str, str], SimulatedFanOut] = {}
        self.now = 0.0
        self.settled: i.SettleTree | None = None

    # --- carrying out ---

    def tell(self, stimulus: h.Stimulus) -> None:
        for instruction in self.machine.handle(stimulus):
            assert self.settled is None, "an instruction after the end"
            self.carry_out(instruction)

    def carry_out(self, instruction: i.Instruction) -> None:
        match instruction:
            case i.StartSegment():
                self.start(instruction)
            case i.CancelSegment(run_id):
                run = self.runs[run_id]
                assert run.phase == "runs"
                assert not run.cancelled, "a segment is cancelled once"
                run.cancelled = True
            case i.PlanFanOut(run_id, step) if step in self.runs[run_id].new.open_fan_outs:
                self.runs[run_id].reopening.add(step)
            case i.PlanFanOut(run_id, step):
                assert self.runs[run_id].phase == "reached a fan-out"
                self.runs[run_id].phase = f"plans {step}"
                self.runs[run_id].reached.add(step)
            case i.StopPlanning(run_id):
                run = self.runs[run_id]
                assert run.phase.startswith("plans") or run.reopening, "only what is planned is stopped"
                run.cancelled = run.cancelled or run.phase.startswith("plans")
            case i.CloseFanOut():
                self.close(instruction)
            case i.ReportChild():
                self.report(instruction)
            case i.FinishRun(run_id, status, _):
                assert self.runs[run_id].phase != "runs", "its worker holds the journal"
                self.end(self.runs[run_id], status)
            case i.SettleTree():
                self.settled = instruction

    def start(self, order: i.StartSegment) -> None:
        run = self.runs[order.run_id]
        assert not run.ended
        assert run.phase in ("waits to start", "goes on", "rests")
        assert not (run.starts_over and self.has_open_children(run)), "they answer what it may come to again"
        run.starts_over = False
        assert (order.number > 0 or order.attempt > 1) == (run.segments > 0 or run.new.segment > 0)
        run.phase = "runs"
        run.segments += 1

    def end(self, run: SimulatedRun, status: str) -> None:
        assert not run.ended, "each run ends once"
        assert not run.reached, "what has begun has ended before"
        run.status = status
        run.phase = "ended"

    def has_open_children(self, run: SimulatedRun) -> bool:
        return bool(run.reopening) or any(self.fan_outs[run.new.run_id, step].open for step in run.fan_outs)

    def close(self, order: i.CloseFanOut) -> None:
        run = self.runs[order.run_id]
        assert order.step in run.reached, "a step ends once"
        run.reached.discard(order.step)
        if (order.run_id, order.step) not in self.fan_outs:
            assert run.cancelled, "only a run that is to end does not plan its children"
            return
        fan_out = self.fan_outs[order.run_id, order.step]
        assert not fan_out.closed, "a step ends once"
        fan_out.closed = True
        if fan_out.planned.wait:
            assert not fan_out.open
            counted = order.tally.succeeded + order.tally.not_well + order.tally.skipped
            before = fan_out.planned.ended
            assert counted == len(fan_out.planned.children) + before.succeeded + before.not_well
        if not run.ended:
            run.phase = "goes on"

    def report(self, order: i.ReportChild) -> None:
        fan_out = self.fan_outs[order.parent, order.step]
        assert order.run_id in fan_out.open, "each child is reported once"
        fan_out.open.discard(order.run_id)
        child = self.runs[order.run_id]
        assert child.ended
        assert not self.has_open_children(child), "its subtree has settled"
        fan_out.reported[order.run_id] = order.status

    # --- what may happen ---

    @initialize(running=st.booleans(), timeout_s=TIMEOUTS)
    def begin(self, running: bool, timeout_s: float | None) -> None:
        new = h.NewRun("root", "lib", timeout_s)
        self.runs["root"] = SimulatedRun(new)
        if running:
            self.runs["root"].phase, self.runs["root"].segments = "runs", 1
        self.tell(h.Began(new, self.now, running))

    def known(self, new: h.NewRun, parent: str = "", step: str = "") -> SimulatedRun:
        """Give what is known of a run that the machine will be told of."""
        run = SimulatedRun(new, parent, step)
        if new.finished:
            run.phase, run.status = "ended", new.finished
        elif new.fan_out:
            run.phase = "reached a fan-out"
        return run

    @precondition(lambda self: self.settled is not None)
    @rule(timeout_s=TIMEOUTS)
    def another_tree_begins(self, timeout_s: float | None) -> None:
        self.machine, self.settled = m.Machine(SLOTS), None
        self.runs, self.fan_outs = {}, {}
        self.begin(running=True, timeout_s=timeout_s)

    @precondition(lambda self: self.settled is not None)
    @rule(new=STANDING)
    def another_tree_is_taken_up(self, new: h.NewRun) -> None:
        self.machine, self.settled = m.Machine(SLOTS), None
        new = evolve(new, run_id="root")
        self.runs, self.fan_outs = {"root": self.known(new)}, {}
        self.tell(h.Began(new, self.now))

    def running(self) -> list[SimulatedRun]:
        return [run for run in self.runs.values() if run.phase == "runs"]

    def planning(self) -> list[SimulatedRun]:
        return [run for run in self.runs.values() if run.phase.startswith("plans")]

    def stopping(self) -> list[SimulatedRun]:
        return [run for run in self.planning() if run.cancelled]

    def resting(self) -> list[SimulatedRun]:
        return [run for run in self.runs.values() if run.phase == "rests"]

    def reopening(self) -> list[SimulatedRun]:
        return [run for run in self.runs.values() if run.reopening]

    @precondition(lambda self: self.running())
    @rule(data=st.data(), status=st.sampled_from(ENDS), fault=st.sampled_from([False] * 9 + [True]))
    def a_segment_finishes(self, data: st.DataObject, status: str, fault: bool) -> None:
        run = data.draw(st.sampled_from(self.running()))
        self.end(run, status)
        self.tell(h.SegmentEnded(run.new.run_id, status, machine_fault=fault))

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def a_segment_reaches_a_fan_out(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.running()))
        run.phase, step = "reached a fan-out", f"fan-{len(run.fan_outs)}"
        run.reached.add(step)
        self.tell(h.SegmentEnded(run.new.run_id, step=step))

    @precondition(lambda self: self.running())
    @rule(data=st.data(), starts_over=st.booleans())
    def a_worker_dies(self, data: st.DataObject, starts_over: bool) -> None:
        run = data.draw(st.sampled_from(self.running()))
        run.phase = "goes on" if starts_over and self.has_open_children(run) else "rests"
        run.starts_over = starts_over
        self.tell(h.WorkerLost(run.new.run_id, restarting=starts_over))

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def a_run_begins_again(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.running()))
        run.phase, run.starts_over = "goes on", True
        self.tell(h.SegmentEnded(run.new.run_id, restarted=True))

    @precondition(lambda self: self.stopping())
    @rule(data=st.data())
    def planning_stops(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.stopping()))
        step = run.phase.removeprefix("plans ")
        run.phase = "stopped planning"
        self.tell(h.FanOutFailed(run.new.run_id, step, stopped=True))

    @precondition(lambda self: self.reopening())
    @rule(data=st.data(), planned=PLANS)
    def an_old_fan_out_is_planned_again(self, data: st.DataObject, planned: h.FanOutPlanned) -> None:
        run = data.draw(st.sampled_from(self.reopening()))
        step = min(run.reopening)
        run.reopening.discard(step)
        self.plan(run, step, evolve(planned, wait=False, closed=True))
        self.fan_outs[run.new.run_id, step].closed = True

    @precondition(lambda self: self.reopening())
    @rule(data=st.data())
    def an_old_fan_out_cannot_be_planned_again(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.reopening()))
        step = min(run.reopening)
        run.reopening.discard(step)
        self.tell(h.FanOutFailed(run.new.run_id, step, closed=True))

    @precondition(lambda self: self.planning())
    @rule(data=st.data(), planned=PLANS)
    def a_fan_out_is_planned(self, data: st.DataObject, planned: h.FanOutPlanned) -> None:
        run = data.draw(st.sampled_from(self.planning()))
        step = run.phase.removeprefix("plans ")
        run.phase = "waits for children"
        self.plan(run, step, planned)

    def plan(self, run: SimulatedRun, step: str, planned: h.FanOutPlanned) -> None:
        run_id = run.new.run_id
        children = [evolve(child, run_id=f"{run_id}/{step}.{n}") for n, child in enumerate(planned.children)]
        planned = evolve(planned, run_id=run_id, step=step, children=tuple(children), now=self.now)
        ready = [child for child in children if not child.failed]
        self.fan_outs[run_id, step] = SimulatedFanOut(planned, {child.run_id for child in ready})
        run.fan_outs.append(step)
        for child in ready:
            self.runs[child.run_id] = self.known(child, run_id, step)
        self.tell(planned)

    @precondition(lambda self: self.planning())
    @rule(data=st.data())
    def a_fan_out_cannot_be_planned(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.planning()))
        self.fan_out_fails(run)

    def fan_out_fails(self, run: SimulatedRun) -> None:
        step, run.phase = run.phase.removeprefix("plans "), "goes on"
        run.reached.discard(step)
        self.tell(h.FanOutFailed(run.new.run_id, step))

    @precondition(lambda self: self.settled is None)
    @rule(seconds=st.floats(0, 10))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.tell(h.TimePassed(self.now))
        assert self.machine.next_deadline is None or self.machine.next_deadline > self.now

    @precondition(lambda self: self.settled is None)
    @rule(really=st.sampled_from([False] * 5 + [True]))
    def somebody_stops_it(self, really: bool) -> None:
        if really:
            self.tell(h.StopAsked())

    # --- what must hold ---

    @invariant()
    def no_more_segments_run_than_there_are_slots(self) -> None:
        assert len(self.running()) <= SLOTS

    @invariant()
    def no_repository_has_two_turns(self) -> None:
        turns = [run.new.turn for run in self.running() if run.new.turn]
        assert len(turns) == len(set(turns))

    @invariant()
    def no_fan_out_has_more_at_once_than_it_allows(self) -> None:
        for (run_id, step), fan_out in self.fan_outs.items():
            held = [run for run in self.running() if (run.parent, run.step) == (run_id, step)]
            assert fan_out.planned.limit is None or len(held) <= fan_out.planned.limit

    @invariant()
    def slots_are_not_idle_while_somebody_could_use_them(self) -> None:
        if self.settled is None and self.runs and not (self.planning() or self.reopening() or self.resting()):
            assert self.running(), "nobody runs, nothing is planned, and it has not settled"

    @invariant()
    def what_has_settled_has_settled_wholly(self) -> None:
        if self.settled is not None:
            assert all(run.ended for run in self.runs.values())
            assert all(fan_out.closed and not fan_out.open for fan_out in self.fan_outs.values())
            assert self.machine.next_deadline is None
            assert self.machine.wanted_soon == 0

    def teardown(self) -> None:
        """Whatever is left succeeds: the tree then settles in as many steps as there are segments."""
        while self.running() or self.planning() or self.reopening() or self.resting():
            if self.resting() and self.machine.next_deadline is not None:
                self.now = max(self.now, self.machine.next_deadline)
                self.tell(h.TimePassed(self.now))
            for run in self.reopening():
                for step in sorted(run.reopening):
                    run.reopening.discard(step)
                    self.tell(h.FanOutFailed(run.new.run_id, step, closed=True))
            for run in self.planning():
                self.fan_out_fails(run)
            for run in self.running()[:1]:
                self.end(run, "succeeded")
                self.tell(h.SegmentEnded(run.new.run_id, "succeeded"))
        assert self.settled is not None or not self.runs
        self.what_has_settled_has_settled_wholly()


RandomTrees.TestCase.settings = settings(max_examples=200, stateful_step_count=60)
TestRandomTrees = RandomTrees.TestCase
