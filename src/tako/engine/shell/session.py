"""A program in the sandbox of a run that has ended, on the user's terminal or on his pipes.

    terminal or pipes ◀─relays─▶ program in the sandbox ◀─ watched by the loop here ─▶ exit code

In: the run's spec and state, a step, a command, and the right to write the run's journal, which the caller
holds: so nobody resumes the run meanwhile, and its overlay is mounted once. Out: the program's exit code.
Nothing is recorded, no secret is given. Fails with `SandboxFailedError`. The calling process is put into
namespaces of its own.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from tako import exit_codes
from tako.config.schema import Step
from tako.engine.run.environment import base_environment, step_variables, with_own_agent
from tako.engine.run.scope import run_scope
from tako.engine.run.spec import GRACE_S, RunSpec, Segment
from tako.engine.scheduler.limits import step_limits
from tako.engine.shell.streams import OnPipes, OnTerminal
from tako.engine.steps import workspace
from tako.engine.steps.sandbox import StepSandbox
from tako.engine.steps.shell import over_limit_message
from tako.errors import TakoError, UsageError
from tako.expressions.text import rendered_all
from tako.journal.run_state import RunState
from tako.journal.stored import StoredValueError, Values
from tako.sandbox.started import SandboxFailedError, Started
from tako.sandbox.watchdog import Breach, Watchdog
from tako.system.process.descendants import collect_orphans, end_descendants
from tako.system.process.signals import STOPPING, SignalPipe
from tako.system.terminal.relay import Relay
from tako.system.walls.veils import Hung, enter_veiled

#: Twice in a row so long without anything to pass on: the end of a program whose pipe somebody else has.
_IDLE_S = 0.2


class ShellSession:
    """One program in one run's sandbox."""

    def __init__(
        self,
        spec: RunSpec,
        state: RunState,
        step: Step,
        temporary: str,
        *,
        on_note: Callable[[str], None],
        on_started: Callable[[], None],
    ) -> None:
        """`temporary` is a short private directory for TMPDIR; `on_started` comes before the first thread."""
        self._spec = spec
        self._state = state
        self._step = step
        self._temporary = temporary
        self._on_note = on_note
        self._on_started = on_started
        self._limits = step_limits(spec.limits, spec.quota, spec.workflow, step)
        self._stopped = 0
        self._kill_at = 0.0

    def run(self, command: Sequence[str], words: Mapping[str, str], streams: OnTerminal | OnPipes) -> int:
        """Run `command` to its end and give its exit code; `words` are more of its environment.

        Raises `TakoError` naming the limit if it passed one.
        """
        veiled = self._enter()
        try:
            self._sandbox = StepSandbox(Segment(self._spec, 0, 1, self._temporary), veiled)
            self._signals = SignalPipe((*STOPPING, signal.SIGWINCH, signal.SIGCONT))
            started = self._sandbox.run(
                command,
                self._step,
                {**self._environment(), **words},
                self._limits,
                terminal=streams.path,
                reads=True,
            )
            self._on_started()
            try:
                return self._attend(started, streams)
            finally:
                end_descendants()
                self._sandbox.ended()
        finally:
            workspace.unmount(self._spec)

    def _enter(self) -> Hung:
        try:
            veiled = enter_veiled(self._spec.veils) if self._spec.in_namespaces else Hung()
            workspace.mount(self._spec)
        except OSError as error:
            message = f"the workspace of {self._spec.run_id} cannot be entered: {error}"
            raise SandboxFailedError(message, hint="`tako doctor` shows what works here") from error
        return veiled

    def _environment(self) -> dict[str, str]:
        """What the step had; of its and the workflow's `env`, what the journal still tells."""
        spec = self._spec
        variables = base_environment(spec, self._sandbox.seen, self._sandbox.temporary)
        try:
            scope = run_scope(spec, self._state, Values(spec.paths))
            variables |= {**scope["env"], **rendered_all(self._step.env, scope)}
        except (UsageError, StoredValueError) as error:
            self._on_note(f"without the `env` of step {self._step.id}: {error}")
        return with_own_agent(spec, variables) | step_variables(spec, self._sandbox.seen, self._step.id)

    def _attend(self, started: Started, streams: OnTerminal | OnPipes) -> int:
        """Watch and obey until the program has ended and all it wrote was passed on."""
        watchdog = Watchdog(self._limits, self._sandbox.watched())
        outputs = streams.attach(started)
        pidfd = os.pidfd_open(started.process.pid)
        breach = None
        while pidfd not in (ready := self._wait(pidfd, streams.gone, watchdog.wait_s)):
            self._obey(started, streams, gone=streams.gone in ready)
            breach = breach or watchdog.look()
            if breach is not None or self._is_over_time():
                end_descendants()
            collect_orphans(but_not=started.process.pid)
        os.close(pidfd)
        code = started.process.wait()
        end_descendants()
        for relay in outputs:
            self._pass_on(relay, started, streams)
        return self._exit_code(started, code, breach or watchdog.last_look())

    def _pass_on(self, relay: Relay, started: Started, streams: OnTerminal | OnPipes) -> None:
        """Return when all that was written has been passed on; once asked to stop, within the grace.

        That takes as long as whoever reads it. Who else has the program's pipe or terminal is not waited for.
        """
        idle = False
        while not self._is_over_time():
            wait_s = _IDLE_S if self._grace_left is None else min(_IDLE_S, self._grace_left)
            if relay.over in self._wait(relay.over, -1, wait_s) or (idle and relay.is_idle):
                return
            idle = relay.is_idle
            self._obey(started, streams, gone=False)

    def _wait(self, end: int, gone: int, wait_s: float | None) -> set[int]:
        """Wait for an end, a signal or the time; gives the descriptors that have something to say."""
        poll = select.poll()
        poll.register(end, select.POLLIN)
        poll.register(self._signals.descriptor, select.POLLIN)
        if gone >= 0 and not self._stopped:
            poll.register(gone, select.POLLIN)
        return {found for found, _ in poll.poll(None if wait_s is None else wait_s * 1000)}

    def _obey(self, started: Started, streams: OnTerminal | OnPipes, *, gone: bool) -> None:
        """The ladder: the first of these signals asks politely, the second does not."""
        if gone:
            self._stop(signal.SIGHUP)
        for number in self._signals.read():
            if number in STOPPING:
                self._stop(number)
            else:
                streams.note(number)
        if self._stopped:
            streams.ask_to_end(started)

    def _stop(self, number: int) -> None:
        self._kill_at = time.monotonic() + (0.0 if self._stopped else GRACE_S)
        self._stopped = self._stopped or number

    def _is_over_time(self) -> bool:
        return self._stopped != 0 and time.monotonic() >= self._kill_at

    @property
    def _grace_left(self) -> float | None:
        return max(0.0, self._kill_at - time.monotonic()) if self._stopped else None

    def _exit_code(self, started: Started, code: int, breach: Breach | None) -> int:
        if self._stopped:
            return exit_codes.of_signal(self._stopped)
        if breach is not None:
            raise TakoError(over_limit_message(breach.limit, breach.value, breach.seen))
        started.check("bubblewrap has said why")
        return exit_codes.of_program(code)
