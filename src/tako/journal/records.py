"""What a journal says: one frozen class for each kind of record, all in the past tense.

Times are seconds since the epoch (UTC). Everything inside is plain JSON once written: `encode`
and `decode` are each other's inverse, and a key that this version does not know is dropped,
so that an older tako reads a newer journal. An unknown kind is refused unless it is `inert`.

Format 2 keeps a large value in a file of its own (journal/stored.py). The kind of a record that refers to
one ends in `/2`: a tako that knows only format 1 refuses it as unknown.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from tako.system.identity import Identity
from tako.values import field, fields, is_value_class, value

#: Statuses that a step, child or run can end with.
SUCCEEDED, FAILED, TIMED_OUT, CANCELLED, SKIPPED = "succeeded", "failed", "timed_out", "cancelled", "skipped"
#: A run whose owner died; no record of its own end exists.
INTERRUPTED = "interrupted"
#: What a run is warned of whose workspace is no longer as its steps have left it.
WORKSPACE_CHANGED = "workspace_changed"

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
    """Why one child failed: `kind` is one of the table in docs/command-line.md, times in seconds."""

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
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Record)}
_INERT = (SandboxEntered, Noted, Warned)
#: What the kind of a record ends in that refers to a stored value.
_FORMAT_2 = "/2"
_STORED = re.compile("sha256:([0-9a-f]{64}):([0-9]{1,12})")


class UnknownRecordError(ValueError):
    """A record of a kind that this version does not know and may not pass over."""


def encode(record: Record) -> dict[str, Any]:
    """Give a record as plain JSON: its kind, its fields without those that hold their default."""
    body: dict[str, Any] = {"kind": type(record).__name__ + (_FORMAT_2 if _refers(record) else "")}
    if isinstance(record, _INERT):
        body["inert"] = True
    body.update(_plain(record))
    return body


def decode(body: Any) -> Record | None:
    """Undo `encode`; None for an unknown kind that says it changes no state.

    Raises `UnknownRecordError` for any other unknown kind, `ValueError` or `TypeError` for fields
    that do not fit.
    """
    name = _checked(_checked(body, dict).get("kind", ""), str)
    kind = _KINDS.get(name.removesuffix(_FORMAT_2))
    if kind is not None:
        record: Record = structure(body, kind)
        return record
    if body.get("inert") is True:
        return None
    message = f"unknown kind of record {body.get('kind')!r}: written by a newer tako?"
    raise UnknownRecordError(message)


def _refers(record: Record) -> bool:
    """Whether a record refers to a stored value."""
    event = getattr(record, "event", None)
    held = getattr(record, "inputs", None), event.payload if isinstance(event, EventValue) else None
    return any(isinstance(value, Stored) for value in held)


def _plain(value: Any) -> Any:
    kind: Any = type(value)
    if kind in (str, int, float, bool, type(None)):
        return value
    if kind is Stored:
        return str(value)
    if is_value_class(kind):
        return {
            name: _plain(held)
            for name, default in _defaults(kind)
            if (held := getattr(value, name)) != default
        }
    if isinstance(value, Mapping):
        return {key: _plain(held) for key, held in value.items()}
    return [_plain(held) for held in value]


@cache
def _defaults(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    """Each field with the default under which it is left out."""
    return tuple((one.name, one.made_default()) for one in fields(kind))


def structure(value: Any, kind: Any) -> Any:
    """Make a value of the type `kind` from plain JSON, strictly: a number is not taken for a text.

    Knows classes of values, tuples, mappings, optional types and the JSON scalars, which is all that records
    and segments are made of. (cattrs would cost every start of tako half a budgeted child.)
    """
    return _maker(kind)(value)


@cache
def _maker(kind: Any) -> Callable[[Any], Any]:
    """What makes values of one type: found once, as asking a type what it is takes longer than the making."""
    if kind in (Any, Held):
        return _make_held if kind == Held else lambda value: value
    if is_value_class(kind):
        return partial(_make_value, kind)
    origin, of = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return lambda value: None if value is None else structure(value, of[0])
    if origin is Annotated:
        return lambda value: _within(_number(value), *of[1])
    if origin is tuple:
        return lambda value: _make_tuple(_checked(value, list), of)
    if origin is not None:
        return lambda value: {key: structure(held, of[1]) for key, held in _checked(value, dict).items()}
    if kind is float:
        return _number
    return lambda value: _checked(value, kind)


def _make_value(kind: Any, value: Any) -> Any:
    makers = _makers(kind)
    given = _checked(value, dict).items()
    return kind(**{name: makers[name](held) for name, held in given if name in makers})


@cache
def _makers(kind: type[Any]) -> Mapping[str, Callable[[Any], Any]]:
    known = {one.name for one in fields(kind)}
    return {
        name: _maker(hint)
        for name, hint in get_type_hints(kind, include_extras=True).items()
        if name in known
    }


def _checked(value: Any, kind: type[Any]) -> Any:
    if type(value) is not kind:
        message = f"expected {kind.__name__}, got {value!r}"
        raise TypeError(message)
    return value


def _number(value: Any) -> float:
    number = float(value) if type(value) is int else _checked(value, float)
    if not math.isfinite(number):
        message = f"{number} is no number of seconds"
        raise ValueError(message)
    return number


def _within(number: float, first: float, last: float) -> float:
    if not first <= number <= last:
        message = f"{number:g} is a time that no calendar has"
        raise ValueError(message)
    return number


def _make_held(value: Any) -> Held:
    if type(value) is not str:
        plain: dict[str, Any] = _checked(value, dict)
        return plain
    found = _STORED.fullmatch(value)
    if found is None:
        message = f"expected a reference to a stored value, got {value!r}"
        raise ValueError(message)
    return Stored(found[1], int(found[2]))


def _make_tuple(value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(structure(held, kinds[0]) for held in value)
    return tuple(structure(held, kind) for held, kind in zip(value, kinds, strict=True))
