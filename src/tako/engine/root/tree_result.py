"""How an execution tree ended: its status, its exit code, and the message that explains the code.

In: what happened beside the runs (a bug, a signal, a fault of the machine) and the tree's status. Out: a
`TreeResult`. A bug outweighs a signal, a signal a fault of the machine, and that the tree's own status.
A second signal outweighs all of them, because tako ends at once.
"""

from __future__ import annotations

from tako import exit_codes
from tako.journal.statuses import CANCELLED, SUCCEEDED, TIMED_OUT
from tako.system.process.signals import name_of
from tako.values import mutable, value


@value
class TreeResult:
    """How the whole execution tree ended."""

    status: str
    exit_code: int
    #: The bug, the signal or the fault of the machine that ended the tree.
    message: str = ""
    #: After a second signal: tako records and reports nothing more.
    at_once: bool = False


@mutable
class Troubles:
    """What happened beside the runs; of several faults or bugs the first counts."""

    fault: str = ""
    bug: str = ""
    #: The number of the signal that stopped the tree; 0 for none.
    stopped_by: int = 0

    def add_fault(self, message: str) -> None:
        """Note what the machine refused."""
        self.fault = self.fault or message

    def add_bug(self, message: str) -> None:
        """Note what nobody foresaw."""
        self.bug = self.bug or message

    def result(self, status: str, *, late_failure: bool) -> TreeResult:
        """The result of a tree that settled; `late_failure` if a child failed that nobody waited for."""
        if self.bug:
            return TreeResult(status, exit_codes.BUG, self.bug)
        if self.stopped_by:
            message = f"stopped by {name_of(self.stopped_by)}"
            return TreeResult(status, exit_codes.of_signal(self.stopped_by), message)
        if self.fault:
            return TreeResult(status, exit_codes.MACHINE, self.fault)
        if status == TIMED_OUT:
            return TreeResult(status, exit_codes.TIMED_OUT)
        failed = late_failure or status != SUCCEEDED
        return TreeResult(status, exit_codes.FAILED if failed else exit_codes.SUCCEEDED)

    def result_at_once(self) -> TreeResult:
        """The result after a second signal."""
        return TreeResult(CANCELLED, exit_codes.of_signal(self.stopped_by), at_once=True)
