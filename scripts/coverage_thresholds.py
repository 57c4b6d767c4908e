"""Compare measured coverage with what each package must reach.

In: the report of `coverage json`. Out: a line for each package and exit code 1 if one is
too low, or if a file of tako is not in the report because nothing has run it. A package without
code is not checked.

What is compared is coverage's own percentage where branches are measured: executed lines and taken branches
of all lines and branches. Behind it stands that of the branches alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path, PurePosixPath
from typing import Any

OVERALL = 90.0
"""Per cent of lines and branches together, as coverage itself adds them up."""

PACKAGES = {"engine": 95.0, "validation": 95.0, "journal": 95.0, "recovery": 95.0, "sandbox": 95.0}

PROJECT = Path(__file__).parents[1]

Counts = tuple[int, int]

LINES, BRANCHES = ("covered_lines", "num_statements"), ("covered_branches", "num_branches")


def package_of(file: str) -> str:
    """Name the package directly below `tako` that `file` belongs to; empty for its top modules."""
    parts = PurePosixPath(file).parts
    inside = parts[len(parts) - parts[::-1].index("tako") :]
    return inside[0] if len(inside) > 1 else ""


def counts_by_package(report: dict[str, Any], *kinds: tuple[str, str]) -> dict[str, Counts]:
    """Add up (covered, all) of `LINES`, `BRANCHES` or both in each package."""
    counts: dict[str, Counts] = {}
    for file, entry in report["files"].items():
        covered, total = counts.get(package_of(file), (0, 0))
        for covered_key, total_key in kinds:
            covered += entry["summary"][covered_key]
            total += entry["summary"][total_key]
        counts[package_of(file)] = covered, total
    return counts


def verdicts(counts: dict[str, Counts]) -> list[tuple[str, float, float]]:
    """Give (name, reached, wanted) in per cent for everything that has code, the whole last."""
    found = [
        (name, 100 * covered / total, PACKAGES.get(name, 0.0))
        for name, (covered, total) in sorted(counts.items())
        if total
    ]
    covered, total = (sum(column) for column in zip(*counts.values(), strict=True))
    return [*found, ("all", 100 * covered / total, OVERALL)]


def never_run(report: dict[str, Any], project: Path) -> list[str]:
    """Name the files of tako with something in them that nothing has run, relative to the project."""
    known = {project / file for file in report["files"]}
    sources = (path for path in (project / "src" / "tako").rglob("*.py") if path.stat().st_size)
    return sorted(str(path.relative_to(project)) for path in sources if path not in known)


def main(report_path: str, project: Path = PROJECT) -> int:
    """Print the verdicts; 1 if any package is below what it must reach, or a file was never run."""
    report = json.loads(Path(report_path).read_text(encoding="utf-8"))
    branches = {name: reached for name, reached, _ in verdicts(counts_by_package(report, BRANCHES))}
    missing = never_run(report, project)
    for file in missing:
        print(f"coverage {file} was never run")
    too_low = bool(missing)
    for name, reached, wanted in verdicts(counts_by_package(report, LINES, BRANCHES)):
        low = reached < wanted
        too_low = too_low or low
        note = f"  TOO LOW, must be {wanted:.0f} %" if low else ""
        alone = f"  branches {branches[name]:6.2f} %" if name in branches else ""
        print(f"coverage {name or 'top modules':<14} {reached:6.2f} %{alone}{note}")
    return int(too_low)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
