from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tako.cli.commands.validate import command
from tako.errors import NotFoundError

_GOOD = """\
version: 1.0
workflows:
  build:
    on: exec
    inputs: {bump: {default: patch}, name: {}}
    steps: [{run: x}]
  react: {steps: [{run: "echo {{ .event.type }}"}]}
"""


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, standalone_mode=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tako.yml"
    path.write_text(_GOOD)
    return path


def test_a_right_file_is_summed_up_with_its_workflows(file: Path) -> None:
    done = _run(str(file))
    assert done.return_value == 0
    assert done.stdout.splitlines()[1:] == [
        f"{file}: ok, 2 workflows, 0 subscriptions",
        "  build (on exec): bump?, name",
        "  react (on exec, event)",
    ]
    assert done.stdout.splitlines()[0].endswith("add '| shell_quote' (warning)")


def test_a_directory_means_its_tako_yml(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run(str(file.parent)).return_value == 0
    (file.parent / "below").mkdir()
    monkeypatch.chdir(file.parent / "below")
    assert f"{file}: ok" in _run().stdout


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    done = _run(str(tmp_path / "none.yml"))
    assert isinstance(done.exception, NotFoundError)
    assert done.exception.message == f"{tmp_path / 'none.yml'} does not exist"


def test_every_problem_is_a_line_and_the_exit_code_is_2(file: Path) -> None:
    file.write_text("version: 3\nworkflow: {}\n")
    done = _run(str(file))
    assert done.return_value == 2
    assert [line.split(":")[1] for line in done.stdout.splitlines()] == ["1", "2"]


def test_validate_reports_mistakes_inside_expressions_too(file: Path) -> None:
    file.write_text("version: 1.0\nworkflows: {a: {steps: [{run: '{{ .inputs.x }}'}]}}\n")
    done = _run(str(file))
    assert done.return_value == 2
    assert "there is no 'inputs.x'" in done.stdout
    assert "ok" not in done.stdout


def test_an_empty_file_is_answered_with_a_minimal_one(file: Path) -> None:
    file.write_text("")
    done = _run(str(file))
    assert done.return_value == 2
    assert "a minimal tako.yml" in done.stderr


def test_json_holds_the_same(file: Path) -> None:
    good = json.loads(_run(str(file), "--output", "json").stdout)
    assert (good["ok"], good["problems"], good["workflows"]) == (True, [], ["build", "react"])
    assert good["warnings"][0]["key"] == "workflows.react.steps[0].run"
    file.write_text("version: 3\n")
    bad = _run(str(file), "--output", "json")
    assert bad.return_value == 2
    assert json.loads(bad.stdout) == {
        "file": str(file),
        "ok": False,
        "problems": [
            {
                "file": str(file),
                "line": 1,
                "column": 10,
                "key": "version",
                "message": "expected a version of the format, 0.x or 1.x such as 0.1.0, got '3'",
            }
        ],
        "warnings": [],
        "workflows": [],
        "subscriptions": 0,
    }
