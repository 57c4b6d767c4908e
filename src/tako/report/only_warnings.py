"""The view of a quiet run, and of one whose result is JSON: the warnings, as they are found.

An observer of the driver, which shows nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from tako.engine.run.spec import RunSpec
from tako.report.text import told
from tako.system.terminal.streams import say

if TYPE_CHECKING:
    from tako.engine.fan_out.plan import FanOutPlan
    from tako.repositories.caveats import Caveat


class OnlyWarnings:
    """Writes warnings to one stream."""

    interval_s: float | None = None

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def segment_started(self, spec: RunSpec) -> None:
        """Show nothing."""

    def segment_ended(self, spec: RunSpec) -> None:
        """Show nothing."""

    def planned(self, spec: RunSpec, step: str, plan: FanOutPlan) -> None:
        """Show nothing."""

    def warned(self, spec: RunSpec, step: str, caveat: Caveat) -> None:
        """Return what the result has to be read with."""
        where = f"{spec.repository} {step}".rstrip()
        say(self._stream, f"tako: warning: {where}: {told(caveat.reason)}\n")

    def worker_lost(self, spec: RunSpec, message: str) -> None:
        """Show nothing."""

    def stopping(self, name: str) -> None:
        """Show nothing."""

    def turn(self) -> None:
        """Show nothing."""
