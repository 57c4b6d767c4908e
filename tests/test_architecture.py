"""The rules of the design that no type checker sees: which way imports point, and what lives only where."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.modules import SOURCE, Module, all_modules, calls, cycles, imported, path_literals
from tests.support.tested_in import TESTED_IN

# From the top down; a module may import what stands below its own package, and its own package.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("report",),
    ("engine",),
    ("validation",),
    ("recovery",),
    ("sandbox",),
    ("repositories",),
    ("events",),
    ("expressions",),
    ("config",),
    ("journal",),
    ("system",),
    ("layout", "units"),
    ("errors", "version"),
    ("exit_codes", "values"),
)
# The same for the packages of the engine.
FLOORS = (
    ("root",),
    ("resume", "workers", "shell"),
    ("fan_out",),
    ("steps",),
    ("scheduler", "run"),
)
FLOOR = {name: number for number, floor in enumerate(FLOORS) for name in floor}
RANK = {name: number for number, layer in enumerate(LAYERS) for name in layer}

# Module: the packages that may import it. A name ending in a dot stands for all below it.
ONLY_IN: dict[str, tuple[str, ...]] = {
    "ctypes": ("tako.system.",),
    "fcntl": ("tako.system.", "tako.repositories.locks"),
    "fasteners": ("tako.repositories.locks",),
    "cel_expr_python": ("tako.expressions.",),
    "jinja2": ("tako.expressions.", "tako.report."),
    "click": ("tako.cli.",),
    "psutil": ("tako.system.",),
}

# Start-up time is budgeted (README, "Speed"): none of these may be loaded before it is used.
HEAVY = {
    "jinja2",
    "rich",
    "tenacity",
    "asyncio",
    "cel_expr_python",
    "re2",
    "cattrs",
    "psutil",
    "concurrent.futures",
}

LINES_MAX, MODULES_MAX = 350, 15
MODULES = all_modules()
NAMES = frozenset(module.name for module in MODULES)


def _offences(rule: Callable[[Module], list[str]]) -> list[str]:
    return [offence for module in MODULES for offence in rule(module)]


def _own_imports(module: Module) -> list[tuple[str, int]]:
    return [(name, line) for name, line in imported(module, NAMES) if name.split(".")[0] == "tako"]


def test_every_package_has_its_place_in_the_order() -> None:
    assert {module.package for module in MODULES} - {""} - RANK.keys() == set()


def test_imports_point_downwards_only() -> None:
    def upward(module: Module) -> list[str]:
        return [
            f"{module.name}:{line} imports {name}"
            for name, line in _own_imports(module)
            if "." in name and RANK[name.split(".")[1]] < RANK.get(module.package, -1)
        ]

    assert _offences(upward) == []


def test_packages_of_the_engine_import_only_those_of_lower_floors() -> None:
    def upward(module: Module) -> list[str]:
        own = module.name.split(".")[2:3]
        return [
            f"{module.name}:{line} imports {name}"
            for name, line in _own_imports(module)
            if module.package == "engine"
            and name.startswith("tako.engine.")
            and name.split(".")[2] not in own
            and FLOOR[name.split(".")[2]] <= FLOOR[own[0]]
        ]

    assert _offences(upward) == []


def test_modules_of_one_layer_do_not_import_each_other() -> None:
    def sideways(module: Module) -> list[str]:
        return [
            f"{module.name}:{line} imports {name}"
            for name, line in _own_imports(module)
            if "." in name
            and name.split(".")[1] != module.package
            and RANK[name.split(".")[1]] == RANK.get(module.package, -1)
        ]

    assert _offences(sideways) == []


def test_no_imports_go_round_in_a_circle() -> None:
    graph = {module.name: {name for name, _ in _own_imports(module)} - {module.name} for module in MODULES}
    assert cycles(graph) == []


def test_nobody_imports_the_package_as_a_whole_or_by_dots() -> None:
    def whole(module: Module) -> list[str]:
        return [
            f"{module.name}:{line} imports {name}"
            for name, line in imported(module, NAMES)
            if name == "tako" or name.startswith(".")
        ]

    assert _offences(whole) == []


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    long = {module.name: len(module.path.read_text(encoding="utf-8").splitlines()) for module in MODULES}
    assert {name: lines for name, lines in long.items() if lines > LINES_MAX} == {}


def test_no_package_has_more_modules_than_one_remembers() -> None:
    rooms = Counter(module.path.parent for module in MODULES if module.path.name != "__init__.py")
    assert {str(room): modules for room, modules in rooms.items() if modules > MODULES_MAX} == {}


def test_every_init_file_is_empty() -> None:
    assert [str(path) for path in SOURCE.rglob("__init__.py") if path.read_bytes()] == []


@pytest.mark.parametrize("guarded", sorted(ONLY_IN))
def test_what_belongs_to_one_package_is_imported_there_alone(guarded: str) -> None:
    def elsewhere(module: Module) -> list[str]:
        if any(
            module.name == place or (place[-1] == "." and module.name.startswith(place))
            for place in ONLY_IN[guarded]
        ):
            return []
        return [
            f"{module.name}:{line}" for name, line in imported(module, NAMES) if name.split(".")[0] == guarded
        ]

    assert _offences(elsewhere) == []


def test_signals_are_sent_and_handled_in_the_system_package_alone() -> None:
    def calling(module: Module) -> list[str]:
        return (
            []
            if module.package == "system"
            else [f"{module.name}:{line}" for line in calls(module, "signal")]
        )

    assert _offences(calling) == []


def test_paths_are_spelled_in_layout_alone() -> None:
    def literals(module: Module) -> list[str]:
        # /proc, /sys and their like are interfaces of the kernel, spelled where system calls are.
        if module.package in ("layout", "system"):
            return []
        return [f"{module.path.name}:{line} in {module.name}" for line in path_literals(module)]

    assert _offences(literals) == []


def test_programs_that_tests_and_scripts_write_down_import_what_there_is() -> None:
    """No type checker reads the programs in their strings."""
    root = SOURCE.parents[1]
    written = re.compile(r"from (tako(?:\.\w+)*) import (\w+)")
    missing = []
    for path in (*root.joinpath("tests").rglob("*.py"), *root.joinpath("scripts").iterdir()):
        if not path.is_file():
            continue
        for module, name in written.findall(path.read_text(encoding="utf-8", errors="replace")):
            place = SOURCE.parent.joinpath(*module.split("."))
            file = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
            known = file.is_file() and re.search(rf"\b{name}\b", file.read_text(encoding="utf-8"))
            if not known and not (place / name).is_dir() and not (place / f"{name}.py").is_file():
                missing.append(f"{path.name}: {module}.{name}")
    assert missing == []


def test_every_module_says_in_its_first_words_what_it_is_for() -> None:
    silent = [
        module.name
        for module in MODULES
        if module.path.name != "__init__.py" and not ast.get_docstring(module.tree)
    ]
    assert silent == []


def test_the_command_line_starts_without_anything_heavy() -> None:
    code = "import sys, tako.cli.main; print(*sorted(sys.modules), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={"PATH": os.defpath, "PYTHONPATH": str(SOURCE.parent)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert set(done.stdout.split()) & HEAVY == set()


# --- tests mirror the source -----------------------------------------------------------------

TESTS = Path(__file__).parent
FILES = sorted(
    path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if path.name != "__init__.py"
)
# Tests of the whole command, of the scripts, and what tests share.
_OF_NO_PACKAGE = {"e2e", "crash", "journals", "scripts", "support", "attacks"}


def test_each_module_has_a_test_file_of_its_name_or_stands_in_the_table_of_those_without() -> None:
    def own(file: str) -> Path:
        folder, _, name = file.rpartition("/")
        return TESTS / folder / f"test_{name}"

    wrong = [file for file in FILES if own(file).is_file() is (file in TESTED_IN)]
    assert wrong == [], "a test file of that name, or a line in tests/support/tested_in.py: one of the two"


def test_the_table_of_modules_without_own_test_file_names_what_exists() -> None:
    assert TESTED_IN.keys() - set(FILES) == set()
    assert [place for place in TESTED_IN.values() if not (TESTS / place).is_file()] == []


def test_each_directory_of_tests_mirrors_a_package() -> None:
    packages = {path.relative_to(SOURCE) for path in SOURCE.rglob("*") if path.is_dir()}
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")} - {Path()}
    stray = {folder for folder in folders if not _OF_NO_PACKAGE & set(folder.parts)} - packages
    assert stray == set()
