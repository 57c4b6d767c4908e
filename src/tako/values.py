"""Classes of plain values: `@value` is frozen, `@mutable` is not; what both cost is paid at first use.

In: a class with annotated fields, as dataclasses and attrs take them. Out: the same class with `__init__`,
equality, hash and repr. attrs, and dataclasses more so, compile these when a module is imported; tako has
some 150 such classes, of which a command uses a few: here `__init__` is compiled when the first instance is
made, and the others are shared functions. Type checkers know both by `dataclass_transform` (PEP 681).

attrs' introspection takes the classes for its own (`attrs.fields`, and so cattrs), and is imported only then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, dataclass_transform, overload

T = TypeVar("T")


class _Missing:
    """No default: the argument must be given."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


class FrozenValueError(AttributeError):
    """Somebody tried to change a value that does not change."""


class Field:
    """One field: its name, its default or what makes it, and where it counts."""

    __slots__ = ("alias", "default", "eq", "factory", "kw_only", "name", "repr")

    def __init__(
        self,
        *,
        default: Any,  # noqa: ANN401 - whatever the field holds
        factory: Callable[[], Any] | None,
        repr: bool,  # noqa: A002 - as in dataclasses and attrs
        eq: bool,
        kw_only: bool,
        alias: str,
    ) -> None:
        self.name = ""
        self.default = default
        self.factory = factory
        self.repr = repr
        self.eq = eq
        self.kw_only = kw_only
        self.alias = alias

    def made_default(self) -> Any:  # noqa: ANN401 - whatever the field holds
        """The default, made anew if it has a factory; `MISSING` if the argument must be given."""
        return self.factory() if self.factory is not None else self.default


def field(
    *,
    default: Any = MISSING,  # noqa: ANN401 - whatever the field holds
    factory: Callable[[], Any] | None = None,
    repr: bool = True,  # noqa: A002 - as in dataclasses and attrs
    eq: bool = True,
    kw_only: bool = False,
    alias: str = "",
) -> Any:  # noqa: ANN401 - assigned to a field of any type
    """Say more about a field than its type: a default or its `factory`, whether repr and equality look at it.

    `alias` is the name of its argument, for a field with a leading underscore.
    """
    return Field(default=default, factory=factory, repr=repr, eq=eq, kw_only=kw_only, alias=alias)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(kind: type[T]) -> type[T]:
    """Make a class of frozen values of `kind`; changing one raises `FrozenValueError`."""
    _prepare(kind)
    for name, function in (("__setattr__", _refuse_change), ("__delattr__", _refuse_change)):
        setattr(kind, name, function)
    _compare_by_fields(kind)
    kind.__hash__ = _hash  # type: ignore[method-assign]
    return kind


@overload
def mutable(kind: type[T], /) -> type[T]: ...
@overload
def mutable(*, eq: bool = True) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(field_specifiers=(field,))
def mutable(kind: type[T] | None = None, /, *, eq: bool = True) -> type[T] | Callable[[type[T]], type[T]]:
    """Make a class whose instances may change; with `eq=False` each is equal to itself alone."""

    def made(kind: type[T]) -> type[T]:
        _prepare(kind)
        if eq:
            _compare_by_fields(kind)
            kind.__hash__ = None  # type: ignore[method-assign,assignment]
        return kind

    return made if kind is None else made(kind)


def fields(kind: type) -> tuple[Field, ...]:
    """The fields of a class made here, in order; raises `TypeError` for any other class."""
    try:
        found: tuple[Field, ...] = kind.__value_fields__  # type: ignore[attr-defined]
    except AttributeError as error:
        message = f"{kind!r} is no class of values"
        raise TypeError(message) from error
    return found


def is_value_class(kind: object) -> bool:
    """Return whether `kind` is a class made here."""
    return isinstance(kind, type) and hasattr(kind, "__value_fields__")


def evolve(instance: T, **changes: Any) -> T:  # noqa: ANN401 - whatever the fields hold
    """A copy with some fields changed; raises `TypeError` for a field that does not exist."""
    for one in fields(type(instance)):
        if one.alias not in changes:
            changes[one.alias] = getattr(instance, one.name)
    return type(instance)(**changes)


def asdict(instance: object) -> dict[str, Any]:
    """The fields by name, also of what they hold; sequences stay sequences, mappings become dictionaries."""
    return {one.name: _plain(getattr(instance, one.name)) for one in fields(type(instance))}


def _plain(held: object) -> object:
    if is_value_class(type(held)):
        return asdict(held)
    if isinstance(held, Mapping):
        return {key: _plain(item) for key, item in held.items()}
    if isinstance(held, list | tuple | set | frozenset):
        return type(held)(_plain(item) for item in held)
    return held


# --- what a class gets -----------------------------------------------------------------------


