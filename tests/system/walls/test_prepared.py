from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tako.engine.workers import worker
from tako.layout.machine import DEV_SHM
from tako.system.walls import prepared
from tako.system.walls.namespaces import mount_memory
from tako.system.walls.prepared import prepare
from tako.system.walls.veils import Hung, Veils
from tests.support.isolations import need
from tests.support.users import as_ordinary_user, in_process

_SPACES = ("user", "mnt", "ipc")


def _by_caller(_: Path, act: Callable[[], str]) -> str:
    return in_process(act)


def _spaces() -> list[str]:
    return [os.readlink(f"/proc/self/ns/{name}") for name in _SPACES]


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory to which every user has the way."""
    with tempfile.TemporaryDirectory(dir=DEV_SHM) as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path


@pytest.fixture
def shown(public: Path) -> Path:
    top = public / "shown"
    for name in ("shown", "place", "own"):
        (public / name).mkdir(mode=0o755)
    (top / "file").write_text("shown")
    return top


@pytest.mark.parametrize("by", [_by_caller, as_ordinary_user])
def test_each_worker_has_a_copy_in_which_nothing_of_the_one_before_is_mounted(
    shown: Path, by: Callable[[Path, Callable[[], str]], str]
) -> None:
    need("namespace")
    own = shown.parent / "own"

    def act() -> str:
        outside = _spaces()
        made = prepare(Veils(f"{shown.parent}/place", (str(shown),)))
        assert made is not None
        assert _spaces() == outside
        assert not list((shown.parent / "place").iterdir())

        def work() -> str:
            made.enter()
            seen = Path(made.hung.machine[str(shown)], "file").read_text()
            left = [path.name for path in own.iterdir()]
            mount_memory(own, 1 << 16)
            (own / "left").touch()
            return f"{seen} {left} {set(outside) & set(_spaces())}"

        found = [in_process(work), in_process(work)]
        made.close()
        return " ".join(found)

    assert by(shown.parent, act) == "shown [] set() shown [] set()"


def test_what_cannot_be_prepared_each_worker_tries_for_itself(
    shown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("namespace")

    def refuse(_: object) -> None:
        raise OSError(1, "refused")

    monkeypatch.setattr(prepared, "enter_veiled", refuse)
    veils = Veils(f"{shown.parent}/place", (str(shown),))
    assert prepare(veils) is None

    def work() -> str:
        # Neither is a namespace.
        ends = socket.socketpair()
        worker.enter_prepared(prepared.Prepared(ends[0].fileno(), ends[1].fileno(), Hung()), veils)
        assert worker._veiled is not None
        return Path(worker._veiled.machine[str(shown)], "file").read_text()

    assert in_process(work) == "shown"
