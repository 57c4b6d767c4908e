"""The codec's own structuring beside that of cattrs, which would cost each start of tako 40 ms."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import cattrs
import pytest
from hypothesis import given, settings

from tako.journal.codec import encode, structure
from tako.journal.parts import Held
from tests.support.records import KINDS, any_of

_ASIDE = ("kind", "inert")


def _exactly(value: Any, kind: type[Any]) -> Any:  # noqa: ANN401 - any scalar
    """Take no number for a text, as cattrs would do by itself."""
    if type(value) is not kind:
        raise TypeError(kind)
    return value


def _number(value: Any, _kind: object) -> float:  # noqa: ANN401 - any scalar
    if type(value) not in (int, float) or not math.isfinite(value):
        raise TypeError(value)
    return float(value)


def _held(value: Any, kind: Any) -> Held:  # noqa: ANN401 - plain JSON
    return structure(value, kind)  # type: ignore[no-any-return]


def _oracle() -> cattrs.Converter:
    converter = cattrs.Converter()
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exactly)
    converter.register_structure_hook(float, _number)
    # How a stored value is written is the codec's own invention.
    converter.register_structure_hook_func(lambda kind: kind == Held, _held)
    return converter


ORACLE = _oracle()


def _is_refused(read: Callable[[Any, Any], object], body: Mapping[str, Any], kind: type[Any]) -> bool:
    try:
        read(body, kind)
    except Exception:  # noqa: BLE001 - each refuses in its own words
        return True
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_every_record_is_read_as_cattrs_reads_it(kind: type[Any]) -> None:
    @settings(max_examples=20)
    @given(any_of(kind))
    def same(record: Any) -> None:  # noqa: ANN401 - a record of that kind
        body = {name: held for name, held in encode(record).items() if name not in _ASIDE}
        assert structure(body, kind) == ORACLE.structure(body, kind) == record
        for name, held in body.items():
            wrong = {**body, name: 7 if isinstance(held, str) else "x"}
            assert _is_refused(structure, wrong, kind)

    same()
