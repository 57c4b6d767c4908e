"""Fetching from a real server on loopback that is not well all the time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tako.config.schema import Settings
from tako.errors import MachineError
from tako.layout.home import Home
from tako.repositories.cache import Cache
from tako.repositories.locks import LockManager
from tako.repositories.reference import parse_reference
from tako.repositories.upstream.network import is_passing, told_if_slow
from tests.support.git import Repositories
from tests.support.servers import Server, serving


@pytest.fixture
def server(tmp_path: Path, git_repo: Repositories) -> Iterator[Server]:
    """Give a server of `acme/app`, over git's protocol for plain files."""
    checkout = git_repo("acme/app", {"tako.yml": "version: 0.1.0\nworkflows: {}\n"})
    with serving(checkout, tmp_path / "served", "app") as made:
        yield made


def _url(server: Server) -> str:
    return f"{server.url}/app.git"


@pytest.fixture
def notes() -> list[str]:
    """Give what the cache has told."""
    return []


@pytest.fixture
def cache(tako_home: Path, notes: list[str], monkeypatch: pytest.MonkeyPatch) -> Cache:
    """Give a cache; no proxy stands between it and loopback."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    tako_home.mkdir(mode=0o700)
    home = Home(tako_home)
    locks = LockManager(home.cache, 10.0, notes.append)
    return Cache(home, Settings(), locks, local=False, on_note=notes.append)


def _of_attempts(notes: list[str]) -> list[str]:
    """Leave out that it takes its time, which is said of a busy machine too."""
    return [note for note in notes if not note.startswith("still ")]


def test_who_waits_longer_hears_once_for_what() -> None:
    told: list[str] = []
    heard = threading.Event()

    def note(message: str) -> None:
        told.append(message)
        heard.set()

    what = "fetching acme/app from https://example.org/app.git"
    assert told_if_slow(lambda: heard.wait(30), what, note, after_s=0.0)
    assert told == [f"still {what}"]


def test_what_is_done_soon_is_not_told(notes: list[str]) -> None:
    assert told_if_slow(lambda: "done", "fetching", notes.append, after_s=3600) == "done"
    with pytest.raises(ZeroDivisionError):
        told_if_slow(lambda: 1 // 0, "fetching", notes.append, after_s=3600)
    waiting = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    assert all(timer.finished.is_set() for timer in waiting)
    assert notes == []


def test_a_server_that_is_busy_for_a_moment_is_asked_again(
    cache: Cache, server: Server, notes: list[str]
) -> None:
    server.failing = 2
    registration = cache.add(parse_reference("acme/app"), _url(server))
    assert registration.default_branch == "main"
    assert [note.split(" failed")[0] for note in _of_attempts(notes)] == [
        "fetching acme/app: attempt 1 of 3",
        "fetching acme/app: attempt 2 of 3",
    ]
    assert "503" in _of_attempts(notes)[0]


def test_after_three_attempts_it_is_reported_how_many_there_were(
    cache: Cache, server: Server, notes: list[str]
) -> None:
    server.failing = 1000
    with pytest.raises(MachineError, match=r"503.*\(3 attempts\)"):
        cache.add(parse_reference("acme/app"), _url(server))
    assert len(_of_attempts(notes)) == 2


def test_a_server_that_is_not_there_is_network_trouble(cache: Cache, server: Server) -> None:
    url = _url(server)
    server.socket.close()
    server.shutdown()
    with pytest.raises(MachineError, match=r"\(3 attempts\)"):
        cache.add(parse_reference("acme/app"), url)


def test_a_missing_repository_is_asked_for_once(cache: Cache, server: Server, notes: list[str]) -> None:
    server.failing, server.status = 1000, 404
    with pytest.raises(MachineError, match="not found") as raised:
        cache.add(parse_reference("acme/app"), _url(server))
    assert "attempts" not in raised.value.message
    assert notes == []


@pytest.mark.parametrize(
    ("said", "passing"),
    [
        (b"fatal: unable to access 'https://h/': Could not resolve host: h", True),
        (b"ssh: connect to host h port 22: Connection timed out\nfatal: Could not read from remote", True),
        (b"error: RPC failed; curl 56 Recv failure: Connection reset by peer\nfatal: early EOF", True),
        (b"fatal: the remote end hung up unexpectedly", True),
        (b"git@h: Permission denied (publickey).\nfatal: the remote end hung up unexpectedly", False),
        (b"remote: Repository not found.\nfatal: the remote end hung up unexpectedly", False),
        (b"fatal: Authentication failed for 'https://h/'", False),
        (b"fatal: not a git repository", False),
    ],
)
def test_failures_that_may_go_away_by_themselves_are_recognised(said: bytes, passing: bool) -> None:
    assert is_passing(said) is passing
