from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts import coverage_thresholds


def _file(covered: int, total: int, branches: int | None = None) -> dict[str, Any]:
    return {
        "summary": {
            "covered_lines": covered,
            "num_statements": total,
            "covered_branches": covered if branches is None else branches,
            "num_branches": total,
        }
    }


def _report(directory: Path, **covered: int) -> str:
    files = {f"src/tako/{name}/module.py": _file(count, 100) for name, count in covered.items()}
    path = directory / "coverage.json"
    path.write_text(json.dumps({"files": files | {"src/tako/recovery/__init__.py": _file(0, 0)}}))
    return str(path)


def _main(report: str) -> int:
    return coverage_thresholds.main(report, Path(report).parent)


def test_enough_everywhere_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(_report(tmp_path, engine=95, cli=90)) == 0
    assert "TOO LOW" not in capsys.readouterr().out


def test_one_package_below_its_own_threshold_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(_report(tmp_path, engine=94, cli=100)) == 1
    low = [line for line in capsys.readouterr().out.splitlines() if "TOO LOW" in line]
    assert [line.split()[1] for line in low] == ["engine"]


def test_too_little_overall_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(_report(tmp_path, engine=96, cli=80)) == 1
    assert "coverage all" in capsys.readouterr().out.splitlines()[-1]


def test_a_package_without_code_is_not_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _main(_report(tmp_path, engine=100)) == 0
    assert "recovery" not in capsys.readouterr().out


def test_lines_and_branches_are_compared_together_and_branches_are_told_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "coverage.json"
    path.write_text(json.dumps({"files": {"src/tako/engine/module.py": _file(100, 100, branches=92)}}))
    assert _main(str(path)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "coverage engine          96.00 %  branches  92.00 %",
        "coverage all             96.00 %  branches  92.00 %",
    ]


def test_a_file_that_nothing_has_run_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("engine/module.py", "engine/forgotten.py", "engine/__init__.py"):
        file = tmp_path / "src" / "tako" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("" if name.endswith("__init__.py") else "x = 1\n")
    assert _main(_report(tmp_path, engine=100)) == 1
    assert "coverage src/tako/engine/forgotten.py was never run" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("src/tako/engine/steps/shell.py", "engine"),
        ("/home/tako/checkout/src/tako/journal/log.py", "journal"),
        ("src/tako/layout.py", ""),
    ],
)
def test_a_file_belongs_to_the_package_directly_below_tako(file: str, package: str) -> None:
    assert coverage_thresholds.package_of(file) == package
