"""Whether a subscription takes an event, and if not, why: pure.

Flows in: an event, a subscription, and what evaluates a filter (CEL in tako, anything in a
test). Flows out: `Matched`, or `Filtered` with a sentence for people. Nothing is raised for
what stands in the subscription: one repository's mistake must not stop the fan-out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tako.config.schema import Subscription
from tako.errors import UsageError
from tako.events.event import DEFAULT_ARTIFACT, Event
from tako.events.ranges import parse_range
from tako.events.scope import event_scope
from tako.expressions.errors import FieldMissingError
from tako.layout.names import checked_name
from tako.layout.repository_names import repository_problem, split_host, split_suffix
from tako.values import value

# Takes a filter and the scope; raises `FieldMissingError` or another `UsageError`.
ConditionEvaluator = Callable[[str, Mapping[str, object]], bool]


@value
class Matched:
    """The subscription takes the event."""


@value
class Filtered:
    """It does not; `failed` says that the subscription itself is wrong, not just not meant."""

    reason: str
    failed: bool = False


@value
class ArtifactReference:
    """What a subscription listens to: an artifact of a repository."""

    repository: str
    artifact: str = DEFAULT_ARTIFACT


def parse_artifact(text: str) -> ArtifactReference:
    """Read `[host/]owner[/group...]/name[:artifact]`. Raises `UsageError`."""
    repository, artifact = split_suffix(text)
    if problem := repository_problem(repository):
        message = f"{text!r} is not an artifact: {problem}"
        raise UsageError(message, hint="expected owner/name:artifact")
    return ArtifactReference(
        repository, DEFAULT_ARTIFACT if artifact is None else checked_name(artifact, "artifact")
    )


def same_repository(left: str, right: str) -> bool:
    """Say whether two names mean one repository: no regard to case, nor to a host only one has."""
    left_host, left_path = split_host(left.lower())
    right_host, right_path = split_host(right.lower())
    if left_host and right_host and left_host != right_host:
        return False
    return left_path == right_path


def match(event: Event, subscription: Subscription, evaluate: ConditionEvaluator) -> Matched | Filtered:
    """Decide whether `subscription` takes `event`."""
    try:
        reason = (
            _artifact_reason(event, subscription)
            or _type_reason(event, subscription)
            or _version_reason(event, subscription)
        )
    except UsageError as error:
        return Filtered(error.message, failed=True)
    if reason:
        return Filtered(reason)
    scope = {"event": event_scope(event)}
    for text in subscription.filters:
        filtered = _filter_reason(text, scope, evaluate)
        if filtered:
            return filtered
    return Matched()


def _artifact_reason(event: Event, subscription: Subscription) -> str:
    wanted = parse_artifact(subscription.artifact)
    if not same_repository(wanted.repository, event.source):
        return f"the event comes from {event.source}, not from {wanted.repository}"
    if wanted.artifact != event.artifact:
        return f"the event is about artifact {event.artifact}, not {wanted.artifact}"
    return ""


def _type_reason(event: Event, subscription: Subscription) -> str:
    if event.type in subscription.events:
        return ""
    return f"event type {event.type} is not among {', '.join(subscription.events) or 'none'}"


def _version_reason(event: Event, subscription: Subscription) -> str:
    if parse_range(subscription.schema_version).contains(event.schema_version):
        return ""
    return f"schema version {event.schema_version} is outside {subscription.schema_version}"


def _filter_reason(text: str, scope: Mapping[str, object], evaluate: ConditionEvaluator) -> Filtered | None:
    try:
        holds = evaluate(text, scope)
    except FieldMissingError as error:
        return Filtered(f"filter `{text}` reads a missing field: {error.reason}")
    except UsageError as error:
        return Filtered(f"filter `{text}` failed: {error.message}", failed=True)
    return None if holds else Filtered(f"filter `{text}` is false")
