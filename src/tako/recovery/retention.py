"""What is kept of runs that have ended, and for how long.

Workspaces of runs that failed or were interrupted stay for whoever looks for the cause or resumes them,
bounded by number, age and bytes; journals and logs stay longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from tako.config.schema import KeptWorkspaces
from tako.layout.home import Home
from tako.recovery.index import Kept


def surplus(kept: Iterable[Kept], bounds: KeptWorkspaces, now: float) -> list[tuple[Kept, str]]:
    """Which workspaces go, and why: the newest that fit stay. Pure."""
    chosen = []
    held = 0
    for place, run in enumerate(sorted(kept, key=lambda run: run.ended_at, reverse=True), 1):
        held += run.size
        if place > bounds.runs:
            chosen.append((run, f"more than {bounds.runs} runs"))
        elif now - run.ended_at > bounds.age_s:
            chosen.append((run, "too old"))
        elif held > bounds.size:
            chosen.append((run, "too many bytes"))
    return chosen


def begun_before(home: Home, moment: float) -> list[str]:
    """The root runs that began before a moment, in seconds since the epoch.

    Their ids say when: usually none is so old that anything of it has to be read.
    """
    limit = datetime.fromtimestamp(max(0.0, moment), UTC).strftime("exec-%Y%m%d-%H%M%S")
    return [run_id for run_id in home.run_ids() if run_id < limit]
