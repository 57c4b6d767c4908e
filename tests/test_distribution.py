"""The distribution is `tako-workflows`: the `tako` of the public package index is another project."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tako.sandbox.bubblewrap import HOW
from tests.support.modules import SOURCE

PROJECT = SOURCE.parents[1]
#: An installer, its options, and `tako` as a requirement: alone, with extras or with a version.
_STRANGER = re.compile(
    r"\b(?:pip3?|pipx|uvx?|pdm|poetry|hatch|conda|mamba)\b[^\n`]*?(?:install|add|run|uvx|download|wheel)?"
    r"[^\n`]*?\s['\"]?tako(?:\[[^\]]*\]|[=<>~!]=[^\s'\"]*)?['\"]?(?=[\s`)]|$)"
)


def _ours() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, check=True)
    return [PROJECT / name for name in done.stdout.decode().split("\0") if name]


@pytest.mark.parametrize(
    "line",
    [
        "pip install tako",
        "pip install 'tako[bubblewrap]'",
        "pipx install tako==1.0",
        "uvx tako",
        "uv tool install tako",
    ],
)
def test_what_would_install_a_strangers_package_is_seen(line: str) -> None:
    assert _STRANGER.search(f"    {line}\n")


@pytest.mark.parametrize("line", ["pip install tako-workflows", "pip install 'tako-workflows[bubblewrap]'"])
def test_what_installs_this_project_is_let_pass(line: str) -> None:
    assert not _STRANGER.search(f"    {line}\n")


def test_no_message_document_or_script_installs_a_strangers_package() -> None:
    found = [
        f"{path.relative_to(PROJECT)}: {match[0]}"
        for path in _ours()
        if path != Path(__file__) and path.is_file()
        for match in _STRANGER.finditer(path.read_text("utf-8", "replace"))
    ]
    assert found == []


def test_the_distribution_has_a_name_of_its_own_and_the_command_keeps_its() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "tako-workflows"
    assert list(project["scripts"]) == ["tako"]
    assert [one.name for one in metadata.distribution("tako-workflows").entry_points] == ["tako"]


def test_the_advice_for_bubblewrap_names_an_extra_that_exists() -> None:
    name, extra = re.search(r"pip install '([a-z-]+)\[(\w+)\]'", HOW).groups()  # type: ignore[union-attr]
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert name == project["name"]
    assert extra in project["optional-dependencies"]
