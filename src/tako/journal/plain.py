"""Plain JSON as bytes, in the one form that journals and stored values have."""

from __future__ import annotations

import json
from typing import Any


def to_bytes(value: object) -> bytes:
    """Plain JSON in UTF-8, without spaces; raises `ValueError` for what JSON has no word for."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "surrogateescape")


def from_bytes(data: bytes) -> Any:  # noqa: ANN401 - plain JSON
    """Undo `to_bytes`; raises `ValueError` for anything else, NaN among it."""
    return json.loads(data.decode("utf-8", "surrogateescape"), parse_constant=_no_number)


def _no_number(text: str) -> float:
    message = f"{text} is no number"
    raise ValueError(message)
