"""What records hold besides texts and numbers: values of several fields, plain JSON once written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from tako.values import value

#: The years that a calendar has: 1 to 9999, in seconds since the epoch.
CALENDAR = (-62_135_596_800.0, 253_402_300_799.0)
#: Seconds since the epoch (UTC).
Moment = Annotated[float, CALENDAR]


@value
class Attempt:
    """How one try of a step ended that was not the last one; `at` is when it ended."""

    attempt: int
    at: Moment
    status: str
    message: str = ""
    exit_code: int | None = None
    signal: str = ""


@value
class ChildExecutionError:
    """Why one run failed, a child or the root: `kind` is one of the table in docs/command-line.md.

    `duration_s` is that of the whole run in seconds, 0 where it never began or nobody saw its end.
    """

    repository: str
    workflow: str
    run_id: str
    kind: str
    message: str
    step: str = ""
    exit_code: int | None = None
    signal: str = ""
    limit: str = ""
    limit_value: int | None = None
    started: Moment | None = None
    duration_s: float = 0.0
    attempts: int = 0
    last_lines: tuple[str, ...] = ()
    #: What the attempts before the last one came to, oldest first.
    earlier: tuple[Attempt, ...] = ()


@value
class Stored:
    """Refers to a value in a file of the tree: the SHA-256 (hex) and the number of its bytes."""

    sha256: str
    size: int

    def __str__(self) -> str:
        """Give the text that stands for the value in a journal."""
        return f"sha256:{self.sha256}:{self.size}"


#: Plain JSON, or a reference to it.
Held = Mapping[str, Any] | Stored


@value
class EventValue:
    """An emitted event as it travels."""

    type: str
    schema_version: str
    payload: Held
    source: str
    artifact: str
    run_id: str


@value
class Usage:
    """What a step used: CPU seconds and the largest single process in bytes (getrusage(2)).

    The others are the most that was seen of its whole tree at once: bytes of memory, tasks, bytes on disk;
    0 of a step too short to be looked at.
    """

    cpu_s: float = 0.0
    max_rss: int = 0
    memory: int = 0
    tasks: int = 0
    disk: int = 0

    def followed_by(self, later: Usage) -> Usage:
        """What both used together, one after the other."""
        return Usage(
            round(self.cpu_s + later.cpu_s, 3),
            max(self.max_rss, later.max_rss),
            max(self.memory, later.memory),
            max(self.tasks, later.tasks),
            max(self.disk, later.disk),
        )


@value
class CollectedFile:
    """One file of an artifact; `path` is relative to the artifact's directory."""

    path: str
    sha256: str
    size: int


@value
class LeftOut:
    """What an artifact's patterns match and is not kept; `reason` completes the sentence "PATH ..."."""

    path: str
    reason: str
