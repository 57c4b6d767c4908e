"""Attacks on what builds a step's walls: it works outside of them, where an earlier step has written."""

from __future__ import annotations

from tests.sandbox.attacks.shot import Attack, Shot
from tests.sandbox.attacks.targets import SHOWN_INSIDE, Range

_PARENT, _, _NAME = SHOWN_INSIDE.partition("/")
#: Run again, after what builds the walls has met the link. `/oldroot` is where bubblewrap keeps the machine
#: meanwhile (its source: setup_newroot).
_LINKS = f"""
outside=$(dirname "$PROFILE")
mkdir "$outside/{_NAME}" || :
cd "$(dirname "$TAKO_OUTPUT")"
[ ! -d {_PARENT} ] || mv {_PARENT} old
[ ! -L {_PARENT} ] || {{ rm {_PARENT}; ln -s "$outside" {_PARENT}; exit 1; }}
ln -s "/oldroot$outside" {_PARENT}
exit 1
"""


def _made_outside(scene: Range, _: Shot) -> bool:
    return (scene.profile.parent / _NAME).exists()


ATTACKS = (
    Attack(
        "a link where something is to be shown to the next step, which tako would mount by",
        _LINKS,
        _made_outside,
        attempts=3,
    ),
)
