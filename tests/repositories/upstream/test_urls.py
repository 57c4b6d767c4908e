"""Which URLs are fetched from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tako.errors import UsageError
from tako.repositories.reference import parse_repository
from tako.repositories.upstream.urls import checked_url, host_of, is_local, url_of, without_credentials


@pytest.mark.parametrize(
    "url",
    [
        "https://host/a/b.git",
        "ssh://git@host:22/a/b",
        "git@host.example:a/b.git",
        "host:a/b",
        "git://host/a",
        "file:///srv/a",
    ],
)
def test_known_transports_are_taken_as_they_are(url: str) -> None:
    assert checked_url(url) == url


@pytest.mark.parametrize(
    "url", ["", "-x", "--upload-pack=touch x", "ext::sh -c x", "fd::3", "ftp://h/a", "a\nb", "rclone://x"]
)
def test_a_url_that_could_run_a_program_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="cannot be fetched"):
        checked_url(url)


def test_a_path_becomes_an_absolute_file_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert checked_url("some dir/100%") == f"file://{tmp_path}/some%20dir/100%25"
    assert checked_url("~/x") == f"file://{tmp_path}/x"
    os.mkdir("host:dir")
    assert checked_url("host:dir") == f"file://{tmp_path}/host%3Adir"
    assert is_local(checked_url("."))


def test_a_template_is_filled_in() -> None:
    repository = parse_repository("git.example.org/acme/lib")
    assert url_of(repository, "https://{host}/{owner}/{name}.git") == "https://git.example.org/acme/lib.git"
    assert url_of(repository, "git@other:{owner}/{name}") == "git@other:acme/lib"


def test_credentials_are_cut_out_of_any_text() -> None:
    text = "fatal: https://user:s3cret@host/a and ssh://git@host/b"
    assert without_credentials(text) == "fatal: https://host/a and ssh://host/b"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://user:secret@Example.org:8443/acme/lib.git", "example.org:8443"),
        ("ssh://git@example.org/acme/lib", "example.org"),
        ("git@example.org:acme/lib.git", "example.org"),
        ("file:///srv/acme/lib", ""),
        ("", ""),
    ],
)
def test_the_host_of_a_url(url: str, host: str) -> None:
    assert host_of(url) == host
