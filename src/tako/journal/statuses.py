"""The words with which steps, children and runs end, and the kinds of their failures.

Journals hold the words as texts, so that what is read compares equal to these and to nothing unknown.
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """How a step, child or run ended, or that it has not ended yet."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    #: Its owner died; no record of its own end exists.
    INTERRUPTED = "interrupted"
    #: Not in journals: it has begun, or has not yet.
    RUNNING = "running"
    PENDING = "pending"


SUCCEEDED, FAILED, TIMED_OUT = Status.SUCCEEDED, Status.FAILED, Status.TIMED_OUT
CANCELLED, SKIPPED, INTERRUPTED = Status.CANCELLED, Status.SKIPPED, Status.INTERRUPTED
RUNNING, PENDING = Status.RUNNING, Status.PENDING


class FailureKind(StrEnum):
    """Why a child failed (docs/command-line.md); an ended one may also have one of its statuses as kind."""

    STEP_FAILED = "step_failed"
    LIMIT_EXCEEDED = "limit_exceeded"
    SANDBOX_FAILED = "sandbox_failed"
    #: Its workers died too often.
    WORKER_DIED = "worker_died"
    CONFIG_INVALID = "config_invalid"
    INPUTS_INVALID = "inputs_invalid"
    NOT_FOUND = "not_found"
    INTERNAL_ERROR = "internal_error"


def is_good(status: str) -> bool:
    """Whether nothing is to be done about it: it succeeded, or did not need to run."""
    return status in (SUCCEEDED, SKIPPED)


def is_failure(status: str) -> bool:
    """Whether it failed by itself: `retry` and `continue_on_error` act on it."""
    return status in (FAILED, TIMED_OUT)


def was_ended(status: str) -> bool:
    """Whether something else ended it: a timeout, a stop or the death of its owner."""
    return status in (TIMED_OUT, CANCELLED, INTERRUPTED)
