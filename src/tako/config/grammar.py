"""The grammar of names, as plain text: workers use it too, and they load no parser of YAML."""

from __future__ import annotations

import re

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = "TAKO_"
#: What tako gives steps itself, or cannot do without.
_NO_SECRETS = frozenset(("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "PWD"))


def env_name_problem(name: str) -> str:
    """Return why a name cannot be one of an environment variable, or an empty text if it can."""
    if not _ENV_NAME.fullmatch(name):
        return (
            f"{name!r} is not a name of an environment variable: letters, digits and '_', not a digit first"
        )
    if name.upper().startswith(_RESERVED):
        return f"names that start with {_RESERVED} are tako's own, got {name!r}"
    return ""


def secret_name_problem(name: str) -> str:
    """Return why an environment variable cannot be a secret, or an empty text if it can."""
    return f"{name} cannot be a secret: every step has it" if name in _NO_SECRETS else ""
