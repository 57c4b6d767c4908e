"""A registration is read back as it was written; anything else is a machine fault that names its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tako.errors import MachineError
from tako.repositories.reference import parse_repository
from tako.repositories.upstream.mirror import Registration, read_registration

COMMIT = "c0" * 20
BRANCHES = {"main": COMMIT, "f/x": COMMIT}
WHOLE = Registration(parse_repository("acme/dep"), "file:///x", "main", BRANCHES, "main")


def test_a_written_registration_is_read(tmp_path: Path) -> None:
    (tmp_path / "dep.json").write_bytes(WHOLE.to_json())
    assert read_registration(tmp_path / "dep.json") == WHOLE
    assert read_registration(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"repository": "../x"},
        {"repository": None},
        {"url": 5},
        {"default_branch": "gone"},
        {"default_branch": None},
        {"branches": []},
        {"branches": {}},
        {"branches": {"main": "-x"}},
        {"branches": {"main": 5}},
        {"branches": {"main": COMMIT, "-x": COMMIT}},
        {"branches": {"main": COMMIT, "a..b": COMMIT}},
        {"pinned_branch": ["main"]},
    ],
)
def test_what_was_never_written_names_its_file_and_what_mends_it(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    file = tmp_path / "dep.json"
    file.write_text(json.dumps(json.loads(WHOLE.to_json()) | change))
    with pytest.raises(MachineError, match=r"dep\.json cannot be read") as caught:
        read_registration(file)
    assert "tako cache add" in caught.value.hint


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 20_000])
def test_what_is_no_record_is_the_same(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "dep.json").write_bytes(data)
    with pytest.raises(MachineError, match=r"dep\.json cannot be read"):
        read_registration(tmp_path / "dep.json")
