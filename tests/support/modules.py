"""Reads the source of tako without importing it: which module imports which, and what stands in it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import field, frozen

SOURCE = Path(__file__).parents[2] / "src" / "tako"


@frozen
class Module:
    """One module: its dotted name, its file and its syntax tree."""

    name: str
    path: Path
    tree: ast.Module = field(repr=False, eq=False)

    @property
    def package(self) -> str:
        """The name directly below `tako`: a package, or a module such as `layout`."""
        return self.name.split(".")[1] if "." in self.name else ""


def _name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def all_modules() -> list[Module]:
    """Give every module of tako."""
    paths = sorted(SOURCE.rglob("*.py"))
    return [Module(_name(path), path, ast.parse(path.read_text(encoding="utf-8"), path)) for path in paths]


def imported(module: Module, known: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Give (dotted name, line) of each import; `from a import b` is `a.b` where that is a module we know."""
    names = frozenset(known)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield (inner if inner in names else base), node.lineno


def _is_function(alias: ast.alias) -> bool:
    return alias.name[0].islower()


def calls(module: Module, of: str) -> Iterator[int]:
    """Give the line of each call of a function of the module `of`; its constants are free to use."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == of and node.func.attr[0].islower():
                yield node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module == of and any(map(_is_function, node.names)):
            yield node.lineno


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Give each cycle of `graph` that a depth-first walk meets, as the names along it."""
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(name: str, trail: list[str]) -> None:
        if name in trail:
            found.append([*trail[trail.index(name) :], name])
        elif name not in done:
            for other in sorted(graph.get(name, ())):
                walk(other, [*trail, name])
            done.add(name)

    for name in sorted(graph):
        walk(name, [])
    return found


def _is_path_text(node: ast.expr) -> bool:
    """Say whether `node` is a constant text that names a place; the root alone is none."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.strip("/ ") != ""


_OPENERS = {"open", "Path", "PurePath", "PurePosixPath", "PosixPath"}


def path_literals(module: Module) -> Iterator[int]:
    """Give the line of each constant text joined to a path (`path / "x"`) or handed to `open` or `Path`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            if _is_path_text(node.left) or _is_path_text(node.right):
                yield node.lineno
        elif isinstance(node, ast.Call) and node.args and _is_path_text(node.args[0]):
            function = node.func
            name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
            is_plain = isinstance(function, ast.Name) or name in {"Path", "PurePath"}
            if name in _OPENERS and is_plain:
                yield node.lineno
