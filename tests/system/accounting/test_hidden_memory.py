"""Memory in the kernel, of this very process: it is seen where no size of a process shows it."""

from __future__ import annotations

import mmap
import os
import socket
from contextlib import ExitStack

import pytest

from tako.system.accounting import hidden_memory
from tako.system.accounting.hidden_memory import buffers, in_sockets, page_tables

MIB = 1 << 20
SELF = (os.getpid(),)


def test_tables_of_pages_that_were_only_read_count() -> None:
    before = page_tables(SELF)
    with mmap.mmap(-1, 256 * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as mapped:
        mapped.madvise(mmap.MADV_NOHUGEPAGE)
        # One page of each part that a table tells of.
        assert sum(mapped[place] for place in range(0, 256 * MIB, 2 * MIB)) == 0
        assert page_tables(SELF) - before >= 100 * 4096
    assert page_tables((0x7FFFFFFF,)) == 0


def test_pipes_count_with_their_pages_once_there_are_many() -> None:
    with ExitStack() as stack:
        for number in range(70):
            for descriptor in (pipe := os.pipe()):
                stack.callback(os.close, descriptor)
            if number < 40:
                os.write(pipe[1], b"x")
        before, _ = buffers(SELF)
        assert 40 * 4096 <= before <= 40 * 65536 + MIB
        # Nothing is taken out by looking.
        os.write(pipe[1], b"y")
        buffers(SELF)
        assert os.read(pipe[0], 2) == b"y"


def test_sockets_count_with_what_they_hold() -> None:
    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(40)]
        for one, other in pairs:
            stack.enter_context(one)
            stack.enter_context(other)
            one.setblocking(False)
        if os.fstat(pairs[0][0].fileno()).st_ino not in in_sockets():
            pytest.skip("nobody may ask for sockets here")
        before, _ = buffers(SELF)
        for one, _other in pairs:
            one.send(bytes(100_000))
        assert buffers(SELF)[0] - before >= 40 * 100_000


def test_sockets_nobody_can_ask_for_count_with_what_they_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden_memory, "in_sockets", dict)
    with ExitStack() as stack:
        for one, other in [socket.socketpair() for _ in range(40)]:
            stack.enter_context(one)
            stack.enter_context(other)
        assert buffers(SELF)[0] >= 80 * 4096


def test_few_pipes_and_sockets_are_not_asked_and_files_in_memory_count() -> None:
    descriptor = os.memfd_create("held")
    try:
        _, before = buffers(SELF)
        os.write(descriptor, bytes(3 * MIB))
        held, in_files = buffers(SELF)
        assert in_files - before == 3 * MIB
        assert held == 0
    finally:
        os.close(descriptor)
