"""Events as the journal keeps them, and back."""

from __future__ import annotations

from tako.events.event import Event
from tako.journal.parts import EventValue
from tako.journal.stored import Values


def to_value(event: Event) -> EventValue:
    """The event as the journal keeps it."""
    return EventValue(
        type=event.type,
        schema_version=event.schema_version,
        payload=event.payload,
        source=event.source,
        artifact=event.artifact,
        run_id=event.run_id,
    )


def from_value(value: EventValue, values: Values) -> Event:
    """Undo `to_value`, with the payload from the tree's `values` if it is stored.

    Its payload was checked before it was emitted. Raises `UsageError` for a value that is no event,
    `StoredValueError`.
    """
    return Event(
        type=value.type,
        schema_version=value.schema_version,
        payload=values.read(value.payload),
        source=value.source,
        artifact=value.artifact,
        run_id=value.run_id,
    )
