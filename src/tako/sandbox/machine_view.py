"""The part of the machine that steps may see, read-only: the system, and the tools that PATH needs.

In: the user's environment, their homes, directories that must stay hidden. Out: a `MachineView`
of what exists. It is an allow-list: nothing else is visible, `/etc/shadow`, `/run` and host keys among
it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from tako.layout.machine import ETC, RESOLV_CONF, VENV_CONFIG
from tako.sandbox.credentials import credentials_below
from tako.system.storage.links import led_out_of
from tako.system.user_environment import AUTHORITIES
from tako.system.walls.kernel_tables import closed_tables
from tako.values import evolve, field, value

_SYSTEM = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt",
    "/nix/store", "/nix/var/nix/profiles", "/gnu/store",
)  # fmt: skip
#: Of the system: what no package manager keeps in order.
_OF_ADMINISTRATORS = ("/opt", "/usr/etc", "/usr/local")
#: By file where others of the same directory hold keys or passwords.
_ETC = (
    "alternatives", "bash.bashrc", "ca-certificates", "ca-certificates.conf", "clang*", "crypto-policies",
    "debian_version", "fonts", "gai.conf", "group", "host.conf", "hosts", "inputrc", "java", "java-*",
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "locale.alias", "locale.conf", "localtime", "magic",
    "mailcap", "maven/logging", "maven/m2.conf", "maven/settings.xml", "maven/toolchains.xml", "mime.types",
    "networks", "nsswitch.conf", "os-release", "passwd", "perl", "php*/conf.d", "php*/php.ini", "php.d",
    "php.ini", "php/*/cli", "php/*/mods-available", "pki/ca-trust", "pki/java", "pki/rpm-gpg",
    "pki/tls/cert.pem", "pki/tls/certs", "pki/tls/ct_log_list.cnf", "pki/tls/openssl.cnf",
    "pki/tls/openssl.d", "pki/trust", "profile", "protocols", "python3*", "rpc", "services", "shells",
    "ssh/ssh_config", "ssh/ssh_config.d", "ssh/ssh_known_hosts", "ssl/ca-bundle.pem", "ssl/cert.pem",
    "ssl/certs", "ssl/ct_log_list.cnf", "ssl/openssl.cnf", "terminfo", "timezone", "xattr.conf",
)  # fmt: skip
#: Known roots of tools below a home.
_TOOLS = (
    ".pyenv", ".rustup", ".cargo/bin", ".cargo/env", ".nvm", ".sdkman", ".volta", ".asdf", ".rbenv", ".jenv",
    ".deno/bin", ".bun/bin", "go/bin", ".local/bin", ".local/lib", ".local/pipx", ".local/share/pipx",
    ".local/share/mise", ".local/share/uv/python", ".local/share/uv/tools", ".ghcup", ".opam", ".nix-profile",
)  # fmt: skip
#: Variables that tell a tool where its root is, for when HOME is another one.
_VARIABLES = {
    ".pyenv": "PYENV_ROOT", ".rustup": "RUSTUP_HOME", ".nvm": "NVM_DIR", ".sdkman": "SDKMAN_DIR",
    ".volta": "VOLTA_HOME", ".asdf": "ASDF_DIR",
}  # fmt: skip


@value
class MachineView:
    """Absolute paths that exist; `links` are (path, what it points to)."""

    system: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    etc: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    authorities: tuple[str, ...] = ()
    #: The file that resolv.conf really is, often below /run; empty if there is none.
    resolv_conf: str = ""
    #: Files in all these that hold credentials, and so are not shown.
    closed: tuple[str, ...] = ()
    #: Tables of the kernel in /proc that only root may read, if the user is root.
    tables: tuple[str, ...] = ()
    #: Directories of the user's that steps may write: no link in there may lead to what is shown.
    written: tuple[str, ...] = ()
    #: What tells tools where their roots are, when HOME is not what they lie below.
    variables: Mapping[str, str] = field(factory=dict)

    def without_closed(self) -> MachineView:
        """The same as paths that hold nothing closed: for a level that cannot hide a file."""
        system, etc, tools, authorities = (
            tuple(part for path in paths for part in _apart(path, self.closed))
            for paths in (self.system, self.etc, self.tools, self.authorities)
        )
        return evolve(self, system=system, etc=etc, tools=tools, authorities=authorities, closed=())


def _apart(path: str, closed: tuple[str, ...]) -> Iterator[str]:
    """A path, or where something closed lies in it what else does; no links, which may lead anywhere."""
    inside = tuple(one for one in closed if _below(one, (path,)))
    if not inside:
        yield path
    elif path not in inside:
        with os.scandir(path) as entries:
            names = sorted(entry.name for entry in entries if not entry.is_symlink())
        for name in names:
            yield from _apart(f"{path}/{name}", inside)


def machine_view(
    environment: Mapping[str, str],
    homes: tuple[Path, ...],
    hidden: tuple[Path, ...],
    etc: Path = ETC,
    *,
    written: tuple[str, ...] = (),
) -> MachineView:
    """Return the shown paths: none is, holds or lies in one of `hidden`, and none holds a home.

    `written` are directories that steps may write: nothing in there names more that is shown.
    """
    present = [Path(path) for path in _SYSTEM if Path(path).is_dir()]
    system = tuple(str(path) for path in present if not path.is_symlink())
    kept_out = _Hidden(homes, hidden, written)
    tools = _without_nested(
        path for path in _tools(environment, homes, system, written) if kept_out.allows(path)
    )
    settings = tuple(_etc(etc))
    shown = (*system, *settings, *tools)
    allowed = (path for path in _authorities(environment) if kept_out.allows(path))
    authorities = _without_nested(path for path in allowed if not _below(path, shown))
    names = Path(RESOLV_CONF)
    roots = ((_VARIABLES.get(os.path.basename(path)), path) for path in tools)  # noqa: PTH119 - texts
    return MachineView(
        system=system,
        links=tuple((str(path), str(path.readlink())) for path in present if path.is_symlink()),
        etc=settings,
        tools=tools,
        authorities=authorities,
        resolv_conf=str(names.resolve()) if names.exists() else "",
        closed=credentials_below((*_OF_ADMINISTRATORS, *settings, *tools, *authorities)),
        tables=closed_tables() if os.geteuid() == 0 else (),
        written=written,
        variables={name: path for name, path in roots if name},
    )


class _Hidden:
    """Decides what may be shown at all."""

    def __init__(self, homes: tuple[Path, ...], hidden: tuple[Path, ...], written: tuple[str, ...]) -> None:
        self._homes = tuple(str(path.resolve()) for path in homes)
        self._hidden = tuple(str(path.resolve()) for path in hidden)
        self._written = written

    def allows(self, path: str) -> bool:
        real = str(Path(path).resolve())
        if any(_below(home, (real,)) for home in self._homes):
            return False
        if led_out_of(path, self._written):
            return False
        return not any(_below(real, (one,)) or _below(one, (real,)) for one in self._hidden)


def _below(path: str, tops: tuple[str, ...]) -> bool:
    return any(path == top or path.startswith(top.rstrip("/") + "/") for top in tops)


def _without_nested(paths: Iterator[str]) -> tuple[str, ...]:
    """Each path once, in order, without those that lie in another of them."""
    found = list(dict.fromkeys(paths))
    return tuple(path for path in found if not _below(path, tuple(one for one in found if one != path)))


def _etc(top: Path) -> Iterator[str]:
    wanted = {path for name in _ETC for path in (top.glob(name) if "*" in name else (top / name,))}
    yield from sorted(str(path) for path in wanted if _exists(path))


def _tools(
    environment: Mapping[str, str],
    homes: tuple[Path, ...],
    system: tuple[str, ...],
    written: tuple[str, ...],
) -> Iterator[str]:
    tops = tuple(map(os.path.realpath, written))
    yield from (str(home / name) for home in homes for name in _TOOLS if _exists(home / name))
    for directory in map(Path, environment.get("PATH", "").split(os.pathsep)):
        real = str(directory.resolve())
        if directory.is_absolute() and _exists(directory) and directory.is_dir() and not _below(real, system):
            found = _needed_by(directory, trusted=not _below(real, tops))
            yield from (path for path in found if not _below(path, system))


def _exists(path: Path) -> bool:
    """Return whether this user can reach it; `Path.exists` raises for a closed directory of PATH."""
    with suppress(PermissionError):
        return path.exists()
    return False


def _needed_by(directory: Path, *, trusted: bool) -> Iterator[str]:
    """A directory of PATH, or the virtual environment it belongs to with its interpreter's prefix.

    Where the environment is not `trusted`, as steps may write it, it names no prefix.
    """
    real = directory.resolve()
    settings = real.parent / VENV_CONFIG
    if not settings.is_file():
        yield from dict.fromkeys((str(directory), str(real)))
        return
    yield str(directory.parent)
    if not trusted:
        return
    with suppress(OSError, UnicodeDecodeError):
        for line in settings.read_text().splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "home" and value.strip().startswith("/"):
                yield str(Path(value.strip()).resolve().parent)


def _authorities(environment: Mapping[str, str]) -> Iterator[str]:
    for name in AUTHORITIES:
        path = Path(environment.get(name, ""))
        if path.is_absolute() and _exists(path):
            yield str(path)
