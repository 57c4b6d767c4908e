"""Places of mounts that lie in what a step may write."""

from __future__ import annotations

from pathlib import Path

import pytest

from tako.sandbox.mount_places import check_led, placed
from tako.sandbox.policy import Mount
from tako.sandbox.started import SandboxFailedError


def _mounts(directory: Path) -> tuple[Mount, Mount, Mount]:
    for name in ("home", "tool"):
        (directory / name).mkdir()
    (directory / "file").write_text("")
    return (
        Mount(str(directory / "home"), "/home/me", writable=True),
        Mount(str(directory / "tool"), "/home/me/.tool/bin"),
        Mount(str(directory / "file"), "/home/me/.tool/env"),
    )


def test_what_tako_shows_by_itself_is_led_out_of_nothing_that_steps_may_write(tmp_path: Path) -> None:
    (tmp_path / "written").mkdir()
    (tmp_path / "written" / "tool").symlink_to("..")
    tool, written = f"{tmp_path}/written/tool", (f"{tmp_path}/written",)
    check_led(tool, ())
    with pytest.raises(SandboxFailedError, match=f"a link leads it out of {written[0]}"):
        check_led(tool, written)


def test_places_in_a_writable_mount_are_made(tmp_path: Path) -> None:
    mounts = _mounts(tmp_path)
    assert placed(mounts) == mounts
    assert (tmp_path / "home/.tool/bin").is_dir()
    assert (tmp_path / "home/.tool/env").is_file()


def test_a_link_in_the_way_is_refused(tmp_path: Path) -> None:
    mounts = _mounts(tmp_path)
    (tmp_path / "home" / ".tool").symlink_to(tmp_path / "tool")
    with pytest.raises(SandboxFailedError, match=r"/home/me/\.tool/bin cannot be shown: a step has put"):
        placed(mounts)
    assert list((tmp_path / "tool").iterdir()) == []


def test_what_lies_in_a_read_only_mount_is_there_already(tmp_path: Path) -> None:
    home, tool, _ = _mounts(tmp_path)
    closed = Mount("/dev/null", "/home/me/.tool/bin/secret")
    assert placed((home, tool, closed)) == (home, tool, closed)
    assert list((tmp_path / "tool").iterdir()) == []


def test_what_is_shown_writable_at_the_same_place_is_not_mounted_again(tmp_path: Path) -> None:
    outer, inner = (Mount(path, path, writable=True) for path in (str(tmp_path), f"{tmp_path}/a/b"))
    assert placed((outer, inner)) == (outer,)
    assert list(tmp_path.iterdir()) == []
