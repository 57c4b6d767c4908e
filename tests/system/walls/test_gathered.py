from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tako.engine.steps.sandbox import can_hold
from tako.layout.machine import DEV_SHM
from tako.sandbox.policy import Mount
from tako.system.walls.gathered import gather
from tako.system.walls.veils import Veils, enter_veiled
from tests.support.isolations import need
from tests.support.users import as_ordinary_user, in_process


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory to which every user has the way."""
    with tempfile.TemporaryDirectory(dir=DEV_SHM) as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path


@pytest.fixture
def settings(public: Path) -> Path:
    """A directory of which some is shown; `place` beside it is where overlays hang."""
    top = public / "settings"
    (top / "many" / "below").mkdir(parents=True)
    (top / "many" / "below" / "file").write_text("below")
    (top / "one").write_text("one")
    (top / "one").chmod(0o664)
    (top / "link").symlink_to("one")
    (top / "other").write_text("not shown")
    (public / "place").mkdir()
    return top


def _look(settings: Path, *names: str) -> str:
    paths = tuple(f"{settings}/{name}" for name in names)
    directories = tuple(path for path in paths if os.path.isdir(path))
    wanted = Veils(f"{settings.parent}/place", directories, shared=str(settings), gathered=paths)
    top = enter_veiled(wanted).gathered
    if not top:
        return "nothing is gathered"
    files = sorted(path for path in Path(top).rglob("*") if not path.is_dir())
    return " ".join(f"{path.relative_to(top)}={path.read_text()}" for path in files)


@pytest.mark.parametrize("by", [lambda _, act: in_process(act), as_ordinary_user])
def test_chosen_files_and_directories_stand_in_a_directory_of_their_own(settings: Path, by: object) -> None:
    need("namespace")
    assert callable(by)
    seen = by(settings.parent, lambda: _look(settings, "one", "link", "many/below"))
    assert seen == "link=one many/below/file=below one=one"


def test_a_file_keeps_who_may_read_it_and_nobody_may_write_it(settings: Path) -> None:
    gather(str(settings), (f"{settings}/one",), lambda path: path, settings.parent / "here")
    assert (settings.parent / "here" / "one").stat().st_mode & 0o777 == 0o444


def test_a_file_that_may_not_be_read_is_there_and_closed(settings: Path) -> None:
    need("namespace")
    (settings / "one").chmod(0o600)

    def look() -> str:
        gather(str(settings), (f"{settings}/one",), lambda path: path, settings.parent / "here")
        held = (settings.parent / "here" / "one").stat()
        return f"{held.st_size} {held.st_mode & 0o777}"

    if os.geteuid() != 0:
        (settings / "one").chmod(0)
    assert as_ordinary_user(settings.parent, look) == "0 0"


def test_what_is_no_file_or_stands_behind_no_overlay_is_not_gathered(settings: Path) -> None:
    os.mkfifo(settings / "fifo")
    for name in ("fifo", "many"):
        with pytest.raises(ValueError, match=name):
            gather(str(settings), (f"{settings}/{name}",), lambda path: path, settings.parent / name)


def test_where_something_cannot_be_gathered_nothing_is(settings: Path) -> None:
    need("namespace")
    os.mkfifo(settings / "fifo")
    assert in_process(lambda: _look(settings, "one", "fifo")) == "nothing is gathered"


@pytest.mark.parametrize(
    ("targets", "held"),
    [
        ({}, True),
        ({"/etc/one": "/a", "/elsewhere": "/b"}, True),
        ({"/etc/other": "/a"}, False),
        ({"/etc/many/new": "/a"}, False),
        ({"/etc": "/a"}, False),
        ({"/etcetera": "/a"}, True),
    ],
)
def test_the_directory_is_shown_if_all_that_is_mounted_in_it_has_a_place(
    settings: Path, targets: Mapping[str, str], held: bool
) -> None:
    mounts = [Mount(source, target) for target, source in targets.items()]
    gathered = settings.rename(settings.parent / "gathered")
    (gathered / "other").unlink()
    assert can_hold(str(gathered), mounts) is held
    assert not can_hold("", mounts)
