from __future__ import annotations

from pathlib import Path

import pytest

from tako.engine.run.spec import RunSpec
from tako.sandbox import machine_view as shown
from tako.sandbox.credentials import credentials_below, holds_credentials
from tako.sandbox.isolation import Isolation
from tako.sandbox.machine_view import MachineView, machine_view
from tako.sandbox.policy import LANDLOCK, NAMESPACE, Mount
from tako.system.walls.kernel_tables import closed_tables
from tako.values import evolve
from tests.support.isolations import ENVIRONMENT, isolation
from tests.support.segments import run, run_spec

CANARY = "canary-71c9aa"
KEY = f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n"
SERVER = f"<settings><servers><server><password>{CANARY}</password></server></servers></settings>"
TOKEN = f"//registry.example/:_authToken={CANARY}\n"
ADDRESS = f"[global]\nindex-url = https://user:{CANARY}@packages.example/simple\n"
REMOTE = f'[remote "origin"]\n\turl = https://{CANARY}@git.example/pyenv\n'
#: What tools write below a home, with the modes that they give it.
HOME = {
    ".local/share/uv/credentials/credentials.toml": (0o600, f'password = "{CANARY}"'),
    ".local/share/uv/tools/ruff/uv-receipt.toml": (
        0o644,
        f'index = "https://user:{CANARY}@packages.example"',
    ),
    ".local/share/pipx/venvs/nox/pip.conf": (0o644, ADDRESS),
    ".local/share/pipx/venvs/nox/pipx_metadata.json": (
        0o644,
        f'{{"pip_args": ["--index-url", "https://user:{CANARY}@packages.example/simple"]}}',
    ),
    ".local/share/mise/installs/node/20/etc/npmrc": (0o600, TOKEN),
    ".local/share/mise/plugins/go/.git/config": (0o644, REMOTE),
    ".cargo/credentials.toml": (0o600, f'[registry]\ntoken = "{CANARY}"'),
    ".cargo/config.toml": (0o644, f'[registry]\ntoken = "{CANARY}"'),
    ".nvm/versions/node/v18.0.0/etc/npmrc": (0o600, TOKEN),
    ".volta/tools/image/node/18.0.0/etc/npmrc": (0o600, TOKEN),
    ".asdf/installs/nodejs/18.0.0/etc/npmrc": (0o600, TOKEN),
    ".asdf/plugins/nodejs/.git/config": (0o644, REMOTE),
    ".pyenv/.git/config": (0o644, REMOTE),
    ".pyenv/plugins/own/.git/config": (0o644, REMOTE),
    ".pyenv/versions/3.11.7/pip.conf": (0o644, ADDRESS),
    ".rbenv/.git/config": (0o644, REMOTE),
    ".sdkman/candidates/maven/3.9/conf/settings.xml": (0o644, SERVER),
    ".sdkman/candidates/gradle/8.0/gradle.properties": (0o644, f"repositoryPassword={CANARY}"),
    ".sdkman/candidates/java/17/conf/management/jmxremote.password": (0o600, f"monitor {CANARY}"),
    ".sdkman/candidates/java/8/lib/management/jmxremote.password": (0o600, f"monitor {CANARY}"),
    ".ghcup/config.yaml": (0o644, f"url-source: https://user:{CANARY}@mirror.example"),
    ".npmrc": (0o600, TOKEN),
    ".m2/settings.xml": (0o600, SERVER),
    ".netrc": (0o600, f"machine git.example password {CANARY}"),
    ".config/pip/pip.conf": (0o600, ADDRESS),
}
ETC = {
    "ssl/private/server.key": (0o640, KEY),
    "ssl/certs/both.pem": (0o644, KEY),
    "ssl/certs/server.key": (0o644, KEY),
    "pki/tls/private/localhost.key": (0o600, KEY),
    "pki/tls/certs/localhost.crt": (0o644, KEY),
    "pki/consumer/key.pem": (0o640, KEY),
    "pki/entitlement/1-key.pem": (0o640, KEY),
    "pki/java/own.keystore": (0o644, CANARY),
    "pki/nssdb/key4.db": (0o644, CANARY),
    "maven/settings.xml": (0o644, SERVER),
    "maven/settings-security.xml": (0o644, SERVER),
    "java-17-openjdk/management/jmxremote.password": (0o600, f"monitor {CANARY}"),
    "php/8.2/fpm/pool.d/www.conf": (0o644, f"env[PASSWORD] = {CANARY}"),
    "php/8.2/cli/php.ini": (0o644, f"mysqli.default_pw = {CANARY}"),
    "php/8.2/cli/conf.d/20-own.ini": (0o644, f'own.secret = "{CANARY}"'),
    "pip.conf": (0o644, ADDRESS),
    "npmrc": (0o644, TOKEN),
    "shadow": (0o640, CANARY),
    "ssh/ssh_host_ed25519_key": (0o600, KEY),
}
#: What a build needs of the same directories.
NEEDED = {
    ".nvm/nvm.sh": "a tool",
    ".nvm/versions/node/v18.0.0/bin/node": "a program",
    ".pyenv/versions/3.11.7/bin/python": "a program",
    ".pyenv/versions/3.12.1/pip.conf": "[global]\nindex-url = https://packages.example/simple\n",
    ".local/share/uv/python/cpython-3.12/bin/python": "a program",
    ".local/share/pipx/venvs/nox/bin/nox": "a program",
    ".sdkman/candidates/maven/3.9/bin/mvn": "a program",
}
NEEDED_OF_ETC = {
    "ssl/certs/ca.pem": "-----BEGIN CERTIFICATE-----",
    "ssl/openssl.cnf": "# output_password = secret\n",
    "java-17-openjdk/security/java.security": "securerandom.source=file:/dev/random\n",
    "php/8.2/cli/conf.d/10-opcache.ini": "zend_extension=opcache.so\n",
    "php/8.2/cli/php.ini-none": "mysqli.default_pw =\n",
    "maven/toolchains.xml": "<toolchains><!-- <password>example</password> --></toolchains>",
}


