from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tako.system.walls import namespaces, veils
from tako.system.walls.veils import Veils, behind, enter_veiled, mount_points
from tests.support.isolations import need
from tests.support.users import as_ordinary_user, in_process

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root is somebody else for a moment")


def _by_user(directory: Path, act: Callable[[], str]) -> str:
    return as_ordinary_user(directory, act)


def _by_caller(directory: Path, act: Callable[[], str]) -> str:
    def there() -> str:
        os.chdir(directory)
        return act()

    return in_process(there)


def _told(act: Callable[[], object]) -> str:
    try:
        return str(act())
    except OSError as error:
        return type(error).__name__


def _read(path: str) -> str:
    return _told(lambda: Path(path).read_text())


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    """A directory with a public file, a closed one, a socket that is listened to, and a FIFO that is read."""
    top = tmp_path / "shown"
    top.mkdir(mode=0o755)
    (tmp_path / "place").mkdir()
    (top / "public").write_text("public")
    (top / "closed").write_text("closed")
    (top / "closed").chmod(0o600)
    return top


@pytest.mark.parametrize("by", [_by_caller, _by_user])
def test_nobody_answers_behind_a_veil(
    tmp_path: Path, shown: Path, by: Callable[[Path, Callable[[], str]], str]
) -> None:
    need("namespace")
    os.mkfifo(shown / "fifo")
    (shown / "fifo").chmod(0o666)
    reader = os.open(shown / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    here = os.open(tmp_path, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as server, (shown / "public").open() as held:
        # A path of its own, as that of a test is too long for an address (unix(7)).
        server.bind(f"/proc/self/fd/{here}/shown/s")
        server.listen()
        (shown / "s").chmod(0o777)
        fcntl.flock(held, fcntl.LOCK_EX)

        def look() -> str:
            top = next(iter(enter_veiled(Veils("place", ("shown",))).machine.values()))
            with socket.socket(socket.AF_UNIX) as client, Path(top, "public").open() as file:
                found = [
                    _told(lambda: client.connect(f"{top}/s")),
                    _told(lambda: os.open(f"{top}/fifo", os.O_WRONLY | os.O_NONBLOCK)),
                    _told(lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)),
                    _read(f"{top}/public"),
                    _told(lambda: Path(top, "new").touch()),
                ]
            return " ".join(found)

        assert by(tmp_path, look) == "ConnectionRefusedError OSError None public OSError"
    os.close(reader)
    os.close(here)


@as_root
@pytest.mark.parametrize(
    ("mode", "machine", "read"),
    [(0o755, True, "PermissionError"), (0o755, False, "closed"), (0o700, True, "closed")],
)
def test_root_sees_behind_a_veil_what_others_may(
    tmp_path: Path, shown: Path, mode: int, machine: bool, read: str
) -> None:
    need("namespace")
    shown.chmod(mode)

    def look() -> str:
        before = os.getgroups()
        veils = Veils("place", ("shown",)) if machine else Veils("place", granted=("shown",))
        hung = enter_veiled(veils)
        top = {**hung.machine, **hung.granted}["shown"]
        assert os.getgroups() == before
        return f"{_read(f'{top}/public')} {_read(f'{top}/closed')} {_read('shown/closed')}"

    assert _by_caller(tmp_path, look) == f"public {read} closed"


@as_root
def test_root_that_may_be_nobody_else_has_its_veils_in_its_user_namespace(
    tmp_path: Path, shown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("namespace")
    assert shown.is_dir()

    def refuse(*_: object) -> None:
        raise PermissionError

    for module, name in ((veils, "enter_own_mounts"), (os, "setgroups")):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, refuse)
            seen = _by_caller(
                tmp_path, lambda: _read(f"{enter_veiled(Veils('place', ('shown',))).machine['shown']}/closed")
            )
        assert seen == "closed"


def test_a_directory_with_a_mount_in_it_is_veiled_in_pieces(tmp_path: Path, shown: Path) -> None:
    need("namespace")
    for name in ("one", "two/mounted", "two/other"):
        (shown / name).mkdir(parents=True)
    (shown / "link").symlink_to("one")

    def look() -> str:
        os.chdir("/")
        namespaces.enter_own_namespaces()
        namespaces.mount_memory(shown / "two" / "mounted", 1 << 16)
        assert str(shown / "two" / "mounted") in mount_points()
        hung = veils._hang(Veils(str(tmp_path / "place"), (str(shown), str(tmp_path / "gone"))))
        return " ".join(str(Path(path).relative_to(shown)) for path in hung.machine)

    assert in_process(look) == "one two/mounted two/other"


def test_directories_that_lie_together_share_an_overlay_unless_something_is_mounted_among_them(
    tmp_path: Path, shown: Path
) -> None:
    need("namespace")
    for name in ("one", "two", "three"):
        (shown / name).mkdir()
    (shown / "one" / "file").touch()
    wanted = Veils(str(tmp_path / "place"), (f"{shown}/one", f"{shown}/two"), shared=str(shown))

    def look() -> str:
        machine = enter_veiled(wanted).machine
        seen = Path(behind(f"{shown}/one/file", machine))
        assert seen.is_file()
        assert behind("/elsewhere", machine) == "/elsewhere"
        return " ".join(machine)

    def look_beside_a_mount() -> str:
        namespaces.enter_own_namespaces()
        namespaces.mount_memory(shown / "three", 1 << 16)
        return " ".join(veils._hang(wanted).machine)

    assert in_process(look) == str(shown)
    assert in_process(look_beside_a_mount) == f"{shown}/one {shown}/two"


def test_no_link_that_has_come_into_the_way_is_veiled(tmp_path: Path, shown: Path) -> None:
    need("namespace")
    (tmp_path / "link").symlink_to("shown")
    wanted = Veils("place", ("link", "shown"))
    assert _by_caller(tmp_path, lambda: " ".join(enter_veiled(wanted).machine)) == "shown"


def test_nothing_is_veiled_without_a_place(tmp_path: Path, shown: Path) -> None:
    need("namespace")
    assert _by_caller(tmp_path, lambda: str(enter_veiled(Veils("", (str(shown),))).machine)) == "{}"
    assert _by_caller(tmp_path, lambda: str(enter_veiled(Veils("none", (str(shown),))).machine)) == "{}"


def test_escapes_in_the_table_of_mounts_are_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mountinfo"
    table.write_text("1 2 0:3 / /a\\040b\\134c rw - tmpfs none rw\n2 1 0:4 / /plain rw - tmpfs none rw\n")
    monkeypatch.setattr(veils, "_MOUNTS", str(table))
    assert mount_points() == ("/a b\\c", "/plain")
