"""What templates and conditions see of an event."""

from __future__ import annotations

from tako.events.event import Event


def event_scope(event: Event) -> dict[str, object]:
    """Give the mapping that templates and conditions see as `event`."""
    return {
        "type": event.type,
        "schema_version": event.schema_version,
        "payload": dict(event.payload),
        "source": {"repository": event.source, "artifact": event.artifact},
        "run_id": event.run_id,
    }
