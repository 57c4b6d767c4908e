"""Finds the subscribers of an event: reads the tako.yml of every known repository's default branch.

In: the cache and the event's source, artifact and type. Out: candidates in a fixed order. A
file that does not name the source is not parsed again once it was found to have no mistake: 10,000
repositories are looked through for one event. A tako.yml that cannot be used but names the source is a
candidate with an error, so that nobody who meant to subscribe is left out in silence; of others there is a
caveat. Whatever goes wrong with one repository stays with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from tako.config.loader import load_config
from tako.config.schema import Config, Subscription
from tako.errors import NotFoundError, ReferenceInvalidError, TakoError, UsageError
from tako.layout.names import CONFIG_NAME
from tako.repositories.known import KnownRepository
from tako.repositories.reference import Repository, parse_repository
from tako.repositories.sound_configs import SoundConfigs
from tako.repositories.upstream.faults import own_failure
from tako.values import value

_KEYWORD = b"subscriptions"
# A YAML escape may hide any text: such a file is always parsed.
_ESCAPE = b"\\"
#: So many subscriptions of one repository may answer one event.
SUBSCRIPTIONS_MAX = 100


@value
class Candidate:
    """A subscription to the event, or (with `error`) a tako.yml that may hold one but cannot be used."""

    repository: Repository
    branch: str
    config: Config | None = None
    error: TakoError | None = None
    subscription: Subscription | None = None

    @property
    def workflow(self) -> str:
        """The workflow that it runs; empty for a tako.yml that cannot be used."""
        return self.subscription.workflow if self.subscription else ""

    @property
    def position(self) -> int:
        """Which of its tako.yml's subscriptions it is; 0 where that cannot be read."""
        if self.config is None or self.subscription is None:
            return 0
        return self.config.subscriptions.index(self.subscription)


class Known(Protocol):
    """The part of the cache that discovery needs."""

    def known(self) -> list[KnownRepository]:
        """All repositories, in a fixed order."""

    def default_config_bytes(self, known: KnownRepository) -> bytes:
        """The tako.yml of the default branch."""

    @property
    def sound(self) -> SoundConfigs:
        """The tako.yml files that are known to have no mistake."""

    def leave_out(self, repository: str, reason: str) -> None:
        """Report that a repository that may subscribe is not looked at."""


def subscribes(subscription: Subscription, source: Repository, artifact: str, event_type: str) -> bool:
    """Return whether a subscription is on that artifact of that repository and that type of event.

    Hosts are compared only if both name one; letters' case counts in artifact and type alone.
    """
    text, _, wanted = subscription.artifact.rpartition(":")
    if wanted != artifact or event_type not in subscription.events:
        return False
    try:
        return parse_repository(text).matches(source)
    except ReferenceInvalidError:
        return False


def _names(source: Repository, data: bytes) -> bool:
    return f"{source.owner}/{source.name}".lower().encode() in data.lower()


def _may_subscribe(source: Repository, data: bytes) -> bool:
    return (_KEYWORD in data and _names(source, data)) or _ESCAPE in data


def discover(
    cache: Known, source: str, artifact: str, event_type: str, *, check: Callable[[], None] = lambda: None
) -> Iterator[Candidate]:
    """Return every subscription to `event_type` of `artifact` of the repository named `source`.

    `check` is called before each repository is looked at, and may raise what ends the search.

    Ordered by repository, then by position in its tako.yml. Raises `ReferenceInvalidError` for a source that
    is no repository, `MachineError` if the cache cannot be used.
    """
    repository = parse_repository(source)
    try:
        for known in cache.known():
            check()
            data = _read(cache, known)
            if data is not None and (_may_subscribe(repository, data) or not cache.sound.holds(data)):
                yield from _candidates(cache, known, data, repository, (artifact, event_type))
    finally:
        cache.sound.save()


def _read(cache: Known, known: KnownRepository) -> bytes | None:
    try:
        return cache.default_config_bytes(known)
    except NotFoundError:
        # Without a tako.yml, or vanished since the cache was listed: it subscribes to nothing.
        return None
    except Exception as error:  # noqa: BLE001 - whatever it is, the others must not suffer
        # Whether it subscribes cannot be known.
        cache.leave_out(
            known.repository.text, f"{known.repository.text} is left out: {own_failure(error).message}"
        )
        return None


def _candidates(
    cache: Known, known: KnownRepository, data: bytes, source: Repository, wanted: tuple[str, str]
) -> Iterator[Candidate]:
    where = f"{known.repository.text}:{known.default_branch}"
    try:
        config = load_config(data, f"{where}/{CONFIG_NAME}")
        cache.sound.add(data)
        found = [each for each in config.subscriptions if subscribes(each, source, *wanted)]
        _check_number(found)
    except Exception as error:  # noqa: BLE001 - a broken tako.yml is that repository's failure, not the fan-out's
        failure = own_failure(error)
        if _names(source, data):
            yield Candidate(known.repository, known.default_branch, error=failure)
        else:
            cache.leave_out(known.repository.text, f"{known.repository.text} is left out: {failure.message}")
        return
    for subscription in found:
        yield Candidate(known.repository, known.default_branch, config, None, subscription)


def _check_number(found: list[Subscription]) -> None:
    """Raise `UsageError` for so many that one repository could use up what a whole tree may have."""
    if len(found) > SUBSCRIPTIONS_MAX:
        message = f"{len(found)} of its subscriptions answer this event, at most {SUBSCRIPTIONS_MAX} may"
        raise UsageError(message)
