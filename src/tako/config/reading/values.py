"""Typed reading of a tree of nodes: what a schema asks for, or a noted problem and a default.

A reader never raises for a mistake of the file: it notes it in `Problems` and goes on, so
that all mistakes of a file are reported at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeVar

from tako.config.reading.problems import Problems, did_you_mean
from tako.config.reading.yaml_nodes import ListNode, MapNode, Node, Scalar, kind, resolved
from tako.config.reading.yaml_walk import child_key
from tako.errors import ReferenceInvalidError
from tako.layout.names import checked_name
from tako.values import value

T = TypeVar("T")


@value
class Value:
    """One node, its key path, and where mistakes go."""

    node: Node
    key: str
    problems: Problems

    @property
    def kind(self) -> str:
        """The kind of this value, for messages: `a list`, `a boolean`, `nothing`."""
        return kind(self.node)

    @property
    def is_map(self) -> bool:
        """Whether this is a mapping."""
        return isinstance(self.node, MapNode)

    @property
    def is_list(self) -> bool:
        """Whether this is a list."""
        return isinstance(self.node, ListNode)

    @property
    def is_text(self) -> bool:
        """Whether this may be read as a string: a scalar that is neither a boolean nor nothing."""
        return isinstance(self.node, Scalar) and self.kind not in {"a boolean", "nothing"}

    def fail(self, message: str) -> None:
        """Note a mistake at the value."""
        self.problems.add(self.node.mark, self.key, message)

    def note(self, message: str) -> None:
        """Note a mistake at the key."""
        self.problems.at(self.key, message)

    def expected(self, what: str, then: str = "") -> None:
        """Note that `what` was expected, and what came."""
        self.fail(f"expected {what}, got {self.kind}{then}")

    def text(self) -> str:
        """Return a string; a number keeps the text it was written as, `1.10` stays `1.10`."""
        if self.is_text and isinstance(self.node, Scalar):
            return self.node.text
        self.expected("a string", "; quote it" if self.kind == "a boolean" else "")
        return ""

    def filled_text(self) -> str:
        """Return a string that is not blank."""
        text = self.text()
        if self.kind == "a string" and not text.strip():
            self.fail("expected a text, it is empty")
        return text

    def boolean(self) -> bool:
        """Return `true` or `false`."""
        value = self.data() if self.kind == "a boolean" else None
        if not isinstance(value, bool):
            then = "; unquote it" if isinstance(self.node, Scalar) and self.node.quoted else ""
            self.expected("true or false", then)
            return False
        return value

    def integer(self, minimum: int | None = None, maximum: int | None = None) -> int:
        """Return an integer in a range, both ends included."""
        if self.kind != "an integer":
            self.expected("an integer")
            return minimum or 0
        value = self.data()
        if not isinstance(value, int):
            return minimum or 0
        if minimum is not None and value < minimum:
            self.fail(f"expected at least {minimum}, got {value}")
        if maximum is not None and value > maximum:
            self.fail(f"expected at most {maximum}, got {value}")
        return value

    def number(self) -> float:
        """Return an integer or a float."""
        if self.kind not in {"an integer", "a number"}:
            self.expected("a number")
            return 0
        value = self.data()
        return value if isinstance(value, int | float) else 0

    def choice(self, known: Collection[str]) -> str:
        """Return one of `known`."""
        text = self.text()
        if self.is_text and text not in known:
            self.fail(f"expected one of {', '.join(known)}, got {text!r}")
        return text

    def name(self, what: str) -> str:
        """Return a name that follows the grammar of `layout.names.checked_name`."""
        text = self.text()
        if self.is_text:
            check_name(self, text, what)
        return text

    def converted(self, convert: Callable[[str], T], default: T) -> T:
        """Return what `convert` makes of the text; its `ValueError` is a mistake here."""
        text = self.text()
        if not self.is_text:
            return default
        try:
            return convert(text)
        except ValueError as error:
            self.fail(str(error))
            return default

    def items(self) -> tuple[Value, ...]:
        """Return the items of a list."""
        if not isinstance(self.node, ListNode):
            self.expected("a list")
            return ()
        return tuple(
            Value(item, f"{self.key}[{position}]", self.problems)
            for position, item in enumerate(self.node.items)
        )

    def filled_items(self) -> tuple[Value, ...]:
        """Return the items of a list that is not empty."""
        if isinstance(self.node, ListNode) and not self.node.items:
            self.fail("expected at least one item, the list is empty")
        return self.items()

    def entries(self) -> dict[str, Value]:
        """Return the entries of a mapping with free keys; of a duplicate key, the first."""
        if not isinstance(self.node, MapNode):
            self.expected("a mapping")
            return {}
        found: dict[str, Value] = {}
        for name, child in self.node.entries:
            found.setdefault(name.text, Value(child, child_key(self.key, name.text), self.problems))
        return found

    def table(self, known: Iterable[str]) -> Table:
        """Return the entries of a mapping whose keys must be among `known`."""
        known = tuple(known)
        found = self.entries()
        for name, child in found.items():
            if name not in known and name != "<<" and name:
                child.note(f"unknown key {name!r}{did_you_mean(name, known)}")
        return Table(self, found)

    def data(self) -> object:
        """Return plain data: dict, list, str, int, float, bool, None."""
        if isinstance(self.node, MapNode):
            return {name: child.data() for name, child in self.entries().items()}
        if isinstance(self.node, ListNode):
            return [item.data() for item in self.items()]
        try:
            return resolved(self.node)
        except ValueError as error:
            self.fail(str(error))
            return None


@value
class Table:
    """The entries of a mapping, read by name."""

    value: Value
    entries: Mapping[str, Value]

    def get(self, name: str, read: Callable[[Value], T], default: T) -> T:
        """Return what `read` makes of the entry, `default` if it is not there."""
        found = self.entries.get(name)
        return default if found is None else read(found)

    def need(self, name: str, read: Callable[[Value], T], default: T) -> T:
        """Do as `get`, but note that the key is missing."""
        if name not in self.entries and self.value.is_map:
            self.value.note(f"the key {name!r} is missing")
        return self.get(name, read, default)


def check_name(at: Value, text: str, what: str) -> bool:
    """Note a mistake at `at` unless `text` is a plain name; return whether it is one."""
    try:
        checked_name(text, what)
    except ReferenceInvalidError as error:
        at.note(error.message)
        return False
    return True
