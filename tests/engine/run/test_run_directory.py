from __future__ import annotations

import os
import resource
import threading
from pathlib import Path

import pytest

from tako.engine.run.run_directory import machine_limits, make_directory
from tako.errors import DiskFullError, MachineError
from tako.layout.run import RunDirectory
from tako.system.process.descendants import user_tasks
from tests.support.records import run_id
from tests.support.users import as_ordinary_user


def test_a_run_directory_is_its_owners_alone_and_may_be_there_already(tmp_path: Path) -> None:
    paths = RunDirectory(tmp_path / "children" / run_id(1))
    make_directory(paths)
    make_directory(paths)
    for directory in (paths.path, paths.logs):
        assert directory.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_made_is_the_machines_fault(tmp_path: Path) -> None:
    (tmp_path / "children").write_text("in the way")
    with pytest.raises(MachineError, match=r"the run directory cannot be made: .*children"):
        make_directory(RunDirectory(tmp_path / "children" / run_id(1)))


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(DiskFullError, match=r"no space left while writing .*exec-"):
        make_directory(RunDirectory(tmp_path / "children" / run_id(1)))


def test_what_is_not_declared_is_the_machine_divided_by_the_jobs(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    free = disk.f_bavail * disk.f_frsize
    one, many = machine_limits(tmp_path, 1), machine_limits(tmp_path, 1 << 40)
    assert one.file_size is not None
    assert abs(one.file_size - free) < free // 10 + (1 << 30)
    assert many.file_size == 1 << 30
    assert one.open_files == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert one.cpu_s is None


def test_an_ordinary_user_may_have_so_many_processes_more_than_now(tmp_path: Path) -> None:
    processes = int(as_ordinary_user(tmp_path, lambda: str(machine_limits(Path(), 2).processes)))
    assert 4096 < processes < 100_000


def test_the_number_of_processes_does_not_bind_root_and_is_not_set_for_it(tmp_path: Path) -> None:
    is_root = os.getuid() == 0
    assert (machine_limits(tmp_path, 1).processes is None) == is_root


def test_the_tasks_of_a_user_are_counted_with_their_threads() -> None:
    before = user_tasks()
    done = threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(50)]
    for thread in threads:
        thread.start()
    counted = user_tasks()
    done.set()
    for thread in threads:
        thread.join()
    # Others of the same user come and go meanwhile.
    assert counted > before + 20
