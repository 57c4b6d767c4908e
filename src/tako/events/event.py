"""The event: what a fan-out emits and every subscription is measured against.

In: names, a schema version and a payload of plain JSON values. Out: a frozen value with a
fingerprint. Raises `UsageError` that says which part is wrong and what was expected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from tako.errors import UsageError
from tako.expressions.canonical import canonical_json
from tako.expressions.semver import parse_version
from tako.layout.names import checked_name
from tako.values import field, value

PAYLOAD_MAX = 1 << 20
DEFAULT_ARTIFACT = "default"


@value
class Event:
    """Something that happened in a repository.

    `source` is the repository as `[host/]owner[/group...]/name`, `run_id` the run that emitted it.
    Making one raises `UsageError`: the type and artifact must be plain names, the schema version a semantic
    version. `checked_event` looks at the payload, which may be large, before the event is emitted.
    """

    type: str
    schema_version: str = "1.0.0"
    payload: Mapping[str, object] = field(factory=dict)
    source: str = ""
    artifact: str = DEFAULT_ARTIFACT
    run_id: str = ""

    def __post_init__(self) -> None:
        """Refuse what no subscription could be measured against."""
        checked_name(self.type, "event type")
        checked_name(self.artifact, "artifact")
        _checked_schema(self.schema_version)


def checked_event(event: Event) -> Event:
    """Give an event back that is about to be emitted; whoever reads it later need not check its payload.

    Raises `UsageError` for a payload that is not JSON of at most 1 MiB.
    """
    length = len(_checked_payload(event.payload))
    if length > PAYLOAD_MAX:
        message = f"the payload of event {event.type!r} has {length} characters, at most {PAYLOAD_MAX}"
        raise UsageError(message)
    return event


def fingerprint(event: Event) -> str:
    """Give the SHA-256 (hex) of what makes two events the same for idempotency.

    That is type, source (repository without regard to case, and artifact), schema version
    and canonical payload; the run that emitted it is not part of it.
    """
    same = [event.type, event.source.lower(), event.artifact, event.schema_version, event.payload]
    return hashlib.sha256(canonical_json(same).encode()).hexdigest()


def _checked_schema(version: str) -> None:
    try:
        parse_version(version)
    except UsageError as error:
        message = f"schema_version: {error.message}"
        raise UsageError(message) from error


def _checked_payload(payload: object) -> str:
    if not isinstance(payload, Mapping):
        message = f"payload: expected a mapping, not a {type(payload).__name__}"
        raise UsageError(message)
    try:
        return canonical_json(payload)
    except UsageError as error:
        message = f"payload: {error.message}"
        raise UsageError(message) from error
