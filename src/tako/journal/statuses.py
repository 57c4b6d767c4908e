"""The words with which steps, children and runs end."""

from __future__ import annotations

#: Statuses that a step, child or run can end with.
SUCCEEDED, FAILED, TIMED_OUT, CANCELLED, SKIPPED = "succeeded", "failed", "timed_out", "cancelled", "skipped"
#: A run whose owner died; no record of its own end exists.
INTERRUPTED = "interrupted"
