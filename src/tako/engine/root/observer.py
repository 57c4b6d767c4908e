"""Who wants to see what the driver does: views are passed in, the engine knows none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tako.engine.run.spec import RunSpec

if TYPE_CHECKING:
    from tako.engine.fan_out.plan import FanOutPlan
    from tako.repositories.caveats import Caveat


class Observer(Protocol):
    """Told of what happens, in the driver's thread; must be quick and must not raise."""

    #: Seconds after which `turn` is called again although nothing happened; None for never.
    interval_s: float | None

    def segment_started(self, spec: RunSpec) -> None:
        """A worker goes on with this run."""

    def segment_ended(self, spec: RunSpec) -> None:
        """The run's worker is gone."""

    def planned(self, spec: RunSpec, step: str, plan: FanOutPlan) -> None:
        """The children of a fan-out are known."""

    def warned(self, spec: RunSpec, step: str, caveat: Caveat) -> None:
        """The results have to be read with this, found at that fan-out, or with an empty `step` before."""

    def worker_lost(self, spec: RunSpec, message: str) -> None:
        """A worker died and is proven dead."""

    def stopping(self, name: str) -> None:
        """Somebody asked for the end."""

    def turn(self) -> None:
        """Some time has passed."""
