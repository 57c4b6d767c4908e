"""Whether locks between processes work is tried, not believed."""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path

import pytest

from tako.errors import MachineError
from tako.system.storage.lock_probe import probe_locks


def test_locks_that_work_are_remembered_for_this_boot_and_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "index" / "probed"
    probe_locks(tmp_path / "locks", remember=memory)
    assert list((tmp_path / "locks").iterdir()) == []
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    probe_locks(tmp_path / "locks", remember=memory)
    memory.write_text("another boot")
    with pytest.raises(MachineError, match="locks do not work"):
        probe_locks(tmp_path / "locks", remember=memory)


def test_without_a_memory_it_is_tried_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe_locks(tmp_path)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(MachineError, match="locks do not work"):
        probe_locks(tmp_path)


def test_locks_that_everybody_gets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fcntl.lockf

    def granted_to_all(file: object, operation: int) -> None:
        real(file, fcntl.LOCK_UN if operation & fcntl.LOCK_EX else operation)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "lockf", granted_to_all)
    with pytest.raises(MachineError, match="another process was granted a lock held here"):
        probe_locks(tmp_path)


def test_a_file_system_that_refuses_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_file: object, _operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    with pytest.raises(MachineError, match="No locks available"):
        probe_locks(tmp_path)
