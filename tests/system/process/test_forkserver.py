"""How the forkserver is reached."""

from __future__ import annotations

from multiprocessing import connection, util
from pathlib import Path

from tako.system.process.forkserver import forkserver_context
from tests.support.users import in_process


def test_the_forkserver_is_reached_by_a_file_in_a_private_directory_alone(tmp_path: Path) -> None:
    def address() -> str:
        forkserver_context((), str(tmp_path))
        # CPython 3.11.0 asks this before it takes an address that needs no file.
        assert not util.abstract_sockets_supported
        return str(connection.arbitrary_address("AF_UNIX"))  # type: ignore[attr-defined]

    assert Path(in_process(address)).parent == tmp_path
