"""Names what a workflow asks for and this version does not do yet, so that it is refused.

A key that is written and silently without effect would be worse than an error. The table
only shrinks: a version that brings a behaviour deletes its line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tako.config.schema import Step, Workflow, all_steps

_OF_STEP: tuple[tuple[str, str, Callable[[Step], object]], ...] = (
    ("image", "image", lambda step: step.image),
    ("long_running", "long_running", lambda step: step.long_running),
    ("cache_key_files", "cache_key_files", lambda step: step.cache_key_files),
    ("with.idempotent", "idempotent: true", lambda step: step.with_.get("idempotent")),
)


def unsupported_keys(workflow: Workflow) -> list[tuple[str, str]]:
    """Return the key path and the name of everything asked for that does not exist yet."""
    return list(_unsupported(workflow))


def _unsupported(workflow: Workflow) -> Iterator[tuple[str, str]]:
    for step in all_steps(workflow.steps):
        for name, what, asked in _OF_STEP:
            if asked(step):
                yield f"{step.key}.{name}", what
