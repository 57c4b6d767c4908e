"""How the children of one execution tree are kept apart: decided once, by the root, then only read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from tako.sandbox.policy import PROCESS
from tako.values import FrozenValue

if TYPE_CHECKING:
    # The steps in the user's own checkout see the whole machine.
    from tako.sandbox.machine_view import MachineView


@frozen(eq=False, repr=False)
class Isolation(FrozenValue):
    """One level and what it needs of this machine."""

    level: str = PROCESS
    #: Whether a workspace can be an overlay over its snapshot.
    overlays: bool = False
    #: The program behind level `namespace`.
    bubblewrap: str = ""
    #: What steps see of the machine, at the levels that hide the rest.
    machine: MachineView | None = None
