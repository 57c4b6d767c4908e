"""Files without a name that processes keep: counted while they are open or mapped, and once."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tako.system.accounting.held import nameless_files, nameless_mappings

MIB = 1 << 20
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_PROT_READ, _MAP_SHARED = 1, 1


@pytest.fixture
def removed(tmp_path: Path) -> Iterator[int]:
    """An open file of 1 MiB, and a hole as large, that has no name."""
    path = tmp_path / "removed"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    os.write(descriptor, bytes(MIB))
    os.ftruncate(descriptor, 2 * MIB)
    path.unlink()
    yield descriptor
    os.close(descriptor)


def _devices(path: Path) -> set[int]:
    return {path.stat().st_dev}


def test_an_open_file_without_a_name_counts_once_with_its_real_size(tmp_path: Path, removed: int) -> None:
    pids, devices = (os.getpid(), os.getpid()), _devices(tmp_path)
    another = os.dup(removed)
    try:
        assert MIB <= nameless_files(pids, devices) < MIB + 65536
    finally:
        os.close(another)


def test_files_with_a_name_and_files_elsewhere_do_not_count(tmp_path: Path, removed: int) -> None:
    with (tmp_path / "named").open("wb") as named:
        named.write(bytes(5 * MIB))
        named.flush()
        assert nameless_files((os.getpid(),), _devices(tmp_path)) < 2 * MIB
    memory = os.memfd_create("held")
    try:
        os.write(memory, bytes(MIB))
        assert nameless_files((os.getpid(),), {removed, -1}) == 0
    finally:
        os.close(memory)


def test_a_process_that_ended_holds_nothing(tmp_path: Path) -> None:
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    assert nameless_files((gone,), _devices(tmp_path)) == 0
    assert nameless_mappings((gone,), _devices(tmp_path)) == 0


@pytest.mark.usefixtures("removed")
def test_of_too_many_descriptors_others_are_looked_at_each_time(tmp_path: Path) -> None:
    held = [os.dup(0) for _ in range(20)]
    try:
        found = [nameless_files((os.getpid(),), _devices(tmp_path), most=10) for _ in range(200)]
    finally:
        for descriptor in held:
            os.close(descriptor)
    assert max(found) >= MIB
    assert min(found) == 0


def test_a_file_that_is_only_mapped_counts_with_what_its_mappings_span(tmp_path: Path) -> None:
    path = tmp_path / "mapped"
    path.write_bytes(bytes(MIB))
    descriptor = os.open(path, os.O_RDONLY)
    places = [_libc.mmap(None, MIB, _PROT_READ, _MAP_SHARED, descriptor, 0) for _ in range(2)]
    os.close(descriptor)
    try:
        assert nameless_mappings((os.getpid(),), _devices(tmp_path)) == 0
        path.unlink()
        assert nameless_files((os.getpid(),), _devices(tmp_path)) == 0
        assert nameless_mappings((os.getpid(),), _devices(tmp_path)) == MIB
    finally:
        for place in places:
            _libc.munmap(place, MIB)