@pytest.fixture
def planted(tmp_path: Path) -> MachineView:
    """A machine with credentials wherever tools and administrators put them, as steps are shown it."""
    for top, files in (("home", HOME), ("etc", ETC)):
        for name, (mode, text) in files.items():
            path = tmp_path / top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(mode)
    for top, needed in (("home", NEEDED), ("etc", NEEDED_OF_ETC)):
        for name, text in needed.items():
            path = tmp_path / top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return machine_view(ENVIRONMENT, (tmp_path / "home",), (), tmp_path / "etc")


def _spec(directory: Path, view: MachineView, level: str, script: str, *granted: Path) -> RunSpec:
    real = isolation(level)
    assert real.machine is not None
    # Nothing starts without the real one. The planted one may lie below /tmp, which a step has for itself.
    etc = tuple(path for path in real.machine.etc if "ld.so" in path)
    seen = evolve(view, etc=etc, tools=(*view.tools, *view.etc))
    held: Isolation = evolve(real, machine=seen if level == NAMESPACE else seen.without_closed())
    mounts = tuple(Mount(str(path), str(path)) for path in granted)
    return run_spec(directory, script, isolation=held, mounts=mounts)


@pytest.mark.parametrize("level", [LANDLOCK, NAMESPACE])
def test_a_step_finds_no_credential_and_all_that_builds_need(
    tmp_path: Path, planted: MachineView, level: str
) -> None:
    tops = f"'{tmp_path}/home' '{tmp_path}/etc'"
    wanted = [tmp_path / "home" / name for name in NEEDED] + [
        tmp_path / "etc" / name for name in NEEDED_OF_ETC
    ]
    paths = " ".join(f"'{path}'" for path in (*wanted, *(tmp_path / "home" / name for name in HOME)))
    search = (
        f"grep -rs {CANARY} {tops} {paths} || true\ngrep -rls {CANARY} /proc/self/root{tmp_path} || true\n"
    )
    reads = "".join(f"cat '{path}' > /dev/null\n" for path in wanted)
    ran = run(_spec(tmp_path, planted, level, search + reads))
    assert ran.end.status == "succeeded", ran.log()
    assert CANARY not in ran.log()
    assert str(tmp_path) not in ran.log()


@pytest.mark.parametrize("level", [LANDLOCK, NAMESPACE])
def test_granted_paths_are_shown_with_their_credentials(
    tmp_path: Path, planted: MachineView, level: str
) -> None:
    asked = tmp_path / "home" / ".nvm" / "versions" / "node" / "v18.0.0" / "etc" / "npmrc"
    granted = tmp_path / "home" / ".nvm"
    assert str(asked) in planted.closed
    for one in (granted, asked):
        directory = tmp_path / one.name
        directory.mkdir()
        ran = run(_spec(directory, planted, level, f"cat '{asked}'", one))
        assert CANARY in ran.log()


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("index-url = https://user:word@packages.example/simple", True),
        ("index-url = https://packages.example/simple", False),
        ("# index-url = https://user:word@packages.example/simple", False),
        ("url = git@git.example:acme/tool", False),
        ('"_auth": "d29yZA=="', True),
        ("cafile=/etc/ssl/cert.pem", False),
        ("password =", False),
        ('passwd: "word"', True),
        ("<passphrase>word</passphrase>", True),
        ("<!-- <passphrase>word</passphrase> -->", False),
        ("\textraheader = AUTHORIZATION: basic d29yZA==", True),
    ],
)
def test_settings_with_credentials_are_told_from_others(text: str, held: bool) -> None:
    assert holds_credentials(text.encode()) is held


def test_unreadable_and_missing_files_hold_no_credentials(tmp_path: Path) -> None:
    assert credentials_below((str(tmp_path / "gone"),)) == ()
    (tmp_path / "pip.conf").symlink_to(tmp_path / "gone")
    assert credentials_below((str(tmp_path), str(tmp_path / "pip.conf"))) == ()


def test_a_link_beside_a_credential_leads_nowhere_at_landlock(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    (tool / "etc").mkdir(parents=True)
    (tool / "etc" / "npmrc").write_text(TOKEN)
    (tool / "etc" / "out").symlink_to(tmp_path)
    view = MachineView(tools=(str(tool),), closed=credentials_below((str(tool),)))
    (tool / "bin").mkdir()
    assert view.without_closed().tools == (str(tool / "bin"),)


def test_tables_of_the_kernel_are_closed_by_their_modes(tmp_path: Path) -> None:
    for name, mode in (("kept", 0o400), ("open", 0o444), ("17", 0o400)):
        (tmp_path / name).touch(mode)
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to("kept")
    assert closed_tables(str(tmp_path)) == (str(tmp_path / "kept"),)


def test_every_shown_directory_of_etc_is_one_that_is_known() -> None:
    whole = {"ssl", "pki", "maven", "php", "ssh"}
    assert not whole & set(shown._ETC)
