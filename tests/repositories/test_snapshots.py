"""What is remembered of a checkout's content becomes a path, so that only a key is believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tako.repositories.snapshots import last_remembered_key, remember_key, remembered_key
from tako.system.storage.directory_trees import TreeSignature

KEY = f"content-{'5' * 64}"
SIGNATURE = TreeSignature("5f" * 32, 0, 1)


def test_a_key_is_remembered(tmp_path: Path) -> None:
    remember_key(tmp_path / "main", SIGNATURE, KEY, 10**18)
    assert remembered_key(tmp_path / "main", SIGNATURE) == KEY
    assert last_remembered_key(tmp_path / "main") == KEY


@pytest.mark.parametrize("content", ["../../../etc", "/etc", "", "content-x", f"{KEY}/..", None, 5, [KEY]])
def test_anything_else_is_forgotten(tmp_path: Path, content: Any) -> None:  # noqa: ANN401 - what JSON can say
    record = {"signature": SIGNATURE.hex, "self_contained": True, "content": content}
    (tmp_path / "main").write_text(json.dumps(record))
    assert remembered_key(tmp_path / "main", SIGNATURE) == ""
    assert last_remembered_key(tmp_path / "main") == ""


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 20_000])
def test_what_is_no_record_is_forgotten(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "main").write_bytes(data)
    assert last_remembered_key(tmp_path / "main") == ""
