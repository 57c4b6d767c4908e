"""What frozen attrs classes share: equality, hash and repr, written once.

attrs compiles these three for each class when its module is imported. tako has about a hundred such
classes, and half of the time to make one goes there: `@frozen(eq=False, repr=False)` with this base
makes the start of every command a tenth shorter (measured with `scripts/bench step`).
"""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

_Names = tuple[tuple[str, ...], tuple[str, ...]]
_NAMES: dict[type, _Names] = {}


def _fields(kind: type[attrs.AttrsInstance]) -> _Names:
    """The names that equality and hash look at, and those that repr shows."""
    if kind not in _NAMES:
        fields = attrs.fields(kind)
        compared = tuple(field.name for field in fields if field.eq)
        _NAMES[kind] = compared, tuple(field.name for field in fields if field.repr)
    return _NAMES[kind]


class FrozenValue:
    """A frozen attrs class whose instances are equal when their class and compared fields are."""

    __slots__ = ()
    # Every subclass is an attrs class; this one has no fields.
    __attrs_attrs__: ClassVar[tuple[Any, ...]] = ()

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _fields(self.__class__)[0])

    def __hash__(self) -> int:
        kind = self.__class__
        return hash((kind, *(getattr(self, name) for name in _fields(kind)[0])))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in _fields(self.__class__)[1])
        return f"{self.__class__.__name__}({shown})"
