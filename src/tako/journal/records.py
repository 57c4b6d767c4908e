"""What a journal says: one frozen class for each kind of record, all in the past tense.

Times are seconds since the epoch (UTC). Everything inside is plain JSON once written: `encode`
and `decode` are each other's inverse, and a key that this version does not know is dropped,
so that an older tako reads a newer journal. An unknown kind is refused unless it is `inert`.

Format 2 keeps a large value in a file of its own (journal/stored.py). The kind of a record that refers to
one ends in `/2`: a tako that knows only format 1 refuses it as unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tako.journal.parts import ChildExecutionError, CollectedFile, EventValue, Held, LeftOut, Moment, Usage
from tako.system.process.identity import Identity
from tako.values import field, value

#: What a run is warned of whose workspace is no longer as its steps have left it.
WORKSPACE_CHANGED = "workspace_changed"


@value
class RunStarted:
    """A run began; all that is needed to run it again stands here."""

    at: Moment
    run_id: str
    root_run_id: str
    repository: str
    branch: str
    commit: str
    workflow: str
    inputs: Held
    source: str
    config_digest: str
    isolation: str
    identity: Identity
    temporary: str
    version: str
    parent_run_id: str = ""
    parent_step: str = ""
    event: EventValue | None = None
    ancestors: tuple[tuple[str, str], ...] = ()
    tracked_changes: str = ""
    #: The steps the run has, in order, so that a reader can say which ones never began.
    steps: tuple[str, ...] = ()
    #: The root run works in the user's own checkout, `source`.
    in_place: bool = False
    keep: bool = False
    #: Of a root run: the isolation level that was asked for on the command line.
    isolation_asked: str = ""
    #: Of a root run: a warning of some kinds fails its fan-outs.
    strict: bool = False


@value
class SegmentStarted:
    """A new process took the run on: a later segment, or another attempt at one."""

    at: Moment
    segment: int
    attempt: int
    identity: Identity
    temporary: str


@value
class RunResumed:
    """Somebody took up a run that had ended without success, or whose tako had died.

    `reset` names the steps that run again, `children` the children that do. `interrupted_at` is when the last
    thing happened before: the time since then does not count. What the user's checkout is now stands in
    the last three; empty where it is as it was.
    """

    at: Moment
    interrupted_at: Moment
    reset: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    #: The workspace is not what the journal says: it is made anew, and the run starts over.
    starts_over: bool = False
    #: Its timeout had passed or it had ended by itself: its time begins anew.
    time_anew: bool = False
    commit: str = ""
    config_digest: str = ""
    tracked_changes: str = ""
    version: str = ""


@value
class RunRestarted:
    """A step failed whose `retry` says `clean`: all steps run again, in a workspace made anew."""

    at: Moment
    step: str
    message: str


@value
class WorkspaceRebuilt:
    """The workspace was made anew, as a restart or a resume had asked for."""

    at: Moment


@value
class CheckoutSeen:
    """The user's checkout as the root run's steps left it when a fan-out was reached."""

    at: Moment
    commit: str
    tracked_changes: str = ""


@value
class StepStarted:
    """A step's process is about to start."""

    at: Moment
    step: str
    attempt: int
    idempotency_key: str
    #: Bytes that earlier attempts have left in its log.
    log_offset: int = 0


@value
class StepFinished:
    """A step ended, was left out (`skipped`), or a fan-out step was closed by the root."""

    at: Moment
    step: str
    attempt: int
    status: str
    duration_s: float = 0.0
    exit_code: int | None = None
    signal: str = ""
    limit: str = ""
    limit_value: int | None = None
    message: str = ""
    tolerated: bool = False
    outputs: Mapping[str, Any] = field(factory=dict)
    environment: Mapping[str, str] = field(factory=dict)
    usage: Usage = field(factory=Usage)
    last_lines: tuple[str, ...] = ()
    #: Of a fan-out: the counts of its FanOutResult.
    counts: Mapping[str, int] = field(factory=dict)


@value
class ArtifactCollected:
    """Files that a step produced lie in the run's artifacts directory."""

    at: Moment
    step: str
    artifact: str
    files: tuple[CollectedFile, ...]
    #: What each link points to.
    links: Mapping[str, str] = field(factory=dict)
    empty_directories: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


@value
class EventEmitted:
    """A fan-out step was reached: the segment ends here and the root goes on."""

    at: Moment
    step: str
    event: EventValue
    wait_for_children: bool = True
    timeout_s: float | None = None
    concurrency_limit: int | None = None
    on_child_failure: str = "fail"


@value
class SubscriptionFiltered:
    """A subscription to the event that does not run, and why; `skipped` if it runs elsewhere in the tree."""

    at: Moment
    step: str
    repository: str
    workflow: str
    reason: str
    skipped: bool = False


@value
class ChildPlanned:
    """A child will run, with everything pinned."""

    at: Moment
    step: str
    run_id: str
    repository: str
    branch: str
    commit: str
    workflow: str
    inputs: Held
    #: Which of the subscriptions in its tako.yml, counted from 0.
    subscription: int = 0


@value
class FanOutPlanned:
    """All children of a fan-out are planned: nothing is added to it after this."""

    at: Moment
    step: str
    found: int
    children: int


@value
class ChildFinished:
    """A child and its whole subtree settled."""

    at: Moment
    step: str
    run_id: str
    status: str
    duration_s: float = 0.0
    outputs: Mapping[str, Any] = field(factory=dict)
    error: ChildExecutionError | None = None


@value
class WorkerDied:
    """The process that executed the run is proven dead; the segment is tried again if attempts are left."""

    at: Moment
    attempt: int
    message: str


@value
class StopRequested:
    """Somebody asked tako to end the whole tree."""

    at: Moment
    signal: str


@value
class RunFinished:
    """The run's own steps have ended."""

    at: Moment
    status: str
    duration_s: float = 0.0
    message: str = ""
    #: Of `ChildExecutionError`; not named `kind`, which in the file is the kind of record.
    error_kind: str = ""
    outputs: Mapping[str, Any] = field(factory=dict)


@value
class RunSettled:
    """Of the root run only: the whole tree has ended; nothing follows."""

    at: Moment
    status: str
    exit_code: int


@value
class SandboxEntered:
    """What a segment's steps were really held by; changes no state."""

    at: Moment
    level: str
    #: Each a thing the kernel enforces, in words.
    enforced: tuple[str, ...]


@value
class Noted:
    """Something worth reading that changes no state."""

    at: Moment
    message: str
    step: str = ""


@value
class Warned:
    """What a result has to be read with, found while a fan-out was planned or later; changes no state.

    `about` is one of `repositories/caveats.py` or `WORKSPACE_CHANGED`; `reason` is a sentence, `repository`
    may be empty.
    """

    at: Moment
    about: str
    reason: str
    repository: str = ""
    step: str = ""


Record = (
    RunStarted
    | RunResumed
    | RunRestarted
    | WorkspaceRebuilt
    | CheckoutSeen
    | SegmentStarted
    | StepStarted
    | StepFinished
    | ArtifactCollected
    | EventEmitted
    | SubscriptionFiltered
    | ChildPlanned
    | FanOutPlanned
    | ChildFinished
    | WorkerDied
    | StopRequested
    | RunFinished
    | RunSettled
    | SandboxEntered
    | Noted
    | Warned
)
