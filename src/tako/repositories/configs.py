"""Reads the tako.yml of a tree or of a commit, and nothing that only pretends to be one.

A link, FIFO, device or directory of that name is refused: it could hang tako or lead it out of the tree.
"""

from __future__ import annotations

from pathlib import Path

from tako.errors import ConfigError, NotFoundError, Problem
from tako.layout.names import CONFIG_NAME
from tako.repositories.upstream.mirror import read_blob
from tako.system.storage.beneath import BeneathError, read_beneath

CONFIG_MAX_BYTES = 1 << 20
_REGULAR = ("100644", "100755")


def config_in(root: Path, where: str) -> bytes:
    """Return the tako.yml of a tree, which `where` names in messages.

    Raises `NotFoundError` without one, `ConfigError` if it is not a regular file or too large.
    """
    try:
        return read_beneath(root, CONFIG_NAME, CONFIG_MAX_BYTES, links=False)
    except BeneathError as error:
        if not root.is_dir():
            message = f"{where} vanished: {root}"
            raise NotFoundError(message) from error
        if error.reason.startswith("is missing"):
            raise _no_config(where) from error
        raise _unusable(where, error.reason) from error


def _no_config(where: str) -> NotFoundError:
    return NotFoundError(f"{where} has no {CONFIG_NAME}", hint=f"add a {CONFIG_NAME} at its top level")


def _unusable(where: str, reason: str) -> ConfigError:
    return ConfigError((Problem(f"{where}: {CONFIG_NAME}", 1, 1, "", reason),))


def committed_config(mirror: Path, commit: str, where: str) -> bytes:
    """Return the tako.yml of a commit in a mirror; raises as `config_in` does, and `MachineError`."""
    found = read_blob(mirror, commit, CONFIG_NAME, CONFIG_MAX_BYTES)
    if found is None:
        raise _no_config(where)
    mode, data = found
    if mode not in _REGULAR:
        raise _unusable(where, "is a link" if mode == "120000" else "is not a regular file")
    if data is None:
        raise _unusable(where, f"is larger than {CONFIG_MAX_BYTES} bytes")
    return data
