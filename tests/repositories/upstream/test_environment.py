"""What git is started with, and that what the user set for the network holds there and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tako.config.schema import Settings
from tako.errors import MachineError
from tako.layout.home import Home
from tako.repositories.cache import Cache
from tako.repositories.locks import LockManager
from tako.repositories.reference import parse_reference
from tako.repositories.upstream.environment import closed_environment, network_environment
from tako.repositories.upstream.git import fetch_git, origin_url, run_git
from tako.system.user_environment import LOCATES_REPOSITORY
from tests.support.authority import Authority, made_by
from tests.support.daemons import daemon, in_time
from tests.support.git import Repositories, git
from tests.support.servers import Server, serving

NETWORK = {
    "GIT_SSL_CAINFO": "/ca.pem",
    "GIT_SSL_NO_VERIFY": "1",
    "GIT_ASKPASS": "/askpass",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "http.extraHeader",
    "GIT_CONFIG_VALUE_0": "X: y",
    "GIT_CONFIG_PARAMETERS": "'http.proxy'='x'",
    "GIT_CONFIG_GLOBAL": "/config",
    "GIT_CONFIG_SYSTEM": "/system",
    "GIT_SSH": "/ssh",
    "GIT_SSH_COMMAND": "ssh -i key",
    "GIT_SSH_VARIANT": "simple",
    "GIT_PROXY_COMMAND": "/proxy",
    "GIT_EXEC_PATH": "/exec",
    "GIT_HTTP_USER_AGENT": "me",
    "SSH_ASKPASS": "/askpass",
    "SSH_ASKPASS_REQUIRE": "force",
    "https_proxy": "http://proxy",
    "SSH_AUTH_SOCK": "/agent",
}


@pytest.fixture(autouse=True)
def _no_user_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    for name in (*NETWORK, *LOCATES_REPOSITORY, "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def _set(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


# --- the lists -------------------------------------------------------------------------------


def test_what_locates_a_repository_is_what_the_installed_git_says() -> None:
    said = subprocess.run(
        ["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True
    )
    assert set(said.stdout.split()) <= LOCATES_REPOSITORY


def test_what_the_user_set_for_the_network_holds_there_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, **NETWORK)
    assert {name: network_environment().get(name) for name in NETWORK} == NETWORK
    assert set(NETWORK.values()) & set(closed_environment().values()) <= {"1"}


def test_where_another_repository_lies_reaches_no_git_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, **dict.fromkeys(LOCATES_REPOSITORY, "/elsewhere"))
    assert "/elsewhere" not in closed_environment().values()
    taken = {name for name, value in network_environment().items() if value == "/elsewhere"}
    assert taken == {"GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"}


def test_nobody_is_asked_unless_the_user_named_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_environment()
    assert (network["GIT_TERMINAL_PROMPT"], network["SSH_ASKPASS_REQUIRE"]) == ("0", "never")
    _set(monkeypatch, SSH_ASKPASS="/askpass", GIT_TERMINAL_PROMPT="1")
    network = network_environment()
    assert (network["GIT_TERMINAL_PROMPT"], "SSH_ASKPASS_REQUIRE" in network) == ("0", False)


@pytest.mark.parametrize(
    ("own", "taken"),
    [("https:ssh", "https:ssh"), ("ext:https", "https"), ("ext", ""), ("", "")],
)
def test_a_user_may_take_fewer_transports_and_never_more(
    own: str, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, GIT_ALLOW_PROTOCOL=own)
    assert network_environment()["GIT_ALLOW_PROTOCOL"] == taken
    assert closed_environment()["GIT_ALLOW_PROTOCOL"] == "file:git:http:https:ssh"


# --- with real servers and programs ----------------------------------------------------------


@pytest.fixture
def checkout(git_repo: Repositories) -> Path:
    """Give a repository to fetch."""
    return git_repo("acme/app", {"tako.yml": "version: 0.1.0\nworkflows: {}\n"})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Give an authority that nobody knows."""
    return made_by(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(tmp_path: Path, checkout: Path, authority: Authority) -> Iterator[Server]:
    """Give a server that speaks https and asks for a password."""
    with serving(checkout, tmp_path / "served", "app", tls=authority) as made:
        made.login = "ada:lovelace"
        yield made


@pytest.fixture
def cache(tako_home: Path) -> Cache:
    """Give a cache that may use the network."""
    tako_home.mkdir(mode=0o700)
    home = Home(tako_home)
    locks = LockManager(home.cache, 10.0, lambda _: None)
    return Cache(home, Settings(), locks, local=False, on_note=lambda _: None)


def _program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def _answering(directory: Path) -> str:
    return _program(directory / "askpass", "case $1 in User*) echo ada;; *) echo lovelace;; esac")


def test_authorities_and_passwords_come_from_where_the_user_says(
    tmp_path: Path, cache: Cache, server: Server, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{server.url}/app.git"
    reference = parse_reference("acme/app")
    with pytest.raises(MachineError, match="certificate"):
        cache.add(reference, url)
    _set(monkeypatch, GIT_SSL_CAINFO=str(authority.certificate))
    with pytest.raises(MachineError, match=r"could not read Username|Authentication failed"):
        cache.add(reference, url)
    _set(monkeypatch, GIT_ASKPASS=_answering(tmp_path))
    assert cache.add(reference, url).default_branch == "main"


def test_so_they_do_from_every_configuration_that_git_reads(
    tmp_path: Path, cache: Cache, server: Server, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One setting each by a file, by variables, and as `git -c` hands it to what it starts."""
    (tmp_path / "config").write_text(f"[core]\naskPass = {_answering(tmp_path)}\n")
    _set(
        monkeypatch,
        GIT_CONFIG_GLOBAL=str(tmp_path / "config"),
        GIT_CONFIG_COUNT="1",
        GIT_CONFIG_KEY_0="http.sslCAInfo",
        GIT_CONFIG_VALUE_0=str(authority.certificate),
        GIT_CONFIG_PARAMETERS=f"'url.{server.url}/.insteadof'='https://unknown.invalid/acme/'",
    )
    assert cache.add(parse_reference("acme/app"), "https://unknown.invalid/acme/app.git").branches


@pytest.mark.parametrize("way", ["variables", "parameters", "file"])
def test_no_setting_of_the_users_turns_ours_off(
    way: str, tmp_path: Path, cache: Cache, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks, file system monitors and transports: neither in the checkout nor where tako fetches to."""
    run = _program(tmp_path / "run", f'touch "{tmp_path}/ran"; exit 1')
    (tmp_path / "hooks").mkdir()
    for hook in ("reference-transaction", "post-checkout", "post-index-change"):
        _program(tmp_path / "hooks" / hook, f'touch "{tmp_path}/ran"')
    settings = {
        "core.hooksPath": str(tmp_path / "hooks"),
        "core.fsmonitor": run,
        "protocol.ext.allow": "always",
        "uploadpack.packObjectsHook": run,
        "url.ext::x.insteadOf": "https://ext.invalid/",
    }
    if way == "variables":
        _set(monkeypatch, GIT_CONFIG_COUNT=str(len(settings)))
        for number, (key, value) in enumerate(settings.items()):
            _set(monkeypatch, **{f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value})
    elif way == "parameters":
        _set(monkeypatch, GIT_CONFIG_PARAMETERS=" ".join(f"'{key}'='{v}'" for key, v in settings.items()))
    else:
        _set(monkeypatch, GIT_CONFIG_GLOBAL=str(tmp_path / "config"))
        for key, value in settings.items():
            git(tmp_path, "config", "--file", str(tmp_path / "config"), key, value)
    assert origin_url(checkout).startswith("https://")
    cache.add(parse_reference("acme/app"), f"file://{checkout}")
    with pytest.raises(MachineError, match=r"transport 'ext' not allowed"):
        cache.add(parse_reference("acme/ext"), "https://ext.invalid/acme/app.git")
    assert not (tmp_path / "ran").exists()


def test_a_master_connection_that_ssh_leaves_is_not_waited_for(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has git's stderr, for hours where the user says so (ssh_config(5), ControlPersist)."""
    mirror = tmp_path / "mirror"
    run_git(["init", "--quiet", "--bare", str(mirror)])
    with daemon(tmp_path) as left:
        script = f'{left.script}\nfor word in "$@"; do :; done\nexec sh -c "$word"'
        _set(monkeypatch, GIT_SSH_COMMAND=_program(tmp_path / "ssh", script))
        url = f"ssh://git@example.invalid{checkout}"
        ended = in_time(lambda: fetch_git(["ls-remote", url, "HEAD"], url, mirror, tmp_path / "none"))
        assert ended.stdout.decode().split() == [git(checkout, "rev-parse", "HEAD"), "HEAD"]
        assert left.is_there
