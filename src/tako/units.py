"""Durations as Go writes them, sizes and CPUs as Kubernetes writes them.

In: texts. Out: seconds, bytes and cores, and short texts for people the other way.
What cannot be read is a `ValueError` whose message says what was expected.
"""

from __future__ import annotations

import math
import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

# Go counts nanoseconds in 64 bits (https://pkg.go.dev/time#Duration), so do timers below us.
MAX_DURATION_S = (2**63 - 1) // 10**9
MAX_BYTES = 2**63 - 1

_GO_DURATION = re.compile(r"(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+")
_NUMBER = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")
_QUANTITY = re.compile(
    r"(?P<number>[0-9]+\.?[0-9]*|\.[0-9]+)(?:(?P<suffix>[KMGTPE]i|[mkMGTPE])|[eE](?P<exponent>[+-]?[0-9]+))?"
)
_CPU = re.compile(r"(?P<number>[0-9]+\.?[0-9]*|\.[0-9]+)(?P<milli>m?)")
_EXPONENT_DIGITS = 2
_NUMBER_LENGTH = 40
_DURATION_LENGTH = 100


def parse_duration(text: str) -> float:
    """Return the seconds of a Go duration such as `1h30m`, `1.5s` or `0`.

    Raises `ValueError` for anything else: no unit, negative, beyond 292 years.
    """
    import durationpy

    if text == "0":
        return 0.0
    if text.startswith("-"):
        message = f"{text!r} is negative; expected a duration such as 30s, 5m or 1h30m"
        raise ValueError(message)
    if _NUMBER.fullmatch(text):
        message = f"{text!r} has no unit; expected a duration such as {text}s or {text}m"
        raise ValueError(message)
    # durationpy also takes days, years and junk between two parts: the shape is checked here.
    if len(text) > _DURATION_LENGTH or not _GO_DURATION.fullmatch(text):
        message = (
            f"{_short(text)} is not a duration; expected one such as 30s, 5m or 1h30m (units: ms, s, m, h)"
        )
        raise ValueError(message)
    try:
        seconds: float = durationpy.from_str(text).total_seconds()
    except durationpy.DurationError:
        seconds = math.inf
    if seconds > MAX_DURATION_S:
        message = f"{text!r} is too long; at most {MAX_DURATION_S // 3600}h"
        raise ValueError(message)
    return seconds


def format_duration(seconds: float) -> str:
    """Return a short text for people: `340ms`, `1.2s`, `2m03s`, `1h02m`."""
    if seconds < 0:
        return "-" + format_duration(-seconds)
    if round(seconds * 1000) < 1000:
        return f"{round(seconds * 1000)}ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}s"
    if round(seconds) < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}h{minutes:02d}m"


@cache
def _suffixes() -> dict[str, Decimal]:
    """Powers: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/ ."""
    from decimal import Decimal

    return {
        "": Decimal(1),
        "m": Decimal("0.001"),
        **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", start=1)},
        **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)},
    }


def parse_quantity(value: str | int) -> int:
    """Return the bytes of a Kubernetes quantity such as `512Mi`, `2G`, `1e3` or `4096`, fractions rounded up.

    Raises `ValueError` for anything else: unknown suffix, negative, beyond 64 bits.
    """
    from decimal import ROUND_CEILING, Decimal

    text = _as_text(value, "a size")
    match = _QUANTITY.fullmatch(text)
    exponent = (match["exponent"] or "0") if match else "0"
    if not match or len(text) > _NUMBER_LENGTH:
        raise ValueError(_quantity_problem(text))
    scale = Decimal(10) ** int(exponent) if len(exponent.lstrip("+-")) <= _EXPONENT_DIGITS else None
    amount = (
        Decimal(match["number"]) * _suffixes()[match["suffix"] or ""] * scale if scale is not None else None
    )
    if amount is None or amount > MAX_BYTES:
        message = f"{text!r} is out of range; at most {MAX_BYTES} bytes"
        raise ValueError(message)
    return int(amount.to_integral_value(rounding=ROUND_CEILING))


def format_bytes(count: int) -> str:
    """Return a short text for people: `512 B`, `1.5 KiB`, `2.0 GiB`."""
    if abs(count) < 1024:
        return f"{count} B"
    size = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        size /= 1024
        if round(abs(size), 1) < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} EiB"


def parse_cpu(value: str | float) -> float:
    """Return the cores of a Kubernetes CPU quantity such as `500m`, `1.5` or `2`; at least `1m`.

    Raises `ValueError` for anything else.
    """
    text = _as_text(value, "a number of CPUs")
    match = _CPU.fullmatch(text)
    if not match or len(text) > _NUMBER_LENGTH:
        message = f"{_short(text)} is not a number of CPUs; expected one such as 500m, 1.5 or 2"
        raise ValueError(message)
    cores = float(match["number"]) / (1000 if match["milli"] else 1)
    if cores < 0.001:
        message = f"{text!r} is too little; at least 1m, a thousandth of a CPU"
        raise ValueError(message)
    return cores


def _as_text(value: str | float, what: str) -> str:
    if isinstance(value, bool):
        message = f"a boolean is not {what}"
        raise ValueError(message)  # noqa: TRY004  one kind of error for whatever was written
    return str(value)


def _quantity_problem(text: str) -> str:
    if text.startswith("-"):
        return f"{_short(text)} is negative; expected a size such as 512Mi or 2G"
    if text.endswith("K") and _QUANTITY.fullmatch(text[:-1]):
        return (
            f"{_short(text)} has an unknown suffix; did you mean {text[:-1]}Ki (1024) or {text[:-1]}k (1000)?"
        )
    return f"{_short(text)} is not a size; expected one such as 512Mi, 2G or 1048576"


def _short(text: str) -> str:
    return repr(text if len(text) <= _NUMBER_LENGTH else text[:_NUMBER_LENGTH] + "...")
