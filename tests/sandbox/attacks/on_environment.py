"""Attacks by variables of the step's own environment, and by what its mounts tell of the machine."""

from __future__ import annotations

from tests.sandbox.attacks.shot import Attack, Shot, said_so
from tests.sandbox.attacks.targets import Range


def _written_outside(scene: Range, _: Shot) -> bool:
    """A loader adds a pid to the name."""
    return any(scene.directory.glob(f"{scene.planted.name}*"))


ATTACKS = (
    Attack(
        "variables that tell the loader of the next program, tako's own helpers included, to write outside",
        "true",
        _written_outside,
        environment={"LD_DEBUG": "libs", "LD_DEBUG_OUTPUT": "$PLANTED"},
    ),
    Attack(
        "find out where its files lie on the machine",
        'run=$(basename "$(dirname "$JOURNAL")")\n'
        '{ pwd; cat /proc/self/mountinfo; } | grep -q "$run" && echo got through',
        said_so,
    ),
)
