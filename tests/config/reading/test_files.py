from __future__ import annotations

import os
from pathlib import Path

import pytest

from tako.config.loader import load_config, load_config_file
from tako.errors import ConfigError, NotFoundError

_GOOD = "version: 0.1.0\nworkflows: {hello: {steps: [{run: echo hello}]}}\n"


def _told(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config_file(path)
    return caught.value.message


def _refused(data: bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(data, "tako.yml")
    return caught.value.message


def test_a_missing_file_is_not_found_and_a_minimal_one_is_shown(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        load_config_file(tmp_path / "tako.yml")
    assert caught.value.message == f"{tmp_path / 'tako.yml'} does not exist"
    assert load_config(caught.value.hint.split(":", 1)[1].encode().replace(b"\n    ", b"\n"), "x").workflows


def test_a_file_is_read_with_its_digest_and_name(tmp_path: Path) -> None:
    path = tmp_path / "tako.yml"
    path.write_text(_GOOD)
    config = load_config_file(path)
    assert list(config.workflows) == ["hello"]
    assert config.file == str(path)
    assert config.digest == load_config(_GOOD.encode(), "other").digest
    assert len(config.digest) == 64


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf" + _GOOD.encode(), _GOOD.replace("\n", "\r\n").encode()])
def test_a_byte_order_mark_and_windows_lines_do_no_harm(data: bytes) -> None:
    assert load_config(data, "tako.yml").workflows["hello"].steps[0].run == "echo hello"


def test_windows_lines_in_a_script_become_plain_ones() -> None:
    lines = [
        "version: 1",
        "workflows:",
        "  a:",
        "    steps:",
        "      - run: |",
        "          one",
        "          two",
        "",
    ]
    text = "\r\n".join(lines)
    assert load_config(text.encode(), "tako.yml").workflows["a"].steps[0].run == "one\ntwo\n"


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "tako.yml:1:1: the file is empty"),
        (b" \n\n", "tako.yml:1:1: the file is empty"),
        (b"\xef\xbb\xbf", "tako.yml:1:1: the file is empty"),
        (b"a: 1\nb\0", "tako.yml:2:2: it holds a NUL byte: a binary file?"),
        (b"\x7fELF\x02\x01\x01\0\0", "it holds a NUL byte"),
        (b"\xff\xfea\0", "it is UTF-16; save it as UTF-8"),
        (b"a: \xc3\xa9\xff", "tako.yml:1:5: byte 0xff is not UTF-8"),
        (b"\xef\xbb\xbfa: \xff", "tako.yml:1:4: byte 0xff is not UTF-8"),
        (b"a: \x1b[0m", "tako.yml:1:4: the control character '\\x1b' cannot be used"),
        (b"a: 1\n#" + b"x" * 1024 * 1024, "tako.yml:1:1: it is larger than 1024 KiB"),
    ],
)
def test_binary_data_are_refused_with_their_place(data: bytes, told: str) -> None:
    assert told in _refused(data)


def test_an_empty_file_shows_a_minimal_one() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(b"", "tako.yml")
    assert "a minimal tako.yml" in caught.value.hint


def test_a_script_of_nearly_a_mebibyte_is_taken() -> None:
    script = "x" * 900_000
    text = f"version: 1.0\nworkflows: {{a: {{steps: [{{run: {script}}}]}}}}\n"
    assert load_config(text.encode(), "tako.yml").workflows["a"].steps[0].run == script


def test_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tako.yml").mkdir()
    assert "it is not a regular file" in _told(tmp_path / "tako.yml")


def test_a_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tako.yml")
    assert "it is not a regular file" in _told(tmp_path / "tako.yml")


def test_a_device_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tako.yml").symlink_to("/dev/zero")
    assert "leads out of its directory" in _told(tmp_path / "tako.yml")


def test_a_path_through_a_file_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(_GOOD)
    assert "it cannot be read: Not a directory" in _told(tmp_path / "file" / "tako.yml")


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "tako.yml").open("wb") as file:
        file.truncate(10 * 1024**3)
    assert "it is larger than 1024 KiB" in _told(tmp_path / "tako.yml")


def test_a_link_inside_of_the_directory_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.yml").write_text(_GOOD)
    (tmp_path / "tako.yml").symlink_to("real.yml")
    assert load_config_file(tmp_path / "tako.yml").version == "0.1.0"


def test_a_link_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("password: hunter2\n")
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "tako.yml").symlink_to("../secret")
    told = _told(tmp_path / "repo" / "tako.yml")
    assert "it is a link that leads out of its directory" in told
    assert "hunter2" not in told


def test_a_dangling_link_inside_is_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "tako.yml").symlink_to("nowhere.yml")
    with pytest.raises(NotFoundError):
        load_config_file(tmp_path / "tako.yml")


def test_a_link_to_itself_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "tako.yml").symlink_to("tako.yml")
    told = _told(tmp_path / "tako.yml")
    assert "it is a link that leads nowhere" in told or "it cannot be read" in told