class _AttrsFields:
    """The fields as attrs has them, made when somebody asks (attrs.fields)."""

    def __get__(self, instance: object, owner: type) -> Any:  # noqa: ANN401 - a tuple class of attrs'
        from attrs import NOTHING, Factory, make_class
        from attrs import field as attrs_field

        made = {}
        for one in fields(owner):
            default = NOTHING if one.default is MISSING else one.default
            default = Factory(one.factory) if one.factory is not None else default
            hint = _hints(owner)[one.name]
            made[one.name] = attrs_field(
                default=default, repr=one.repr, eq=one.eq, kw_only=one.kw_only, alias=one.alias, type=hint
            )
        twin = make_class(owner.__name__, made)
        found = getattr(twin, "__attrs_attrs__")  # noqa: B009 - no type checker knows it
        owner.__attrs_attrs__ = found  # type: ignore[attr-defined]
        return found


def _hints(kind: type) -> dict[str, Any]:
    from typing import get_type_hints

    return get_type_hints(kind, include_extras=True)


def _prepare(kind: type) -> None:
    found = {one.name: one for base in kind.__mro__[1:] for one in base.__dict__.get("__value_fields__", ())}
    own = kind.__dict__.get("__annotations__", {})  # noqa: RUF063 - importing inspect would cost more than it all
    for name, hint in own.items():
        if not str(hint).startswith(("ClassVar", "typing.ClassVar")):
            found.pop(name, None)
            found[name] = _own_field(kind, name)
    kind.__value_fields__ = tuple(found.values())  # type: ignore[attr-defined]
    kind.__match_args__ = tuple(one.name for one in found.values() if not one.kw_only)  # type: ignore[attr-defined,misc]
    kind.__attrs_attrs__ = _AttrsFields()  # type: ignore[attr-defined]
    kind.__init__ = _first_init  # type: ignore[misc]
    if "__repr__" not in kind.__dict__:
        kind.__repr__ = _repr  # type: ignore[method-assign,assignment]


def _own_field(kind: type, name: str) -> Field:
    said = kind.__dict__.get(name, MISSING)
    one: Field = said if isinstance(said, Field) else field(default=said)
    if said is one:
        # Else a missing argument would be found on the class.
        delattr(kind, name)
    one.name = name
    one.alias = one.alias or name
    return one


def compile_init(kind: type) -> None:
    """Pay now what the first instance of a class would cost: in a process that is forked later."""
    if kind.__dict__["__init__"] is _first_init:
        kind.__init__ = _compiled_init(kind)  # type: ignore[misc]


def _first_init(self: object, *given: object, **named: object) -> None:
    """Compile the class's own `__init__`, which takes the place of this one, and call it."""
    kind = next(base for base in type(self).__mro__ if "__value_fields__" in base.__dict__)
    compile_init(kind)
    self.__init__(*given, **named)  # type: ignore[misc]


def _compiled_init(kind: type) -> Any:  # noqa: ANN401 - a function of any arguments
    known: dict[str, object] = {"_set": object.__setattr__, "_missing": MISSING}
    positional: list[str] = ["self"]
    named: list[str] = []
    body: list[str] = []
    for number, one in enumerate(fields(kind)):
        argument = one.alias
        if one.factory is not None:
            known[f"_factory_{number}"] = one.factory
            body.append(f"if {argument} is _missing: {argument} = _factory_{number}()")
            argument += "=_missing"
        elif one.default is not MISSING:
            known[f"_default_{number}"] = one.default
            argument += f"=_default_{number}"
        (named if one.kw_only else positional).append(argument)
        body.append(f"_set(self, {one.name!r}, {one.alias})")
    if hasattr(kind, "__post_init__"):
        body.append("self.__post_init__()")
    arguments = ", ".join([*positional, *(["*", *named] if named else [])])
    source = f"def __init__({arguments}):\n " + "\n ".join(body or ["pass"])
    exec(compile(source, f"<__init__ of {kind.__qualname__}>", "exec"), known)  # noqa: S102 - of our own names
    return known["__init__"]


def _compare_by_fields(kind: type) -> None:
    if "__eq__" not in kind.__dict__:
        kind.__eq__ = _eq  # type: ignore[method-assign,assignment]


def _refuse_change(self: object, name: str, *_: object) -> None:
    message = f"{name!r} of a {type(self).__name__} cannot be changed"
    raise FrozenValueError(message)


_Compared = tuple[str, ...]
_COMPARED: dict[type, _Compared] = {}


def _compared(kind: type) -> _Compared:
    if kind not in _COMPARED:
        _COMPARED[kind] = tuple(one.name for one in fields(kind) if one.eq)
    return _COMPARED[kind]


def _eq(self: object, other: object) -> Any:  # noqa: ANN401 - true, false or `NotImplemented`
    if other.__class__ is not self.__class__:
        return NotImplemented
    return all(getattr(self, name) == getattr(other, name) for name in _compared(self.__class__))


def _hash(self: object) -> int:
    return hash((self.__class__, *(getattr(self, name) for name in _compared(self.__class__))))


def _repr(self: object) -> str:
    shown = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in fields(type(self)) if one.repr)
    return f"{type(self).__name__}({shown})"
