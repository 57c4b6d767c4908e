"""A step that was started: how to signal it, and whether its sandbox came up.

"The sandbox failed" and "the step failed" are different answers: the first is a `SandboxFailedError`.
"""

from __future__ import annotations

import subprocess

from tako.errors import MachineError
from tako.system.process.descendants import signal_group


class SandboxFailedError(MachineError):
    """The sandbox could not be set up, so that the step never ran."""


class Started:
    """The first process of a step, with pipes for stdout and stderr; leads its own session and group."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        #: Other children of the worker that belong to the sandbox, and to no step.
        self.others: tuple[int, ...] = ()

    def signal(self, number: int) -> None:
        """Signal the step's process group; a group without members is no error."""
        signal_group(self.process.pid, number)

    def check(self, said: str) -> None:
        """Raise `SandboxFailedError` after the end if the step never ran, with the end of `said` as reason.

        Closes the descriptors that were held for this.
        """
