"""How the children of one execution tree are kept apart: decided once, by the root, then only read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tako.sandbox.policy import PROCESS
from tako.values import value

if TYPE_CHECKING:
    # The steps in the user's own checkout see the whole machine.
    from tako.sandbox.machine_view import MachineView


@value
class Isolation:
    """One level and what it needs of this machine."""

    level: str = PROCESS
    #: Whether a workspace can be an overlay over its snapshot.
    overlays: bool = False
    #: The program behind level `namespace`.
    bubblewrap: str = ""
    #: An empty directory, in which each worker hangs up overlays of what its steps see of the machine.
    veils: str = ""
    #: What steps see of the machine, at the levels that hide the rest.
    machine: MachineView | None = None
    #: Of level `landlock`: whether steps have a root directory of their own, in which nothing else is seen,
    own_root: bool = False
    #: and a pid namespace, in which no process outside can be named.
    own_processes: bool = False
