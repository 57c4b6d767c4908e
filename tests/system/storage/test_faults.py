"""What the machine refuses is told with its path and what mends it; what only a bug explains is a bug."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from tako.errors import DiskFullError, MachineError, UsageError, WriteFailedError
from tako.system.storage import faults
from tako.system.storage.faults import fault_of, hint_of, mending, words_of
from tests.support.users import as_ordinary_user


def _error(code: int, path: str | None = "/nowhere/file") -> OSError:
    return OSError(code, os.strerror(code), path)


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (_error(errno.EACCES), MachineError, "/nowhere/file cannot be used: Permission denied"),
        (_error(errno.EPERM), MachineError, "/nowhere/file cannot be used: Operation not permitted"),
        (_error(errno.ENOTDIR), MachineError, "/nowhere/file cannot be used: Not a directory"),
        (_error(errno.ELOOP), MachineError, "/nowhere/file cannot be used: Too many levels"),
        (_error(errno.EROFS), WriteFailedError, "/nowhere/file cannot be used: Read-only"),
        (_error(errno.EIO, None), WriteFailedError, "a file cannot be used: Input/output error"),
        (_error(errno.ENOSPC), DiskFullError, "no space left while writing /nowhere/file"),
        (_error(errno.EMFILE, None), MachineError, "may open no more than"),
        (_error(errno.ENFILE, None), MachineError, "the machine has no more open files"),
        (_error(errno.EAGAIN, None), MachineError, "not enough processes left"),
        (_error(errno.ENOMEM, None), MachineError, "not enough memory left"),
        (MemoryError(), MachineError, "not enough memory"),
    ],
)
def test_what_the_machine_refuses_is_no_bug(
    error: BaseException, kind: type[MachineError], told: str
) -> None:
    fault = fault_of(error)
    assert type(fault) is kind
    assert told in fault.message
    assert fault.hint


@pytest.mark.parametrize(
    "error",
    [
        _error(errno.EBADF),
        _error(errno.EINVAL),
        _error(errno.ENOENT),
        _error(errno.EACCES, None),
        ValueError("x"),
        None,
    ],
)
def test_an_error_that_only_our_mistake_explains_is_a_bug(error: BaseException | None) -> None:
    assert fault_of(error) is None


def test_the_limit_of_open_files_is_named() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    fault = fault_of(_error(errno.EMFILE))
    assert fault is not None
    assert str(soft) in fault.message
    assert "ulimit -n" in fault.hint


def test_the_obstacle_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = _error(errno.ENOTDIR, str(tmp_path / "file" / "below"))
    assert f"{tmp_path / 'file'} is in the way" in hint_of(fault_of(error) or MachineError(""))


def test_a_link_that_leads_nowhere_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    fault = fault_of(_error(errno.ENOENT, str(tmp_path / "link")))
    assert fault is not None
    assert "is in the way" in fault.hint


def test_of_two_names_the_second_is_reported() -> None:
    error = OSError(errno.EACCES, "no", "/from", None, "/to")
    assert "/to cannot be used" in words_of(error)


def test_a_failure_without_a_hint_has_that_of_what_is_behind_it() -> None:
    failed = MachineError("git cannot be started")
    failed.__cause__ = _error(errno.EMFILE, None)
    assert "ulimit -n" in words_of(failed)
    failed.__cause__ = ValueError()
    assert words_of(failed) == "git cannot be started"
    assert words_of(UsageError("wrong", hint="do right")) == "wrong; do right"
    assert words_of(ValueError("odd")) == "odd"


# --- the command that mends ---


@pytest.mark.parametrize(
    ("path", "mode", "asked", "told"),
    [
        ("file", 0, "file", "chmod u+rw file"),
        ("one", 0, "one/two/file", "chmod u+rwx one"),
        ("one/two", 0o600, "one/two/file", "chmod u+rwx one/two"),
        ("one", 0o500, "one/new", "chmod u+rwx one"),
        ("one/two/file", 0o400, "one/two/file", "chmod u+rw one/two/file"),
    ],
)
def test_the_mending_command_names_what_is_in_the_way(
    tmp_path: Path, path: str, mode: int, asked: str, told: str
) -> None:
    def ask() -> str:
        os.umask(0)
        Path("one/two").mkdir(parents=True)
        for file in ("file", "one/two/file"):
            Path(file).touch()
        os.chmod(path, mode)
        try:
            return mending(asked)
        finally:
            os.chmod(path, 0o700)

    assert told in as_ordinary_user(tmp_path, ask)


def test_of_another_user_it_is_the_owner_that_is_changed(tmp_path: Path) -> None:
    assert "sudo chown -R" in as_ordinary_user(tmp_path, lambda: mending("/"))


def test_what_is_not_there_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(faults, "_in_the_way", lambda _path: tmp_path / "gone")
    assert mending(tmp_path) == f"`ls -ld {tmp_path / 'gone'}` shows who may use it"
