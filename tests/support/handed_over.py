"""A stream that a step hands to a process which is not its own: nobody can end that one, or know of it."""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

#: A program of a step: hands its standard output to whoever listens, and ends when that one says so.
HANDING = """
import array, socket, sys
with socket.socket(socket.AF_UNIX) as given:
    given.connect(sys.argv[1])
    given.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [1]))])
    given.recv(1)
print('last words', flush=True)
"""


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """Give a socket that `HANDING` connects to by this path."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(60)
        yield listener


@contextlib.contextmanager
def taken(listener: socket.socket) -> Iterator[tuple[int, socket.socket]]:
    """Give the stream that was handed over, and the connection that tells the program to end."""
    with listener.accept()[0] as connection:
        connection.settimeout(60)
        _, [(_, _, data)], _, _ = connection.recvmsg(1, socket.CMSG_SPACE(4))
        descriptor = array.array("i", data)[0]
        try:
            yield descriptor, connection
        finally:
            os.close(descriptor)
