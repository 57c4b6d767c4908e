"""What repositories may see beyond their workspace, and links that lead out of that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tako.config.schema import Sandbox, SandboxSettings, Settings, Workflow
from tako.engine.run.extra_mounts import extra_mounts, tool_caches
from tako.errors import UsageError
from tako.repositories.reference import parse_repository
from tako.sandbox.policy import Mount

_REPOSITORY = parse_repository("acme/app")


def _mounts(settings: SandboxSettings, asked: Sandbox | None = None) -> tuple[Mount, ...]:
    workflow = Workflow(name="check", sandbox=asked)
    return extra_mounts(Settings(sandbox=settings), {"HOME": "/nowhere"}, _REPOSITORY, workflow)


def _granting(**granted: tuple[str, ...]) -> SandboxSettings:
    return SandboxSettings(repositories={"acme/app": Sandbox(**granted)})


def _grant_with_link(directory: Path) -> tuple[str, str]:
    """A directory with a link that leads out of it, and one that does not."""
    granted, outside = directory / "granted", directory / "outside"
    (granted / "inside").mkdir(parents=True)
    outside.mkdir()
    (granted / "out").symlink_to(outside)
    (granted / "in").symlink_to("inside")
    (granted / "loop").symlink_to("loop")
    return str(granted), str(outside)


@pytest.mark.parametrize("how", ["read", "write"])
def test_a_tako_yml_asks_for_no_link_that_leads_out_of_what_is_granted(tmp_path: Path, how: str) -> None:
    granted, _ = _grant_with_link(tmp_path)
    settings = _granting(**{how: (granted,)})
    for path in (f"{granted}/out", f"{granted}/in/../out", f"{granted}/inside"):
        asked = Sandbox(**{how: (path,)})
        if path.endswith("inside"):
            assert _mounts(settings, asked) == (Mount(path, path, how == "write"),)
            continue
        with pytest.raises(UsageError, match=f"asks to {how} {path}, which config.yml does not grant"):
            _mounts(settings, asked)


def test_a_link_within_what_is_granted_is_followed_when_the_run_is_planned(tmp_path: Path) -> None:
    granted, _ = _grant_with_link(tmp_path)
    asked = Sandbox(read=(f"{granted}/in", f"{granted}/loop", f"{granted}/missing"))
    assert _mounts(_granting(write=(granted,)), asked) == (Mount(f"{granted}/inside", f"{granted}/in"),)


def test_what_everybody_may_read_leads_out_of_no_directory_that_steps_may_write(tmp_path: Path) -> None:
    granted, outside = _grant_with_link(tmp_path)
    everybody = SandboxSettings(read=(f"{granted}/out",))
    assert _mounts(everybody) == (Mount(outside, f"{granted}/out"),)
    for name in ("acme/app", "acme/other"):
        written = SandboxSettings(read=(f"{granted}/out",), repositories={name: Sandbox(write=(granted,))})
        with pytest.raises(UsageError, match=f"out leads out of {granted}, which steps may write"):
            _mounts(written)


def test_no_link_that_a_step_may_make_leads_a_tool_cache_elsewhere(tmp_path: Path) -> None:
    _grant_with_link(tmp_path)
    notes: list[str] = []
    wanted = SandboxSettings(write=("~/granted",), tool_caches=("granted/out", "granted/in", "missing"))
    found = tool_caches(Settings(sandbox=wanted), {"HOME": str(tmp_path)}, notes.append)
    assert found == ((tmp_path / "granted/in", "granted/in"),)
    assert [note.partition(" leads out of ")[0] for note in notes] == ["the tool cache ~/granted/out"]


@pytest.mark.parametrize("path", [".", "tako", "tako/cache/repos", "link", "cache"])
def test_no_step_may_write_what_is_takos_own(tmp_path: Path, path: str) -> None:
    (tmp_path / "link").symlink_to("tako")
    (tmp_path / "beside").mkdir()
    own = (tmp_path / "tako", tmp_path / "cache")

    def mounts(path: Path) -> tuple[Mount, ...]:
        settings = Settings(sandbox=SandboxSettings(write=(str(path),)))
        return extra_mounts(settings, {"HOME": "/nowhere"}, _REPOSITORY, Workflow(name="check"), own=own)

    assert mounts(tmp_path / "beside")
    with pytest.raises(UsageError, match="is tako's own"):
        mounts(tmp_path / path)


@pytest.mark.parametrize("how", ["read", "write"])
def test_no_step_sees_the_private_directories_of_all_takos(tmp_path: Path, how: str) -> None:
    private = tmp_path / "tmp"
    (private / "below").mkdir(parents=True)

    def mounts(path: Path) -> tuple[Mount, ...]:
        granted = (str(path),)
        shown = SandboxSettings(read=granted) if how == "read" else SandboxSettings(write=granted)
        settings = Settings(sandbox=shown)
        workflow = Workflow(name="check")
        return extra_mounts(settings, {"HOME": "/nowhere"}, _REPOSITORY, workflow, private=str(private))

    assert mounts(private / "below")
    for path in (private, tmp_path):
        with pytest.raises(UsageError, match=f"no step may see all of {path}"):
            mounts(path)


def test_links_on_the_way_count_too(tmp_path: Path) -> None:
    granted, _ = _grant_with_link(tmp_path)
    (tmp_path / "way").symlink_to("granted/../granted")
    read = f"{tmp_path}/way/out"
    with pytest.raises(UsageError, match="leads out of"):
        _mounts(SandboxSettings(read=(read,), write=(granted,)))
    read = f"{tmp_path}/way/in"
    assert _mounts(SandboxSettings(read=(read,), write=(granted,)))[0] == Mount(f"{granted}/inside", read)
