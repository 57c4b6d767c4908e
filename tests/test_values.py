from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from functools import cached_property
from typing import ClassVar

import attrs
import pytest

from tako.values import (
    FrozenValueError,
    asdict,
    evolve,
    field,
    fields,
    is_value_class,
    mutable,
    value,
)
from tests.support.modules import SOURCE


@value
class Point:
    x: int
    y: int = 0
    #: Not a field.
    ORIGIN: ClassVar[tuple[int, int]] = (0, 0)


@value
class Named(Point):
    names: Mapping[str, str] = field(factory=dict)
    _hidden: str = field(default="", repr=False, eq=False, alias="hidden")
    told: bool = field(default=False, kw_only=True)

    @cached_property
    def length(self) -> int:
        return len(self.names)


@value
class Checked:
    x: int

    def __post_init__(self) -> None:
        if self.x < 0:
            message = "negative"
            raise ValueError(message)


@mutable
class Count:
    of: str
    seen: list[int] = field(factory=list)


@mutable(eq=False)
class Thing:
    of: str = ""


def test_arguments_go_in_by_place_by_name_and_by_default() -> None:
    assert Point(1) == Point(1, 0) == Point(y=0, x=1)
    assert Named(1, 2, {"a": "b"}, "s", told=True)._hidden == "s"
    assert Named(1, hidden="s")._hidden == "s"


@pytest.mark.parametrize(
    ("given", "named"), [((), {}), ((1, 2, 3), {}), ((1,), {"z": 2})], ids=["too few", "too many", "unknown"]
)
def test_wrong_arguments_are_refused_the_first_time_and_later(
    given: tuple[int, ...], named: Mapping[str, int]
) -> None:
    @value
    class Fresh:
        x: int
        y: int = 0

    for _ in range(2):
        with pytest.raises(TypeError, match="argument"):
            Fresh(*given, **named)
    with pytest.raises(TypeError, match="argument"):
        Named(1, 2, {}, "", True)  # type: ignore[call-arg]


def test_a_value_does_not_change() -> None:
    point = Point(1)
    with pytest.raises(FrozenValueError, match="'x' of a Point cannot be changed"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(FrozenValueError, match="'y' of a Point cannot be changed"):
        del point.y
    with pytest.raises(FrozenValueError, match="'z' of a Point cannot be changed"):
        point.z = 1  # type: ignore[attr-defined]
    assert point.x == 1


def test_equality_and_hash_look_at_the_class_and_the_compared_fields() -> None:
    assert Named(1, hidden="a") == Named(1, hidden="b")
    others: list[object] = [Checked(1), 1]
    assert Point(1) not in others
    assert hash(Point(1)) == hash(Point(1, 0))
    assert len({Point(1), Point(1, 0), Point(2)}) == 2


def test_repr_shows_what_it_may() -> None:
    assert repr(Named(1, hidden="s")) == "Named(x=1, y=0, names={}, told=False)"


def test_a_factory_makes_a_default_for_each() -> None:
    one, other = Count("a"), Count("a")
    one.seen.append(1)
    assert other.seen == []
    assert one != other


def test_what_is_mutable_changes_and_has_no_hash_unless_it_is_itself_alone() -> None:
    count = Count("a")
    count.of = "b"
    assert count == Count("b")
    with pytest.raises(TypeError, match="unhashable"):
        hash(count)
    thing = Thing()
    assert thing != Thing()
    assert len({thing, thing, Thing()}) == 2


def test_what_is_checked_after_the_fields_is_checked_in_copies_too() -> None:
    with pytest.raises(ValueError, match="negative"):
        evolve(Checked(1), x=-1)


def test_evolve_changes_a_copy_and_refuses_unknown_fields() -> None:
    named = Named(1, names={"a": "b"}, hidden="s")
    assert evolve(named, y=5) == Named(1, 5, {"a": "b"})
    assert evolve(named, y=5)._hidden == "s"
    with pytest.raises(TypeError, match="argument"):
        evolve(named, z=1)
    with pytest.raises(TypeError, match="no class of values"):
        evolve(1, x=1)


def test_asdict_goes_into_what_it_holds() -> None:
    assert asdict(Count("a", [1])) == {"of": "a", "seen": [1]}

    @value
    class Outer:
        points: tuple[Point, ...]
        by_name: Mapping[str, Point]

    assert asdict(Outer((Point(1),), {"a": Point(2)})) == {
        "points": ({"x": 1, "y": 0},),
        "by_name": {"a": {"x": 2, "y": 0}},
    }


@pytest.mark.parametrize("made", [Point(1, 2), Named(1, names={"a": "b"}), Count("a", [1])])
def test_a_value_survives_pickling_and_copying(made: object) -> None:
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - our own
    assert copy.deepcopy(made) == made


def test_a_cached_property_is_computed_once_and_no_field() -> None:
    named = Named(1, names={"a": "b"})
    assert (named.length, named.length) == (1, 1)
    assert "length" not in asdict(named)


def test_a_subclass_keeps_the_fields_of_its_base_in_order() -> None:
    assert [one.name for one in fields(Named)] == ["x", "y", "names", "_hidden", "told"]

    @value
    class Other(Point):
        y: int = 7

    assert Other(1).y == 7
    assert [one.name for one in fields(Other)] == ["x", "y"]


def test_a_subclass_that_is_no_class_of_values_itself_is_made_like_its_base() -> None:
    class Plain(Point):
        pass

    assert Plain(1).x == 1
    assert Plain(1) != Point(1)


def test_a_match_takes_it_apart() -> None:
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)


def test_attrs_takes_the_classes_for_its_own() -> None:
    assert attrs.has(Named)
    assert [one.name for one in attrs.fields(Named)] == ["x", "y", "names", "_hidden", "told"]
    assert attrs.fields_dict(Point)["y"].default == 0  # type: ignore[arg-type]
    assert evolve(Point(1), y=2) == Point(1, 2)
    assert is_value_class(Point)
    assert not is_value_class(Point(1))


def test_importing_what_exec_needs_compiles_no_class_and_loads_no_attrs() -> None:
    code = (
        "import sys, tako.engine.root.driver, tako.engine.steps.runner, tako.cli.commands.exec\n"
        "from tako.journal.records import StepStarted\n"
        "print('attr' in sys.modules, 'dataclasses' in sys.modules, StepStarted.__init__.__name__)"
    )
    # Without what has a process measured: coverage itself loads dataclasses.
    environment = {"PATH": os.defpath, "PYTHONPATH": str(SOURCE.parent)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False", "_first_init"]
