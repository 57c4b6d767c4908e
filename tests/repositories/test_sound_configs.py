"""A tako.yml without mistakes is parsed once; one with a mistake is named each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tako.config.loader import load_config
from tako.repositories import discovery, sound_configs
from tako.repositories.sound_configs import SoundConfigs
from tests.repositories.conftest import CONFIG, OpenCache, OpenedCache
from tests.support.git import write_files

_OTHER = CONFIG.replace("acme/lib", "acme/elsewhere")
_TYPO = _OTHER.replace("subscriptions:", "subscription:")


def _put(open_cache: OpenCache, name: str, config: str) -> None:
    write_files(open_cache().layout.repos / name / "main", {"tako.yml": config})


def _discovered(opened: OpenedCache) -> list[discovery.Candidate]:
    return list(opened.cache.discover("acme/lib", "default", "built"))


def test_a_mistake_is_named_wherever_it_stands_and_each_time(open_cache: OpenCache) -> None:
    _put(open_cache, "acme/typo", _TYPO)
    for _ in range(2):
        opened = open_cache()
        assert _discovered(opened) == []
        [note] = opened.notes
        assert note.startswith("acme/typo is left out: acme/typo:main/tako.yml:")
        assert "unknown key 'subscription'" in note


def test_a_mistake_of_one_that_names_the_source_is_its_own(open_cache: OpenCache) -> None:
    _put(open_cache, "acme/typo", CONFIG.replace("subscriptions:", "subscription:"))
    [candidate] = _discovered(open_cache())
    assert candidate.error is not None
    assert "unknown key 'subscription'" in candidate.error.message


def test_what_has_no_mistake_is_parsed_once(open_cache: OpenCache, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    load = load_config

    def loaded(data: bytes, file: str) -> object:
        parsed.append(file)
        return load(data, file)

    monkeypatch.setattr(discovery, "load_config", loaded)
    _put(open_cache, "acme/other", _OTHER)
    _put(open_cache, "acme/same", _OTHER)
    for _ in range(2):
        assert _discovered(open_cache()) == []
    assert parsed == ["acme/other:main/tako.yml"]
    # What has changed is looked at again.
    _put(open_cache, "acme/other", f"{_OTHER}# changed\n")
    assert _discovered(open_cache()) == []
    assert parsed == ["acme/other:main/tako.yml"] * 2


def test_what_another_tako_found_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "index" / "sound-configs"
    first = SoundConfigs(path)
    first.add(b"a")
    first.save()
    assert SoundConfigs(path).holds(b"a")
    assert not SoundConfigs(path).holds(b"b")
    path.write_bytes(path.read_bytes().replace(b"\n", b"-older\n", 1))
    assert not SoundConfigs(path).holds(b"a")


@pytest.mark.parametrize("left", [b"", b"\xff\xfe", b"\n\n\n"])
def test_a_damaged_memory_is_made_anew(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "sound-configs"
    path.write_bytes(left)
    sound = SoundConfigs(path)
    assert not sound.holds(b"a")
    sound.add(b"a")
    sound.save()
    assert SoundConfigs(path).holds(b"a")


def test_what_cannot_be_written_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "index").write_text("in the way")
    sound = SoundConfigs(tmp_path / "index" / "sound-configs")
    sound.add(b"a")
    sound.save()
    assert not SoundConfigs(tmp_path / "index" / "sound-configs").holds(b"a")


def test_of_too_many_those_that_nobody_asks_for_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound_configs, "_KNOWN_MAX", 2)
    path = tmp_path / "sound-configs"
    first = SoundConfigs(path)
    for data in (b"a", b"b", b"c"):
        first.add(data)
    first.save()
    again = SoundConfigs(path)
    assert again.holds(b"a")
    again.add(b"d")
    again.save()
    assert [SoundConfigs(path).holds(data) for data in (b"a", b"b", b"c", b"d")] == [True, False, False, True]
