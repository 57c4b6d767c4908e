from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tako.system.accounting.machine import machine_of
from tests.support.modules import SOURCE


def test_what_the_machine_has_is_what_the_kernel_says(tmp_path: Path) -> None:
    found, status = machine_of(tmp_path), os.statvfs(tmp_path)
    assert found.cpus == len(os.sched_getaffinity(0))
    assert found.memory == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < found.memory_available <= found.memory
    assert found.disk == status.f_blocks * status.f_frsize
    assert 0 < found.disk_free <= found.disk


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    done = subprocess.run(
        ["stat", "-f", "-c", "%T", "/dev/shm", "/proc"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [machine_of(Path(place)).file_system for place in ("/dev/shm", "/proc")]
    (tmp_path / "link").symlink_to("/dev/shm")
    assert machine_of(tmp_path / "link").file_system == "tmpfs"


def test_of_two_mounts_in_one_place_the_later_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def mounted(at: str, kind: str) -> object:
        return SimpleNamespace(mountpoint=at, fstype=kind)

    mounts = [mounted("/", "ext4"), mounted(str(tmp_path), "nfs"), mounted(str(tmp_path), "tmpfs")]
    monkeypatch.setattr("psutil.disk_partitions", lambda **_: [*mounts, mounted("/proc", "proc")])
    assert machine_of(tmp_path).file_system == "tmpfs"
    assert machine_of(tmp_path.parent).file_system == "ext4"
    monkeypatch.setattr("psutil.disk_partitions", lambda **_: [])
    assert machine_of(tmp_path).file_system == ""


def test_psutil_is_loaded_only_when_somebody_looks(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tako.system.accounting.machine import machine_of\n"
        f"before = 'psutil' in sys.modules; machine_of(Path({str(tmp_path)!r}))\n"
        "print(before, 'psutil' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={"PATH": os.defpath, "PYTHONPATH": str(SOURCE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "True"]
