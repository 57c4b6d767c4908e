"""Retries of fetches over a network that fails for a moment; each failure is reported.

In: git's message, or an action that may raise `NetworkError`. Out: whether the failure may go away by itself,
or the action's result. Permanent failures (no such repository, no permission) are not tried again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from tako.errors import MachineError

ATTEMPTS = 3
_WAIT_S = 0.5

# What git, curl, ssh and the TLS libraries say of a network that is not there right now.
_PASSING = re.compile(
    rb"could not resolve host|failed to connect|connection (timed out|refused|reset|closed)"
    rb"|timed out|recv failure|send failure|empty reply from server|transfer closed|early eof|rpc failed"
    rb"|unexpected disconnect|hung up unexpectedly|requested url returned error: (429|5\d\d)"
    rb"|temporary failure|network is unreachable|no route to host|kex_exchange_identification"
    rb"|non-properly terminated|gnutls_handshake|ssl_(connect|read)",
    re.IGNORECASE,
)
_LASTING = re.compile(
    rb"permission denied|authentication failed|host key verification failed|not found|does not exist"
    rb"|access denied|repository .* not",
    re.IGNORECASE,
)

#: After so long people want to know why nothing happens.
SLOW_S = 1.0

_T = TypeVar("_T")


class NetworkError(MachineError):
    """A failure of the network that may go away by itself."""


def is_passing(said: bytes) -> bool:
    """Return whether git's own words are of a network that is not there right now."""
    return bool(_PASSING.search(said)) and not _LASTING.search(said)


def told_if_slow(
    action: Callable[[], _T], what: str, on_note: Callable[[str], None], *, after_s: float = SLOW_S
) -> _T:
    """Return the result of `action`.

    If it takes longer than `after_s`, call `on_note` once with the reason.
    """
    from threading import Timer

    timer = Timer(after_s, on_note, [f"still {what}"])
    timer.daemon = True
    timer.start()
    try:
        return action()
    finally:
        timer.cancel()


def persistently(action: Callable[[], _T], what: str, on_note: Callable[[str], None]) -> _T:
    """Return the result of `action`, after up to two further attempts.

    The last `NetworkError` counts them.
    """
    from tenacity import (
        RetryCallState,
        Retrying,
        retry_if_exception_type,
        stop_after_attempt,
        wait_exponential,
    )

    def tell(state: RetryCallState) -> None:
        assert state.outcome is not None
        error = state.outcome.exception()
        on_note(f"{what}: attempt {state.attempt_number} of {ATTEMPTS} failed, trying again: {error}")

    retrying = Retrying(
        retry=retry_if_exception_type(NetworkError),
        wait=wait_exponential(_WAIT_S),
        stop=stop_after_attempt(ATTEMPTS),
        before_sleep=tell,
        reraise=True,
    )
    try:
        return retrying(action)
    except NetworkError as error:
        message = f"{error.message} ({ATTEMPTS} attempts)"
        raise MachineError(message, hint=error.hint) from error
