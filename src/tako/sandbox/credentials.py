"""Finds files with credentials below the shown directories, by their names or their contents.

In: directories that steps may read. Out: the files in them that steps may not read. Tools keep such files
near the top of their directories, so it looks only at the upper levels, and at no libraries, programs or
headers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

_LEVELS = 5
_READ_MAX = 1 << 16
_PEM_MAX = 1 << 20
#: What a tool installs beside its settings; nobody keeps credentials in there.
_PASSED_OVER = frozenset({
    "bin", "cache", "conda-meta", "doc", "docs", "include", "lib", "lib32", "lib64", "libexec", "man",
    "node_modules", "pkgs", "sbin", "share", "shims", "site-packages", "src",
})  # fmt: skip
#: Directories of which every file is one.
_WHOLE = frozenset({"credentials", "private", "secrets"})
_BY_NAME = frozenset({
    ".env", ".git-credentials", ".htpasswd", ".my.cnf", ".netrc", ".pgpass", ".pypirc", "_netrc", "auth.json",
    "credentials", "credentials.db", "credentials.json", "credentials.toml", "htpasswd", "id_dsa", "id_ecdsa",
    "id_ed25519", "id_rsa", "jmxremote.password", "netrc", "settings-security.xml", "tomcat-users.xml",
})  # fmt: skip
_BY_ENDING = (".key", ".p12", ".pfx", ".keystore")
#: Settings that may hold credentials and mostly do not.
_BY_CONTENT = frozenset({
    ".condarc", ".npmrc", ".yarnrc", ".yarnrc.yml", "condarc", "config.toml", "config.yaml", "hooks.json",
    "npmrc", "pip.conf", "pipx_metadata.json", "settings.xml", "toolchains.xml", "uv-receipt.toml", "uv.toml",
})  # fmt: skip
_BY_CONTENT_ENDING = (".ini", ".properties")
_PEM = (".crt", ".pem")
_PRIVATE_KEY = b"PRIVATE KEY-----"
#: Files at known places behind directories that are passed over or not gone into.
_AT = ("lib/management/jmxremote.password", ".git/config")
_COMMENTS = rb"<!--.*?-->|^[ \t]*[#;].*?$"
_CREDENTIAL = rb"""https?://[^/\s"'<>@]+@
    | <(?:password|passphrase|privateKey)>\s*[^<\s]
    | (?:_auth|auth_?token|token|passw(?:or)?d|passphrase|_pw|secret|api_?key|extraheader)
      ["']? [ \t]* [:=] [ \t]* ["']? [^\s"',;{}\[\]]
    """


def credentials_below(tops: Iterable[str]) -> tuple[str, ...]:
    """The files with credentials among and in these, sorted; what cannot be read is passed over."""
    return tuple(sorted({path for top in tops for path in _from(top)}))


def holds_credentials(text: bytes) -> bool:
    """Return whether settings hold a password, a token or an address with one, comments left out."""
    comments, credential = _patterns()
    return credential.search(comments.sub(b"", text)) is not None


@cache
def _patterns() -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """Made when something is looked at: a worker loads this module, and looks at nothing."""
    return (
        re.compile(_COMMENTS, re.DOTALL | re.MULTILINE),
        re.compile(_CREDENTIAL, re.IGNORECASE | re.VERBOSE),
    )


def _from(top: str) -> Iterator[str]:
    if Path(top).is_dir():
        yield from _below(top, _LEVELS, whole=False)
    elif _is_one(Path(top)):
        yield top


def _below(directory: str, levels: int, *, whole: bool) -> Iterator[str]:
    try:
        entries = os.scandir(directory)
    except OSError:
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _at_known_places(directory, entry.name)
                if levels and (whole or entry.name not in _PASSED_OVER) and entry.name != ".git":
                    yield from _below(entry.path, levels - 1, whole=whole or entry.name in _WHOLE)
            elif entry.is_file(follow_symlinks=False) and (whole or _is_one(Path(entry.path))):
                yield entry.path


def _at_known_places(directory: str, name: str) -> Iterator[str]:
    for known in _AT:
        if known.startswith(f"{name}/"):
            path = Path(directory, known)
            if path.is_file() and (path.name in _BY_NAME or _says_so(path)):
                yield str(path)


def _is_one(path: Path) -> bool:
    name = path.name
    if name in _BY_NAME or name.endswith(_BY_ENDING):
        return True
    return (name in _BY_CONTENT or name.endswith((*_BY_CONTENT_ENDING, *_PEM))) and _says_so(path)


def _says_so(path: Path) -> bool:
    """A file that this user cannot read the user's steps cannot either."""
    with suppress(OSError), path.open("rb") as file:
        if path.name.endswith(_PEM):
            return _PRIVATE_KEY in file.read(_PEM_MAX)
        return holds_credentials(file.read(_READ_MAX))
    return False
