"""From the text of a YAML file to a tree of nodes with places.

The tree is built from the parser's events, in a loop that counts depth and nodes: neither deep
nesting nor aliases that multiply get further than a clear error. In: text. Out: a `Node`, and the
place of every key path. Text that cannot be read at all raises `ConfigError`; what is only
wrong in one place is noted in `Problems`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from tako.config.reading.problems import Problems
from tako.config.reading.yaml_nodes import ListNode, MapNode, Node, Scalar
from tako.config.schema import Mark
from tako.values import field, mutable

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPTH_MAX = 64
NODES_MAX = 50_000
# Each value has a key path: one long key over many values would need gigabytes.
KEYS_MAX = 8 * 1024 * 1024
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_HINTS = (
    (
        "invalid Unicode character escape code",
        r'YAML has no pairs of \u escapes: write the character itself, or as in "\U0001F600"',
    ),
    ("mapping values are not allowed", "a text that holds ': ' must be quoted"),
    ("cannot start any token", "quote the text"),
    ("did not find expected key", "check the indentation and quotes of the lines above"),
)


@mutable
class _Open:
    """A collection whose end has not come yet."""

    mark: Mark
    is_map: bool
    anchor: str | None
    children: list[Node] = field(factory=list)


class _Tree:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._size = 0
        self.root: Node | None = None

    def feed(self, event: yaml.Event) -> None:
        """Take the parser's next event."""
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
            self._start(event)
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            self._end()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            self._problems.stop("expected one document, found a second one ('---')", self._mark(event))

    def _mark(self, event: yaml.Event) -> Mark:
        place: Any = event.start_mark
        return Mark(self._problems.file, place.line + 1, place.column + 1)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        mark = self._mark(event)
        self._refuse_tag(event.tag, mark)
        if "\0" in event.value:
            self._problems.add(mark, "", "a NUL character cannot be used")
        node = Scalar(mark, event.value, quoted=bool(event.style))
        self._count(node.size, mark)
        self._place(node, event.anchor)

    def _start(self, event: yaml.SequenceStartEvent | yaml.MappingStartEvent) -> None:
        mark = self._mark(event)
        self._refuse_tag(event.tag, mark)
        self._refuse_as_key(mark)
        self._count(1, mark)
        if len(self._open) >= DEPTH_MAX:
            self._problems.stop(f"nested more than {DEPTH_MAX} levels deep", mark)
        self._open.append(_Open(mark, isinstance(event, yaml.MappingStartEvent), event.anchor))

    def _end(self) -> None:
        done = self._open.pop()
        children = done.children
        size = 1 + sum(child.size for child in children)
        height = 1 + max((child.height for child in children), default=0)
        if not done.is_map:
            self._place(ListNode(done.mark, tuple(children), size, height), done.anchor)
            return
        keys = (key for key in children[::2] if isinstance(key, Scalar))
        entries = tuple(zip(keys, children[1::2], strict=True))
        self._place(MapNode(done.mark, entries, size, height), done.anchor)

    def _alias(self, event: yaml.AliasEvent) -> None:
        mark = self._mark(event)
        node = self._anchors.get(event.anchor or "")
        if any(waiting.anchor == event.anchor for waiting in self._open):
            self._problems.stop(f"the alias *{event.anchor} is inside of its own anchor", mark)
        if node is None:
            self._problems.stop(f"the alias *{event.anchor} has no anchor &{event.anchor} before it", mark)
        if not isinstance(node, Scalar):
            self._refuse_as_key(mark)
        if len(self._open) + node.height > DEPTH_MAX:
            self._problems.stop(f"nested more than {DEPTH_MAX} levels deep", mark)
        self._count(node.size, mark)
        self._place(node, None)

    def _refuse_tag(self, tag: str | None, mark: Mark) -> None:
        if tag is not None:
            self._problems.add(
                mark,
                "",
                f"YAML tags are not supported, found {tag!r}; quote a text that starts with '!'",
            )

    def _refuse_as_key(self, mark: Mark) -> None:
        if self._open and self._open[-1].is_map and len(self._open[-1].children) % 2 == 0:
            quote = 'if this is a template, quote it: "{{ ... }}"'
            self._problems.stop(f"a mapping or list cannot be a key; {quote}", mark)

    def _count(self, nodes: int, mark: Mark) -> None:
        self._size += nodes
        if self._size > NODES_MAX:
            aliases = "aliases counted each time they are used, a long text as several"
            self._problems.stop(f"more than {NODES_MAX} values, {aliases}", mark)

    def _place(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node


def read_tree(text: str, problems: Problems) -> Node:
    """Return the tree of the only document in `text` and fill `problems.marks`.

    Raises `ConfigError` if it is not YAML, or more than the limits of this module allow.
    """
    tree = _Tree(problems)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            tree.feed(event)
    except yaml.YAMLError as error:
        mark, message = _syntax_problem(error, text, problems.file)
        problems.stop(message, mark)
    if tree.root is None or _is_nothing(tree.root):
        problems.stop_empty()
    marks: dict[str, Mark] = {}
    problems.marks = marks
    _index(tree.root, "", marks, problems)
    return tree.root


def child_key(key: str, name: str) -> str:
    """Return the key path of `name` in the mapping at `key`; odd names are quoted: `payload["a.b"]`."""
    if not _PLAIN_KEY.fullmatch(name):
        return f'{key}["{name}"]'
    return f"{key}.{name}" if key else name


def _index(node: Node, key: str, marks: dict[str, Mark], problems: Problems, written: int = 0) -> int:
    """Fill `marks`; return the number of characters in key paths so far."""
    for path, mark, child in _children(node, key, problems):
        marks[path] = mark
        written += len(path)
        if written > KEYS_MAX:
            problems.stop("the keys are too long or too many", mark)
        written = _index(child, path, marks, problems, written)
    return written


def _is_nothing(node: Node) -> bool:
    return isinstance(node, Scalar) and not node.text and not node.quoted


def _children(node: Node, key: str, problems: Problems) -> Iterator[tuple[str, Mark, Node]]:
    if isinstance(node, ListNode):
        for position, item in enumerate(node.items):
            yield f"{key}[{position}]", item.mark, item
    elif isinstance(node, MapNode):
        _check_keys(node, key, problems)
        for name, child in node.entries:
            yield child_key(key, name.text), name.mark, child


def _check_keys(node: MapNode, key: str, problems: Problems) -> None:
    first: dict[str, Mark] = {}
    for name, _ in node.entries:
        path = child_key(key, name.text)
        if name.text in first:
            place = first[name.text]
            where = f"line {place.line}, column {place.column}"
            problems.add(name.mark, path, f"the key {name.text!r} appears twice, first at {where}")
        first.setdefault(name.text, name.mark)
        if name.text == "<<" and not name.quoted:
            problems.add(name.mark, path, "merge keys (<<) are not supported; write the keys out")
        if not name.text:
            problems.add(name.mark, path, "a key is empty")


def _syntax_problem(error: yaml.YAMLError, text: str, file: str) -> tuple[Mark, str]:
    place = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or error)
    context = getattr(error, "context", None)
    mark = Mark(file, place.line + 1, place.column + 1) if place else Mark(file, 1, 1)
    lines = text.splitlines()
    line = lines[mark.line - 1] if mark.line <= len(lines) else ""
    hints = [hint for part, hint in _HINTS if part in problem]
    if "\t" in line[: len(line) - len(line.lstrip())]:
        hints = ["indent with spaces, YAML forbids tabs there"]
    told = f"not valid YAML: {context}, {problem}" if context else f"not valid YAML: {problem}"
    return mark, "; ".join([told, *hints])
