"""Words for a clean-up, and what went wrong in it, for the commands that do one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tako.units import format_bytes

if TYPE_CHECKING:
    from tako.recovery.cleanup import Cleaned


def lines(cleaned: Cleaned) -> Iterator[str]:
    """One line for each root run of which something was removed."""
    for what, removals in (("workspaces", cleaned.workspaces), ("the whole run", cleaned.expired)):
        for removed in removals:
            if not removed.error:
                yield f"{removed.run_id}  {what}, {format_bytes(removed.size)}: {removed.reason}"


def problems(cleaned: Cleaned) -> list[str]:
    """Return messages about everything that could not be removed."""
    failed = [removed for removed in (*cleaned.workspaces, *cleaned.expired) if removed.error]
    return [f"{removed.run_id} is kept: {removed.error}" for removed in failed] + list(cleaned.errors)
