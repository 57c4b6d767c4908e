"""The environment of git: a fixed list in repositories that tako made, the user's own for the network.

    closed_environment ──▶ no config but the repository's, nothing of the user's but PATH and the like
    network_environment ─▶ what the user set for it: config, proxies, authorities, ssh, who asks for passwords

A git hook or alias that starts tako says in the environment where *its* repository lies. No git of tako's
gets that. Whatever the user set, tako's own safety wins: it is set last here, and on the command line (`-c`),
which wins over every config (git-config(1), "ENVIRONMENT").
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tako.layout.names import NOTHING
from tako.repositories.upstream.urls import SCHEMES
from tako.system.user_environment import (
    LOCATES_REPOSITORY,
    plain_environment,
    user_environment,
    with_absolute_paths,
)

_SAFETY = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    # Reading a partial clone would run what its own config names to get the rest (CVE-2024-32004).
    "GIT_NO_LAZY_FETCH": "1",
}
_ALLOWED = "GIT_ALLOW_PROTOCOL"
#: These name no repository, but a configuration for all that are used (git itself passes them on to those of
#: submodules).
_CONFIGURES = frozenset(("GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"))
#: They would change what tako asks for and how it reads the answer.
_CHANGES_MEANING = frozenset((
    "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS", "GIT_ICASE_PATHSPECS",
    "GIT_DIFF_OPTS", "GIT_EXTERNAL_DIFF", "GIT_ATTR_SOURCE",
))  # fmt: skip
_LEFT_OUT = (LOCATES_REPOSITORY - _CONFIGURES) | _CHANGES_MEANING


def closed_environment(config: Path | None = None) -> dict[str, str]:
    """An environment in which git reads no config but the repository's, and `config` if given."""
    return plain_environment(user_environment()) | {
        **_SAFETY,
        _ALLOWED: ":".join(SCHEMES),
        "GIT_ASKPASS": "",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(config or NOTHING),
        "GIT_ATTR_NOSYSTEM": "1",
        # What is pinned is a commit's own tree, never one that a replace ref or a graft puts in its place.
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_GRAFT_FILE": str(NOTHING),
    }


def network_environment() -> dict[str, str]:
    """The user's own, for fetching over the network and for reading the user's checkout.

    Nothing asks on a terminal. A program that asks elsewhere may do so if the user named one.
    """
    kept = {name: value for name, value in user_environment().items() if name not in _LEFT_OUT}
    if not kept.keys() & {"SSH_ASKPASS", "SSH_ASKPASS_REQUIRE"}:
        # Without a terminal ssh would look for one by itself.
        kept["SSH_ASKPASS_REQUIRE"] = "never"
    return with_absolute_paths(kept) | _SAFETY | {_ALLOWED: _allowed(kept)}


def _allowed(environment: Mapping[str, str]) -> str:
    """The transports that both tako and the user allow (git(1), GIT_ALLOW_PROTOCOL)."""
    own = environment.get(_ALLOWED)
    taken = SCHEMES if own is None else [scheme for scheme in SCHEMES if scheme in own.split(":")]
    return ":".join(taken)
