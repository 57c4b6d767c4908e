"""How a program in a shell's sandbox is connected with the user: by a terminal, or by his pipes.

In: a started program. Out: the relays that have to come to their end before all it wrote was passed on. Each
connection knows how its program is asked to end.
"""

from __future__ import annotations

import os
import signal

from tako.sandbox.started import Started
from tako.system.terminal import terminals
from tako.system.terminal.relay import Relay
from tako.system.terminal.terminals import PseudoTerminal

_STDIN, _STDOUT, _STDERR = 0, 1, 2


class OnTerminal:
    """The program has a terminal of tako's making; the user's is raw meanwhile."""

    def __init__(self) -> None:
        self._terminal = PseudoTerminal()
        #: The program's terminal, as `StepSandbox.run` takes it.
        self.path = self._terminal.path
        #: Hangs up when the user's terminal is gone.
        self.gone = -1

    def attach(self, _started: Started) -> list[Relay]:
        """Connect both ends."""
        terminals.make_raw()
        self._terminal.leave_to_program()
        self.gone = Relay(_STDIN, self._terminal.master).over
        return [Relay(self._terminal.master, _STDOUT)]

    def note(self, number: int) -> None:
        """Take over what a signal says of the user's terminal: its size, or that we are in front again."""
        if number == signal.SIGCONT:
            terminals.make_raw()
        self._terminal.resize()

    def ask_to_end(self, _started: Started) -> None:
        """Hang up, again and again: who comes to the front when the one there has ended is asked too."""
        self._terminal.hang_up()


class OnPipes:
    """The program has pipes; what the user's streams are does not matter."""

    path = ""
    #: That nothing more is typed is told to the program, and is no reason to end it.
    gone = -1

    def __init__(self) -> None:
        self._asked = False

    def attach(self, started: Started) -> list[Relay]:
        """Connect the three."""
        process = started.process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        Relay(_STDIN, os.dup(process.stdin.fileno()), close_target=True)
        process.stdin.close()
        return [Relay(process.stdout.fileno(), _STDOUT), Relay(process.stderr.fileno(), _STDERR)]

    def note(self, _number: int) -> None:
        """Nothing of a terminal matters."""

    def ask_to_end(self, started: Started) -> None:
        """SIGTERM, once; a stopped process would take it only after it was continued (signal(7))."""
        if not self._asked:
            self._asked = True
            started.signal(signal.SIGTERM)
            started.signal(signal.SIGCONT)
